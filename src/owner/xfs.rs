//! xfs: the headers of the allocation groups, the roots of their trees, the log
//! (Linux, `struct xfs_dsb`, `xfs_agf`, `xfs_agi`; big-endian).

use crate::record::{Holds, OwnerKind, Structure};

use super::area::{Area, joined};
use super::bytes::{ReadAt, be16, be32, be64};
use super::layout::{Layout, LayoutError, Mounted};

const MAGIC: u32 = u32::from_be_bytes(*b"XFSB");
/// More than any disk under test has.
const MOST_GROUPS: u32 = 1 << 16;

/// A file system: its geometry, and what lies at fixed places.
#[derive(Debug)]
pub struct Xfs {
    areas: Vec<Area>,
    block_size: u64,
    sector: u64,
    group_blocks: u64,
    groups: u32,
    inode_size: u64,
    /// The exponents of 2 that inode numbers and block numbers are put together with.
    inodes_a_block_log: u32,
    group_blocks_log: u32,
}

impl Layout for Xfs {
    /// Reads the superblock and the groups' headers; `None` where it is another file system.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let bytes = disk.read_at(0, 512)?;
        if be32(&bytes, 0) != Some(MAGIC) {
            return Ok(None);
        }
        let damaged = LayoutError::Damaged("superblock");
        let Some((mut xfs, log)) = Xfs::parse(&bytes) else { return Err(damaged) };
        let mut areas: Vec<Area> = log.into_iter().collect();
        for group in 0..xfs.groups {
            areas.extend(xfs.group(disk, group));
        }
        xfs.areas = joined(areas);
        Ok(Some(xfs))
    }

    fn name(&self) -> &'static str {
        "xfs"
    }

    fn areas(&self) -> Vec<Area> {
        self.areas.clone()
    }

    /// Inodes come in chunks, where there is room for them.
    fn learn(&mut self, mounted: &dyn Mounted) {
        let chunks = mounted.inode_runs();
        let chunks: Vec<Area> =
            chunks.iter().map(|run| self.inodes(run.first, run.count)).collect();
        self.areas.extend(chunks);
    }
}

impl Xfs {
    /// The geometry, and the log where it is inside the file system.
    fn parse(sb: &[u8]) -> Option<(Xfs, Option<Area>)> {
        let byte = |at: usize| sb.get(at).copied().map(u32::from);
        let xfs = Xfs {
            areas: Vec::new(),
            block_size: be32(sb, 4)?.into(),
            sector: be16(sb, 102)?.into(),
            group_blocks: be32(sb, 84)?.into(),
            groups: be32(sb, 88)?,
            inode_size: be16(sb, 104)?.into(),
            inodes_a_block_log: byte(123)?,
            group_blocks_log: byte(124)?,
        };
        let sound = (512..=65536).contains(&xfs.block_size)
            && (512..=32768).contains(&xfs.sector)
            && xfs.groups <= MOST_GROUPS
            && xfs.group_blocks > 0
            && (256..=2048).contains(&xfs.inode_size)
            && xfs.inodes_a_block_log < 32
            && xfs.group_blocks_log < 32;
        if !sound {
            return None;
        }
        let start = Some(be64(sb, 48)?).filter(|block| *block != 0);
        let bytes = u64::from(be32(sb, 96)?).saturating_mul(xfs.block_size);
        let log =
            start.map(|block| Area::of("journal", OwnerKind::Journal, xfs.block_at(block), bytes));
        Some((xfs, log))
    }

    /// The area of `count` inodes that begin with number `first`: a chunk as INUMBERS tells it.
    pub(super) fn inodes(&self, first: u64, count: u64) -> Area {
        let block = first >> self.inodes_a_block_log;
        let in_block = first & ((1 << self.inodes_a_block_log) - 1);
        let start = self.block_at(block).saturating_add(in_block.saturating_mul(self.inode_size));
        Area::metadata("inode chunk", start, count.saturating_mul(self.inode_size))
            .holding(Holds::of(Structure::XfsInode, self.inode_size, first))
    }

    /// Where a block of the file system lies: its number has the group above the block in the group.
    fn block_at(&self, number: u64) -> u64 {
        let group = number >> self.group_blocks_log;
        let in_group = number & ((1 << self.group_blocks_log) - 1);
        group
            .saturating_mul(self.group_blocks)
            .saturating_add(in_group)
            .saturating_mul(self.block_size)
    }

    /// Four sectors of headers, and the roots that two of them name. What a mounted file system has
    /// not written back yet is not seen here.
    fn group(&self, disk: &dyn ReadAt, group: u32) -> Vec<Area> {
        let start = u64::from(group).saturating_mul(self.group_blocks) * self.block_size;
        let sector = |number: u64| start.saturating_add(number * self.sector);
        let superblock = if group == 0 { "superblock" } else { "backup superblock" };
        let headers = [
            (superblock, Some(Structure::XfsSuperblock)),
            ("free space header", Some(Structure::XfsFreeSpaceHeader)),
            ("inode header", Some(Structure::XfsInodeHeader)),
            ("free list", None),
        ];
        let header = |(number, (name, structure)): (u64, (&str, Option<Structure>))| {
            let area = Area::metadata(name, sector(number), self.sector);
            match structure {
                Some(structure) => area.holding(Holds::of(structure, self.sector, group.into())),
                None => area,
            }
        };
        let mut areas: Vec<Area> = (0..).zip(headers).map(header).collect();
        for (number, magic, roots) in [
            (1, b"XAGF", [("free space tree", 16), ("free space tree", 20)].as_slice()),
            (1, b"XAGF", &[("reverse map tree", 24), ("reference count tree", 88)]),
            (2, b"XAGI", &[("inode tree", 20), ("inode tree", 328)]),
        ] {
            let Ok(header) = disk.read_at(sector(number), 512) else { continue };
            let root = |at| be32(&header, at).filter(|root| *root != 0).map(u64::from);
            let found = roots.iter().filter_map(|(name, at)| Some((*name, root(*at)?)));
            if header.starts_with(magic) {
                areas.extend(
                    found
                        .filter(|(_, block)| *block < self.group_blocks)
                        .map(|(name, block)| self.block(name, start, block)),
                );
            }
        }
        areas
    }

    fn block(&self, name: &str, group_start: u64, block: u64) -> Area {
        let start = group_start.saturating_add(block.saturating_mul(self.block_size));
        Area::metadata(name, start, self.block_size)
    }
}
