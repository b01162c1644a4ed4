//! The superblock of ext2, ext3 and ext4 (Linux, `struct ext4_super_block`).

use crate::owner::bytes::{ReadAt, le16, le32};
use crate::owner::layout::LayoutError;

/// Where the superblock lies, in bytes from the start of the file system.
pub const OFFSET: u64 = 1024;
/// How long it is.
pub const BYTES: usize = 1024;
/// `s_magic`.
const MAGIC: u16 = 0xEF53;

const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_MMP: u32 = 0x100;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;

/// More groups than any disk under test has: 128 GiB of 4-KiB blocks a thousand times over.
const MOST_GROUPS: u64 = 1 << 20;

/// What the layout is computed from, checked for use as divisors and shifts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes a block: 1024 to 65536.
    pub block_size: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// The first block of group 0: 1 with blocks of 1 KiB, else 0.
    pub first_block: u64,
    /// How many blocks a block group has.
    pub blocks_per_group: u64,
    /// How many block groups there are.
    pub groups: u64,
    /// How many inodes a block group has.
    pub inodes_per_group: u64,
    /// How many bytes an inode takes in the table.
    pub inode_size: u64,
    /// Bytes a group descriptor: 32, or 64 and more with the feature `64bit`.
    pub descriptor_size: u64,
    /// Blocks kept free behind the group descriptors for more of them.
    pub reserved_descriptor_blocks: u64,
    /// The first block of descriptors that lies by its own groups (feature `meta_bg`); `None`
    /// where all lie behind the superblock.
    pub first_meta_bg: Option<u64>,
    /// The inode of an internal journal.
    pub journal_inode: Option<u32>,
    /// The inodes of quota files, and of the file of orphans.
    pub hidden_inodes: Vec<(&'static str, u32)>,
    /// The block of multiple-mount protection.
    pub mmp_block: Option<u64>,
    backups: Backups,
}

/// Which groups have a copy of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backups {
    Everywhere,
    /// Groups 0 and 1 and the powers of 3, 5 and 7 (`sparse_super`).
    Sparse,
    /// Group 0 and these (`sparse_super2`).
    Two([u32; 2]),
}

impl Superblock {
    /// Reads and checks the superblock; `None` where it is no file system of this family.
    pub fn read(disk: &dyn ReadAt) -> Result<Option<Superblock>, LayoutError> {
        let bytes = disk.read_at(OFFSET, BYTES)?;
        if le16(&bytes, 0x38) != Some(MAGIC) {
            return Ok(None);
        }
        let found = parse(&bytes).ok_or(LayoutError::Damaged("superblock"))?;
        // As Linux at the mount (`ext4_geometry_check`): else a short disk could claim endless groups.
        let last = found.blocks.saturating_mul(found.block_size).saturating_sub(1);
        disk.read_at(last, 1)
            .map_err(|_| LayoutError::Damaged("length, which is more than the disk's,"))?;
        Ok(Some(found))
    }

    /// The first block of a group.
    pub fn first_block_of(&self, group: u64) -> u64 {
        group.saturating_mul(self.blocks_per_group).saturating_add(self.first_block)
    }

    /// How many group descriptors a block holds.
    pub fn descriptors_per_block(&self) -> u64 {
        (self.block_size / self.descriptor_size).max(1)
    }

    /// How many blocks all group descriptors fill.
    pub fn descriptor_blocks(&self) -> u64 {
        self.groups.div_ceil(self.descriptors_per_block())
    }

    /// How many blocks an inode table fills.
    pub fn inode_table_blocks(&self) -> u64 {
        self.inodes_per_group.saturating_mul(self.inode_size).div_ceil(self.block_size)
    }

    /// Whether a group begins with a superblock, the first one or a copy (`ext4_bg_has_super`).
    pub fn has_superblock(&self, group: u64) -> bool {
        match self.backups {
            _ if group == 0 => true,
            Backups::Everywhere => true,
            Backups::Two(groups) => groups.map(u64::from).contains(&group),
            Backups::Sparse => group == 1 || [3, 5, 7].iter().any(|base| is_power(group, *base)),
        }
    }
}

fn is_power(number: u64, base: u64) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

/// The fields, where they make sense together.
fn parse(bytes: &[u8]) -> Option<Superblock> {
    let long = |at| le32(bytes, at);
    let (compat, incompat, ro_compat) = (long(0x5C)?, long(0x60)?, long(0x64)?);
    let wide = incompat & INCOMPAT_64BIT != 0;
    let high = if wide { long(0x150)? } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(long(4)?);
    let first_block = u64::from(long(0x14)?);
    let block_size = 1024_u64.checked_shl(long(0x18)?).filter(|size| *size <= 65536)?;
    let blocks_per_group = Some(u64::from(long(0x20)?)).filter(|count| *count > 0)?;
    let groups = blocks.checked_sub(first_block)?.div_ceil(blocks_per_group);
    let dynamic = long(0x4C)? > 0;
    let inode_size = if dynamic { u64::from(le16(bytes, 0x58)?) } else { 128 };
    let descriptor_size = if wide { u64::from(le16(bytes, 0xFE)?) } else { 32 };
    let sound = (1..=MOST_GROUPS).contains(&groups)
        && first_block <= 1
        && (128..=block_size).contains(&inode_size)
        && (32..=block_size).contains(&descriptor_size);
    let meta_bg = incompat & INCOMPAT_META_BG != 0;
    let mmp = incompat & INCOMPAT_MMP != 0;
    let mmp_block = u64::from(long(0x16C)?) << 32 | u64::from(long(0x168)?);
    let inode = |at| long(at).filter(|number| *number != 0);
    sound.then_some(Superblock {
        block_size,
        blocks,
        first_block,
        blocks_per_group,
        groups,
        inodes_per_group: Some(u64::from(long(0x28)?)).filter(|count| *count > 0)?,
        inode_size,
        descriptor_size,
        reserved_descriptor_blocks: u64::from(le16(bytes, 0xCE)?),
        first_meta_bg: if meta_bg { Some(u64::from(long(0x104)?)) } else { None },
        journal_inode: inode(0xE0),
        hidden_inodes: [
            ("quota", 0x240),
            ("quota", 0x244),
            ("quota", 0x26C),
            ("orphan file", 0x280),
        ]
        .into_iter()
        .filter_map(|(name, at)| inode(at).map(|number| (name, number)))
        .collect(),
        mmp_block: mmp.then_some(mmp_block),
        backups: if compat & COMPAT_SPARSE_SUPER2 != 0 {
            Backups::Two([long(0x24C)?, long(0x250)?])
        } else if ro_compat & RO_COMPAT_SPARSE_SUPER != 0 {
            Backups::Sparse
        } else {
            Backups::Everywhere
        },
    })
}
