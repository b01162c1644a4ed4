//! The faults that a scenario asks for, on the disk that there is. Scripts name places in sectors of 512
//! bytes, `lba=1000000s`, since that is the kernel's unit; a drive counts in its own blocks.

use crate::runner::host::machine::DiskShape;
use crate::units::BlockSize;

/// The kernel's unit.
const SECTOR: u64 = 512;

/// A fault as `dixtrapd --inject` takes it, on a disk of this shape.
///
/// # Errors
/// In words, where it cannot happen there.
pub fn on_disk(fault: &str, disk: DiskShape) -> Result<String, String> {
    let parts: Result<Vec<String>, String> =
        fault.split(',').map(|part| condition(part, disk)).collect();
    Ok(parts?.join(","))
}

/// One `key=value`. What this does not understand is left to the daemon, which says what it takes.
fn condition(part: &str, disk: DiskShape) -> Result<String, String> {
    let Some((key, value)) = part.split_once('=') else { return Ok(part.to_owned()) };
    match key.trim() {
        "lba" => {
            let ends: Result<Vec<String>, String> =
                value.split("..").map(|end| blocks(end, disk.block_size)).collect();
            let ends = ends?;
            let first = ends.first().and_then(|first| first.parse::<u64>().ok());
            let has = disk.size.0 / disk.block_size.bytes_u64();
            if first.is_some_and(|first| first >= has) {
                return Err(format!(
                    "the disk ends before {part}: it has {has} blocks, give it a larger --size"
                ));
            }
            Ok(format!("{key}={}", ends.join("..")))
        }
        "misdirect" => {
            let (sign, count) = value.split_at_checked(1).unwrap_or(("", value));
            Ok(format!("{key}={sign}{}", blocks(count, disk.block_size)?))
        }
        _ => Ok(part.to_owned()),
    }
}

/// A number of blocks; with an `s` behind it, of sectors.
fn blocks(number: &str, block_size: BlockSize) -> Result<String, String> {
    let sectors = number.strip_suffix('s').and_then(|sectors| sectors.parse::<u64>().ok());
    let Some(bytes) = sectors.and_then(|sectors| sectors.checked_mul(SECTOR)) else {
        return Ok(number.to_owned());
    };
    let count = block_size.blocks_in(bytes);
    let count =
        count.ok_or_else(|| format!("sector {number} begins no {block_size}-byte block"))?;
    Ok(count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;
    use proptest::prelude::*;

    fn disk(block_size: BlockSize) -> DiskShape {
        DiskShape { block_size, size: ByteSize(1 << 30), ..DiskShape::default() }
    }

    #[test]
    fn sectors_become_blocks_and_the_rest_stays() {
        for (fault, small, large) in [
            ("lost,op=write,lba=1000000s", "lost,op=write,lba=1000000", "lost,op=write,lba=125000"),
            ("torn=3,lba=8s..16s", "torn=3,lba=8..16", "torn=3,lba=1..2"),
            ("misdirect=-8s,op=write", "misdirect=-8,op=write", "misdirect=-1,op=write"),
            ("misdirect=+8,lba=9", "misdirect=+8,lba=9", "misdirect=+8,lba=9"),
            ("busy,p=0.01", "busy,p=0.01", "busy,p=0.01"),
            ("flip=crc,lba=", "flip=crc,lba=", "flip=crc,lba="),
        ] {
            assert_eq!(on_disk(fault, disk(BlockSize::B512)).as_deref(), Ok(small));
            assert_eq!(on_disk(fault, disk(BlockSize::B4096)).as_deref(), Ok(large));
        }
    }

    #[test]
    fn places_that_the_disk_does_not_have_are_told_before_the_boot() {
        let small = disk(BlockSize::B4096);
        assert!(on_disk("busy,lba=9s", small).unwrap_err().contains("begins no 4096-byte block"));
        let beyond = on_disk("busy,lba=2097152s", small).unwrap_err();
        assert!(beyond.contains("262144 blocks") && beyond.contains("--size"), "{beyond}");
        assert!(on_disk("busy,lba=262144", small).is_err());
        assert!(on_disk("busy,lba=262143..99999999", small).is_ok());
    }

    proptest! {
        #[test]
        fn no_fault_is_too_strange(fault in "[a-z0-9=,.+s-]{0,40}") {
            let _ = on_disk(&fault, disk(BlockSize::B4096));
        }
    }
}
