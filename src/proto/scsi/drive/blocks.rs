//! The fields that commands on blocks share: where, how many, with what protection (SBC-4 §5).

use super::cdb::Cdb;
use super::failure::Failure;
use super::sense::Sense;
use crate::media::Geometry;
use crate::units::{BlockCount, Lba};

/// The longest transfer in bytes; said in blocks in the Block Limits page.
pub const MAX_TRANSFER_BYTES: u64 = 32 << 20;
/// The most that one WRITE SAME may fill: its copies are made in memory.
pub const MAX_SAME_BYTES: u64 = 16 << 20;
/// The most that one command may unmap: bounds the time that a queue stands still. A million blocks of
/// 512 bytes: libiscsi's conformance suite calls more insane.
pub const MAX_CLEAR_BYTES: u64 = 512 << 20;

/// DPO and FUA of byte 1.
const FUA: u8 = 0x08;
/// BYTCHK of a verification.
const BYTCHK: u8 = 0x06;

/// The tags that a 32-byte command expects (SBC-4 §5.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedTags {
    /// EXPECTED INITIAL LOGICAL BLOCK REFERENCE TAG.
    pub reference: u32,
    /// EXPECTED LOGICAL BLOCK APPLICATION TAG.
    pub app: u16,
    /// LOGICAL BLOCK APPLICATION TAG MASK.
    pub mask: u16,
}

/// What a command on blocks says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first block.
    pub lba: Lba,
    /// How many.
    pub count: BlockCount,
    /// RDPROTECT, WRPROTECT or VRPROTECT.
    pub protect: u8,
    /// The tags of a 32-byte command.
    pub tags: Option<ExpectedTags>,
    flags: u8,
    flag_byte: usize,
    count_byte: u16,
}

impl Blocks {
    /// Reads the fields of a command; the length of the command says where they are.
    pub fn of(cdb: &Cdb) -> Blocks {
        let blocks = |lba: u64, count: u64, count_byte: u16| Blocks {
            lba: Lba(lba),
            count: BlockCount(count),
            protect: cdb.byte(1) >> 5,
            tags: None,
            flags: cdb.byte(1),
            flag_byte: 1,
            count_byte,
        };
        match cdb.length() {
            Some(6) => {
                Blocks { protect: 0, flags: 0, ..blocks(lba_of_six(cdb), count_of_six(cdb), 4) }
            }
            Some(10) => blocks(cdb.be32(2).into(), cdb.be16(7).into(), 7),
            Some(12) => blocks(cdb.be32(2).into(), cdb.be32(6).into(), 6),
            Some(16) => blocks(cdb.be64(2), cdb.be32(10).into(), 10),
            _ => Blocks {
                protect: cdb.byte(10) >> 5,
                tags: Some(ExpectedTags {
                    reference: cdb.be32(20),
                    app: cdb.be16(24),
                    mask: cdb.be16(26),
                }),
                flags: cdb.byte(10),
                flag_byte: 10,
                ..blocks(cdb.be64(12), cdb.be32(28).into(), 28)
            },
        }
    }

    /// COMPARE AND WRITE has a NUMBER OF LOGICAL BLOCKS of one byte.
    pub fn of_compare_and_write(cdb: &Cdb) -> Blocks {
        let count = BlockCount(cdb.byte(13).into());
        Blocks { count, count_byte: 13, ..Blocks::of(cdb) }
    }

    /// FUA: on stable storage before the command ends.
    pub fn forces_unit_access(&self) -> bool {
        self.has(FUA)
    }

    /// BYTCHK of a verification, as the two bits.
    pub fn byte_check(&self) -> u8 {
        (self.flags & BYTCHK) >> 1
    }

    /// Whether a bit of the flag byte is set.
    pub fn has(&self, mask: u8) -> bool {
        self.flags & mask != 0
    }

