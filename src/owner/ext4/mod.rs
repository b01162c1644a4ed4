//! ext2, ext3 and ext4: where the fixed structures lie, and the blocks that an inode is made of.
//!
//! Superblocks, group descriptors, bitmaps, inode tables and the journal never move while the file
//! system lives: what is said of them holds for any moment since mkfs.

mod groups;
mod inode;
mod superblock;
#[cfg(test)]
mod tests;

pub use superblock::Superblock;

use crate::record::{Holds, Owner, OwnerKind, Structure};

use super::area::{Area, joined};
use super::bytes::ReadAt;
use super::layout::{Layout, LayoutError};
use inode::Blocks;

/// The inode that owns the blocks reserved for group descriptors.
const RESIZE_INODE: u32 = 7;

/// A file system of this family.
#[derive(Debug)]
pub struct Ext4 {
    areas: Vec<Area>,
    superblock: Superblock,
    /// The first block of each group's inode table.
    inode_tables: Vec<u64>,
}

impl Layout for Ext4 {
    /// Reads superblock and group descriptors, and everything whose place is fixed.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let Some(superblock) = Superblock::read(disk)? else { return Ok(None) };
        let groups = groups::read(disk, &superblock)?;
        let mut areas = groups.areas;
        let inode_tables = groups.inode_tables;
        let ext4 = Ext4 { areas: Vec::new(), superblock, inode_tables };
        if let Some(journal) = ext4.superblock.journal_inode {
            areas.extend(ext4.hidden(disk, journal, "journal", OwnerKind::Journal));
        }
        areas.extend(ext4.resize_list(disk));
        for (name, inode) in &ext4.superblock.hidden_inodes {
            areas.extend(ext4.hidden(disk, *inode, name, OwnerKind::Metadata));
        }
        Ok(Some(Ext4 { areas: joined(areas), ..ext4 }))
    }

    fn name(&self) -> &'static str {
        "ext4"
    }

    fn areas(&self) -> Vec<Area> {
        self.areas.clone()
    }

    fn directory(&self) -> Option<Holds> {
        Some(Holds::of(Structure::Ext4Directory, self.superblock.block_size, 0))
    }

    /// The blocks that say where a file's data lies, and that of its extended attributes.
    fn tree_areas(&self, disk: &dyn ReadAt, inode: u64, path: &str) -> Vec<Area> {
        let blocks = self.blocks_of(disk, inode).unwrap_or_default();
        let name = if blocks.extents { "extent tree block" } else { "indirect block" };
        let area = |name: &str, block: u64| {
            let owner =
                Owner { path: Some(path.to_owned()), ..Owner::new(name, OwnerKind::Metadata) };
            let size = self.superblock.block_size;
            Area { owner, ..Area::metadata(name, block.saturating_mul(size), size) }
        };
        let tree = blocks.tree.iter().map(|block| area(name, *block));
        tree.chain(blocks.attributes.map(|block| area("extended attributes", block))).collect()
    }
}

impl Ext4 {
    /// The blocks of an inode that no directory names. One that cannot be read has none: it only
    /// leaves blocks without a name.
    fn hidden(&self, disk: &dyn ReadAt, inode: u32, name: &str, kind: OwnerKind) -> Vec<Area> {
        let blocks = self.blocks_of(disk, inode.into()).unwrap_or_default();
        let data = blocks.data.iter().map(|run| (run.physical, run.count));
        let tree = blocks.tree.iter().map(|block| (*block, 1));
        let size = self.superblock.block_size;
        data.chain(tree)
            .map(|(first, count)| {
                Area::of(name, kind, first.saturating_mul(size), count.saturating_mul(size))
            })
            .collect()
    }

    /// The list of the blocks reserved for group descriptors; those themselves are known already.
    fn resize_list(&self, disk: &dyn ReadAt) -> Option<Area> {
        let blocks = self.blocks_of(disk, RESIZE_INODE.into()).ok()?;
        let (first, size) = (blocks.tree.first()?, self.superblock.block_size);
        Some(Area::metadata("reserved group descriptors", first.saturating_mul(size), size))
    }

    fn blocks_of(&self, disk: &dyn ReadAt, inode: u64) -> Result<Blocks, LayoutError> {
        let at = self.inode_at(inode).ok_or(LayoutError::Damaged("inode number"))?;
        let bytes = disk.read_at(at, usize::try_from(self.superblock.inode_size).unwrap_or(128))?;
        Blocks::read(disk, &self.superblock, &bytes)
    }

    /// Where an inode lies, in bytes. Inodes are counted from 1.
    fn inode_at(&self, inode: u64) -> Option<u64> {
        let index = inode.checked_sub(1)?;
        let group = usize::try_from(index / self.superblock.inodes_per_group).ok()?;
        let table = self.inode_tables.get(group)?.checked_mul(self.superblock.block_size)?;
        let in_table = index % self.superblock.inodes_per_group * self.superblock.inode_size;
        table.checked_add(in_table)
    }
}
