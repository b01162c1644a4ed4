//! The configuration space (VIRTIO 1.2 §5.2.4), little-endian.

use super::request::{MAX_DISCARD_SECTORS, MAX_RANGES, MAX_SEGMENT_BYTES, SECTOR_BYTES, SEG_MAX};
use crate::media::Geometry;

/// Offset of `writeback`, the only field that a driver may write.
const WRITEBACK_OFFSET: usize = 32;
/// What the structure is long up to `write_zeroes_may_unmap` and its padding.
const LENGTH: usize = 60;

/// The fields that do not follow from a constant.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSpace {
    /// Size, block size and protection of the disk.
    pub geometry: Geometry,
    /// The number of rings.
    pub queues: u16,
    /// 1: the cache is write-back; 0: every write is durable when it completes.
    pub writeback: bool,
}

impl ConfigSpace {
    /// Exactly `size` bytes from `offset`; what lies behind the structure reads as zero.
    pub fn read(&self, offset: u32, size: u32) -> Vec<u8> {
        let bytes = self.to_bytes();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let wanted = usize::try_from(size).unwrap_or(0);
        bytes.into_iter().skip(offset).chain(std::iter::repeat(0)).take(wanted).collect()
    }

    /// The whole structure.
    fn to_bytes(self) -> Vec<u8> {
        let block = u32::from(self.geometry.block_size);
        let sectors_a_block = self.geometry.block_size.bytes_u64() / SECTOR_BYTES;
        let capacity = self.geometry.blocks.0.saturating_mul(sectors_a_block);
        let mut space = Vec::with_capacity(LENGTH);
        space.extend(capacity.to_le_bytes());
        space.extend(MAX_SEGMENT_BYTES.to_le_bytes());
        space.extend(SEG_MAX.to_le_bytes());
        space.extend([0; 4]); // geometry: not offered
        space.extend(block.to_le_bytes());
        // topology: a physical block is a logical one, aligned, and the best I/O is a block or more.
        space.extend([0, 0]);
        space.extend(1u16.to_le_bytes());
        space.extend(0u32.to_le_bytes());
        space.extend([u8::from(self.writeback), 0]);
        space.extend(self.queues.to_le_bytes());
        let alignment = u32::try_from(sectors_a_block).unwrap_or(1);
        space.extend(MAX_DISCARD_SECTORS.to_le_bytes());
        space.extend(MAX_RANGES.to_le_bytes());
        space.extend(alignment.to_le_bytes());
        space.extend(MAX_DISCARD_SECTORS.to_le_bytes());
        space.extend(MAX_RANGES.to_le_bytes());
        space.extend([1, 0, 0, 0]); // write_zeroes_may_unmap and padding
        space
    }
}

/// The new value of `writeback`, if that is what a driver's write is about.
pub fn writeback_of(offset: u32, bytes: &[u8]) -> Option<bool> {
    match (usize::try_from(offset), bytes) {
        (Ok(WRITEBACK_OFFSET), [value]) => Some(*value != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::PiType;
    use crate::units::{BlockCount, BlockSize};

    fn space(block_size: BlockSize) -> ConfigSpace {
        let geometry = Geometry {
            block_size,
            blocks: BlockCount(100),
            pi_type: PiType::Type1,
            read_only: false,
        };
        ConfigSpace { geometry, queues: 3, writeback: true }
    }

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let bytes = space(BlockSize::B4096).read(0, 60);
        assert_eq!(bytes[0..8], 800u64.to_le_bytes());
        assert_eq!(bytes[20..24], 4096u32.to_le_bytes());
        assert_eq!(bytes[WRITEBACK_OFFSET], 1);
        assert_eq!(bytes[34..36], 3u16.to_le_bytes());
        assert_eq!(bytes[44..48], 8u32.to_le_bytes());
        assert_eq!(bytes[56], 1);
    }

    #[test]
    fn exactly_as_many_bytes_as_asked_for() {
        assert_eq!(space(BlockSize::B512).to_bytes().len(), LENGTH);
        for (offset, size) in [(0, 57), (0, 60), (0, 256), (58, 10), (1000, 4), (u32::MAX, 1)] {
            assert_eq!(space(BlockSize::B512).read(offset, size).len(), size as usize);
        }
    }

    #[test]
    fn only_writeback_can_be_written() {
        assert_eq!(writeback_of(32, &[0]), Some(false));
        assert_eq!(writeback_of(0, &[0]), None);
        assert_eq!(writeback_of(32, &[0, 0]), None);
    }
}
