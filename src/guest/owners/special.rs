//! What a record of GETFSMAP says (linux/fsmap.h, and the owners of ext4 and xfs).

use crate::owner::{Area, freed};
use crate::record::{Owner, OwnerKind};

use super::ioctl::Fsmap;

const FMR_OF_ATTR_FORK: u32 = 0x2;
const FMR_OF_EXTENT_MAP: u32 = 0x4;
const FMR_OF_SPECIAL_OWNER: u32 = 0x10;

/// The area of a record; `None` where the kernel only knows that the blocks are in use.
pub fn area(record: &Fsmap) -> Option<Area> {
    let owner = if record.flags & FMR_OF_SPECIAL_OWNER != 0 {
        special(record.owner)?
    } else if record.flags & FMR_OF_EXTENT_MAP != 0 {
        Owner::new("extent tree block", OwnerKind::Metadata)
    } else if record.flags & FMR_OF_ATTR_FORK != 0 {
        Owner::new("extended attributes", OwnerKind::Metadata)
    } else {
        // An inode that no directory names.
        Owner { offset: Some(record.offset), ..Owner::new("unlinked file", OwnerKind::Data) }
    };
    Some(Area { start: record.physical, bytes: record.length, owner, born_us: None })
}

/// `FMR_OWNER(type, code)`: the file system's letter above the number.
fn special(owner: u64) -> Option<Owner> {
    let metadata = |name| Some(Owner::new(name, OwnerKind::Metadata));
    let number = owner & 0xFFFF_FFFF;
    match (owner >> 32, number) {
        (0, 1) => Some(freed()),
        (0, 3) => metadata("metadata"),
        (0x58, 1) => metadata("superblock"),
        (0x58, 2) => Some(Owner::new("journal", OwnerKind::Journal)),
        (0x58, 3) => metadata("free space tree"),
        (0x58, 4) => metadata("inode tree"),
        (0x58, 5) => metadata("inode table"),
        (0x58, 6) => metadata("reference count tree"),
        (0x58, 7) => Some(Owner::new("copy on write", OwnerKind::Data)),
        (0x66, 1) => metadata("group descriptors"),
        (0x66, 2) => metadata("reserved group descriptors"),
        (0x66, 3) => metadata("block bitmap"),
        (0x66, 4) => metadata("inode bitmap"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_by_kind() {
        let name = |flags, owner| {
            area(&Fsmap { flags, owner, length: 1, ..Fsmap::default() }).map(|area| area.owner.name)
        };
        assert_eq!(name(FMR_OF_SPECIAL_OWNER, 1).as_deref(), Some("freed"));
        assert_eq!(name(FMR_OF_SPECIAL_OWNER, 2), None, "in use, and no more is known");
        assert_eq!(name(FMR_OF_SPECIAL_OWNER, 0x66_0000_0003).as_deref(), Some("block bitmap"));
        assert_eq!(name(FMR_OF_EXTENT_MAP, 131).as_deref(), Some("extent tree block"));
        assert_eq!(name(0, 131).as_deref(), Some("unlinked file"));
    }
}