    /// INVALID FIELD IN CDB, in a field of the flag byte that ends at `bit`.
    pub fn bad_flag(&self, bit: u8) -> Failure {
        // 1 or 10.
        Sense::in_cdb_bit(u16::try_from(self.flag_byte).unwrap_or(1), bit).into()
    }

    /// INVALID FIELD IN CDB, in the transfer length.
    pub fn bad_count(&self) -> Failure {
        Sense::in_cdb(self.count_byte).into()
    }

    /// Refuses blocks that do not exist (SBC-4 §4.5: even where none is transferred), and more of
    /// them than `max_bytes`.
    pub fn check(&self, geometry: Geometry, max_bytes: u64) -> Result<(), Failure> {
        let end = self.lba.checked_add(self.count);
        if self.lba.0 >= geometry.blocks.0 || end.is_none_or(|end| end.0 > geometry.blocks.0) {
            return Err(Sense::OUT_OF_RANGE.into());
        }
        if self.bytes(geometry) > max_bytes {
            return Err(self.bad_count());
        }
        Ok(())
    }

    /// The length of the blocks in bytes.
    pub fn bytes(&self, geometry: Geometry) -> u64 {
        self.count.0.saturating_mul(geometry.block_size.bytes_u64())
    }
}

/// 21 bits of bytes 1 to 3.
fn lba_of_six(cdb: &Cdb) -> u64 {
    u64::from(cdb.be32(0) & 0x001F_FFFF)
}

/// SBC-4 §5.15: a transfer length of zero is 256 blocks in READ(6) and WRITE(6).
fn count_of_six(cdb: &Cdb) -> u64 {
    match cdb.byte(4) {
        0 => 256,
        count => count.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::PiType;
    use crate::units::BlockSize;

    const DISK: Geometry = Geometry {
        block_size: BlockSize::B512,
        blocks: BlockCount(100),
        pi_type: PiType::Type1,
        read_only: false,
    };

    fn where_of(cdb: &[u8]) -> (u64, u64, u8) {
        let blocks = Blocks::of(&Cdb::new(cdb));
        (blocks.lba.0, blocks.count.0, blocks.protect)
    }

    #[test]
    fn each_length_has_its_own_layout() {
        assert_eq!(where_of(&[0x08, 0xFF, 0, 5, 2]), (0x1F_0005, 2, 0));
        assert_eq!(where_of(&[0x0A, 0, 0, 5, 0]), (5, 256, 0));
        assert_eq!(where_of(&[0x28, 0x20, 0, 0, 1, 0, 0, 1, 2]), (256, 258, 1));
        assert_eq!(where_of(&[0xA8, 0x60, 0, 0, 1, 0, 1, 0, 0, 2]), (256, 0x100_0002, 3));
        let mut long = [0; 16];
        (long[0], long[1], long[2], long[9], long[13]) = (0x88, 0x20, 1, 7, 9);
        assert_eq!(where_of(&long), ((1 << 56) + 7, 9, 1));
        let mut longest = [0; 32];
        (longest[0], longest[7], longest[9], longest[10]) = (0x7F, 0x18, 9, 0x28);
        (longest[19], longest[23], longest[25], longest[27], longest[31]) = (1, 2, 3, 4, 5);
        assert_eq!(where_of(&longest), (1, 5, 1));
        let blocks = Blocks::of(&Cdb::new(&longest));
        assert_eq!(blocks.tags, Some(ExpectedTags { reference: 2, app: 3, mask: 4 }));
        assert!(blocks.forces_unit_access());
    }

    #[test]
    fn blocks_past_the_end_are_refused_even_where_there_are_none() {
        let check = |lba: u8, count: u8| {
            let cdb = Cdb::new(&[0x28, 0, 0, 0, 0, lba, 0, 0, count]);
            Blocks::of(&cdb).check(DISK, MAX_TRANSFER_BYTES).is_ok()
        };
        assert!(check(99, 1) && check(99, 0) && check(0, 100));
        assert!(!check(99, 2) && !check(100, 0));
    }
}
