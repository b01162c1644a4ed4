//! The blocks that one inode is made of: an extent tree, or the older lists of blocks.

use crate::owner::bytes::{ReadAt, le16, le32};
use crate::owner::layout::LayoutError;

use super::superblock::Superblock;

const FLAG_EXTENTS: u32 = 0x0008_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;
const EXTENT_MAGIC: u16 = 0xF30A;
/// `EXT4_MAX_EXTENT_DEPTH`.
const DEEPEST: u16 = 5;
/// Extents beyond this length are allocated and not yet written.
const UNWRITTEN: u16 = 0x8000;
/// A file with more blocks in its tree, or more pieces, is damaged, or too large for a test.
const MOST_BLOCKS: usize = 1 << 16;

/// Consecutive blocks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first one's number on the disk.
    pub physical: u64,
    /// How many blocks follow one another on the disk.
    pub count: u64,
}

/// The blocks of an inode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Blocks that say where others lie.
    pub tree: Vec<u64>,
    /// What the file holds.
    pub data: Vec<Run>,
    /// The block of its extended attributes.
    pub attributes: Option<u64>,
    /// Mapped by extents rather than by lists.
    pub extents: bool,
}

impl Blocks {
    /// Follows the inode in `bytes`.
    pub fn read(disk: &dyn ReadAt, sb: &Superblock, bytes: &[u8]) -> Result<Blocks, LayoutError> {
        let damaged = LayoutError::Damaged("inode");
        let fields = |at| le32(bytes, at);
        let (Some(flags), Some(root)) = (fields(0x20), bytes.get(0x28..0x64)) else {
            return Err(damaged);
        };
        let attributes =
            u64::from(le16(bytes, 0x76).unwrap_or(0)) << 32 | u64::from(fields(0x68).unwrap_or(0));
        let mut blocks = Blocks {
            attributes: Some(attributes).filter(|block| *block != 0),
            extents: flags & FLAG_EXTENTS != 0,
            ..Blocks::default()
        };
        let mut walk = Walk { disk, sb, blocks: &mut blocks };
        if flags & FLAG_INLINE_DATA != 0 {
            return Ok(blocks);
        }
        if flags & FLAG_EXTENTS != 0 {
            walk.extents(root, DEEPEST)?;
        } else if bytes.get(..2).is_some_and(holds_blocks) {
            walk.lists(root)?;
        }
        Ok(blocks)
    }
}

/// Regular files and directories, and symbolic links of the long kind, which have extents anyway on
/// ext4; a device's number is no block. The reserved inodes of mkfs are regular files.
fn holds_blocks(mode: &[u8]) -> bool {
    le16(mode, 0).is_some_and(|mode| matches!(mode >> 12, 0x8 | 0x4))
}

struct Walk<'a> {
    disk: &'a dyn ReadAt,
    sb: &'a Superblock,
    blocks: &'a mut Blocks,
}

impl Walk<'_> {
    fn extents(&mut self, node: &[u8], deepest: u16) -> Result<(), LayoutError> {
        let damaged = || LayoutError::Damaged("extent tree");
        let (Some(EXTENT_MAGIC), Some(entries), Some(depth)) =
            (le16(node, 0), le16(node, 2), le16(node, 6))
        else {
            return Err(damaged());
        };
        if depth > deepest {
            return Err(damaged());
        }
        let entries = node.chunks_exact(12).skip(1).take(entries.into());
        for entry in entries {
            if self.blocks.data.len() >= MOST_BLOCKS {
                return Err(damaged());
            }
            if depth == 0 {
                self.blocks.data.push(extent(entry).ok_or_else(damaged)?);
            } else {
                let block = index(entry).ok_or_else(damaged)?;
                let below = self.tree_block(block)?;
                self.extents(&below, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Twelve blocks, then a list of blocks, a list of lists, and a list of lists of lists.
    fn lists(&mut self, root: &[u8]) -> Result<(), LayoutError> {
        for (at, pointer) in root.chunks_exact(4).enumerate() {
            self.list(le32(pointer, 0).unwrap_or(0), at.saturating_sub(11))?;
        }
        Ok(())
    }

    fn list(&mut self, block: u32, depth: usize) -> Result<(), LayoutError> {
        if block == 0 {
            return Ok(());
        }
        let physical = u64::from(block);
        if depth == 0 {
            if self.blocks.data.len() >= MOST_BLOCKS {
                return Err(LayoutError::Damaged("block map"));
            }
            match self.blocks.data.last_mut() {
                Some(run) if run.physical.saturating_add(run.count) == physical => run.count += 1,
                _ => self.blocks.data.push(Run { physical, count: 1 }),
            }
            return Ok(());
        }
        let below = self.tree_block(physical)?;
        for pointer in below.chunks_exact(4) {
            self.list(le32(pointer, 0).unwrap_or(0), depth - 1)?;
        }
        Ok(())
    }

    fn tree_block(&mut self, block: u64) -> Result<Vec<u8>, LayoutError> {
        if self.blocks.tree.len() >= MOST_BLOCKS || block >= self.sb.blocks {
            return Err(LayoutError::Damaged("block map"));
        }
        self.blocks.tree.push(block);
        let size = usize::try_from(self.sb.block_size).unwrap_or(4096);
        Ok(self.disk.read_at(block.saturating_mul(self.sb.block_size), size)?)
    }
}

/// A leaf's entry: logical block (4 bytes), length (2), the physical block's high and low part.
fn extent(entry: &[u8]) -> Option<Run> {
    let length = le16(entry, 4)?;
    let count = if length > UNWRITTEN { length - UNWRITTEN } else { length };
    let physical = u64::from(le16(entry, 6)?) << 32 | u64::from(le32(entry, 8)?);
    Some(Run { physical, count: count.into() })
}

/// An index entry: logical block (4 bytes), the physical block's low part (4) and high part (2).
fn index(entry: &[u8]) -> Option<u64> {
    Some(u64::from(le16(entry, 8)?) << 32 | u64::from(le32(entry, 4)?))
}
