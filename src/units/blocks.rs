//! Block addresses, counts and sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A logical block address: the number of a logical block of the disk, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lba(pub u64);

impl Lba {
    /// The address `count` blocks further on, or `None` where it would not fit.
    pub fn checked_add(self, count: BlockCount) -> Option<Lba> {
        self.0.checked_add(count.0).map(Lba)
    }

    /// The address `index` blocks further on; saturates, so a block that cannot exist stays out of range.
    pub fn offset(self, index: u64) -> Lba {
        Lba(self.0.saturating_add(index))
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of logical blocks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct BlockCount(pub u64);

impl fmt::Display for BlockCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Consecutive logical blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    /// The first one.
    pub first: Lba,
    /// How many.
    pub count: BlockCount,
}

impl BlockRange {
    /// `count` blocks from `first` on.
    pub fn new(first: Lba, count: BlockCount) -> BlockRange {
        BlockRange { first, count }
    }

    /// The block behind the last; saturates.
    pub fn end(self) -> Lba {
        self.first.offset(self.count.0)
    }

    /// Whether the two have a block in common.
    pub fn overlaps(self, other: BlockRange) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// The number of a virtqueue of the device, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueIndex(pub u16);

impl fmt::Display for QueueIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a logical block, which is also the protection interval: 512 or 4096 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum BlockSize {
    /// 512 bytes.
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockSize {
    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            BlockSize::B512 => 512,
            BlockSize::B4096 => 4096,
        }
    }

    /// The size in bytes, as the 64-bit number that disk offsets are made of.
    pub const fn bytes_u64(self) -> u64 {
        match self {
            BlockSize::B512 => 512,
            BlockSize::B4096 => 4096,
        }
    }

    /// How many whole blocks `bytes` are, or `None` where a part of a block would be left.
    pub const fn blocks_in(self, bytes: u64) -> Option<BlockCount> {
        if bytes.is_multiple_of(self.bytes_u64()) {
            Some(BlockCount(bytes / self.bytes_u64()))
        } else {
            None
        }
    }
}

impl From<BlockSize> for u32 {
    fn from(size: BlockSize) -> u32 {
        match size {
            BlockSize::B512 => 512,
            BlockSize::B4096 => 4096,
        }
    }
}

impl TryFrom<u32> for BlockSize {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, Self::Error> {
        match bytes {
            512 => Ok(BlockSize::B512),
            4096 => Ok(BlockSize::B4096),
            other => Err(format!("block size {other} is not supported: use 512 or 4096")),
        }
    }
}

impl FromStr for BlockSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: u32 = text
            .parse()
            .map_err(|_| format!("block size '{text}' is not a number: use 512 or 4096"))?;
        BlockSize::try_from(bytes)
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u32::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_only() {
        assert_eq!(BlockSize::B512.blocks_in(1024), Some(BlockCount(2)));
        assert_eq!(BlockSize::B4096.blocks_in(512), None);
        assert_eq!(BlockSize::B4096.blocks_in(0), Some(BlockCount(0)));
    }

    #[test]
    fn other_sizes_are_refused_with_the_way_out() {
        assert_eq!("512".parse(), Ok(BlockSize::B512));
        assert!("1024".parse::<BlockSize>().unwrap_err().contains("use 512 or 4096"));
        assert!("big".parse::<BlockSize>().unwrap_err().contains("use 512 or 4096"));
    }

    #[test]
    fn addresses_do_not_wrap() {
        assert_eq!(Lba(u64::MAX).checked_add(BlockCount(1)), None);
        assert_eq!(Lba(7).checked_add(BlockCount(1)), Some(Lba(8)));
    }
}
