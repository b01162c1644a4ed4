//! Block groups: the copies of superblock and descriptors, bitmaps and inode tables.

use crate::owner::area::Area;
use crate::owner::bytes::{ReadAt, le32};
use crate::owner::layout::LayoutError;
use crate::record::{Holds, Structure};

use super::superblock::Superblock;

/// What the groups are made of.
#[derive(Debug)]
pub struct Groups {
    /// Every structure, in bytes.
    pub areas: Vec<Area>,
    /// The first block of each group's inode table.
    pub inode_tables: Vec<u64>,
}

/// Reads the group descriptors.
pub fn read(disk: &dyn ReadAt, sb: &Superblock) -> Result<Groups, LayoutError> {
    let mut groups = Groups { areas: heads(sb), inode_tables: Vec::new() };
    let size = usize::try_from(sb.block_size).map_err(|_| LayoutError::Damaged("superblock"))?;
    let descriptor = usize::try_from(sb.descriptor_size).unwrap_or(size).max(1);
    let mut left = sb.groups;
    for number in 0..sb.descriptor_blocks() {
        let place = descriptor_block(sb, number).saturating_mul(sb.block_size);
        let block = disk.read_at(place, size)?;
        for bytes in block.chunks_exact(descriptor) {
            if left == 0 {
                break;
            }
            left -= 1;
            add_group(sb, bytes, &mut groups).ok_or(LayoutError::Damaged("group descriptor"))?;
        }
    }
    Ok(groups)
}

/// The bitmaps and the inode table of one group.
fn add_group(sb: &Superblock, descriptor: &[u8], groups: &mut Groups) -> Option<()> {
    let wide = sb.descriptor_size >= 64;
    let block = |low, high| {
        let high = if wide { le32(descriptor, high)? } else { 0 };
        Some(u64::from(high) << 32 | u64::from(le32(descriptor, low)?))
    };
    let table = block(0x08, 0x28)?;
    let number = u64::try_from(groups.inode_tables.len()).ok()?;
    let first_inode = number.saturating_mul(sb.inodes_per_group).saturating_add(1);
    let bitmap = |structure| Holds::of(structure, sb.block_size, number);
    for (name, first, count, holds) in [
        ("block bitmap", block(0x00, 0x20)?, 1, bitmap(Structure::Ext4BlockBitmap)),
        ("inode bitmap", block(0x04, 0x24)?, 1, bitmap(Structure::Ext4InodeBitmap)),
        (
            "inode table",
            table,
            sb.inode_table_blocks(),
            Holds::of(Structure::Ext4Inode, sb.inode_size, first_inode),
        ),
    ] {
        groups.areas.push(area(sb, name, first, count).holding(holds));
    }
    groups.inode_tables.push(table);
    Some(())
}

/// Where descriptor block `number` lies (`descriptor_loc` of Linux).
fn descriptor_block(sb: &Superblock, number: u64) -> u64 {
    if sb.first_meta_bg.is_none_or(|first| number < first) {
        return behind_superblock(sb).saturating_add(number);
    }
    let group = number.saturating_mul(sb.descriptors_per_block());
    let first = if group == 0 { block_of_first_superblock(sb) } else { sb.first_block_of(group) };
    first.saturating_add(u64::from(sb.has_superblock(group)))
}

/// With blocks of 1 KiB the superblock fills block 1, whatever group 0 begins with.
fn block_of_first_superblock(sb: &Superblock) -> u64 {
    super::superblock::OFFSET / sb.block_size
}

fn behind_superblock(sb: &Superblock) -> u64 {
    block_of_first_superblock(sb).saturating_add(1)
}

/// Superblocks and descriptors with their copies, group by group.
fn heads(sb: &Superblock) -> Vec<Area> {
    let mut areas = Vec::new();
    if sb.block_size == 1024 {
        areas.push(area(sb, "boot block", 0, 1));
    }
    for group in 0..sb.groups {
        let copy = if group == 0 { "" } else { "backup " };
        let first =
            if group == 0 { block_of_first_superblock(sb) } else { sb.first_block_of(group) };
        let mut next = first;
        if sb.has_superblock(group) {
            areas.extend(superblock(sb, &format!("{copy}superblock"), group, first));
            next = next.saturating_add(1);
            let together = sb
                .first_meta_bg
                .map_or(sb.descriptor_blocks(), |meta| meta.min(sb.descriptor_blocks()));
            areas.push(descriptors(sb, &format!("{copy}group descriptors"), (next, together), 0));
            next = next.saturating_add(together);
            let reserved = sb.reserved_descriptor_blocks;
            areas.push(area(sb, "reserved group descriptors", next, reserved));
        }
        if let Some(name) = descriptors_by_their_groups(sb, group) {
            let place = first.saturating_add(u64::from(sb.has_superblock(group)));
            let per_block = sb.descriptors_per_block();
            areas.push(descriptors(sb, name, (place, 1), group / per_block * per_block));
        }
    }
    areas.extend(sb.mmp_block.map(|block| area(sb, "multiple-mount protection", block, 1)));
    areas
}

/// The block of a superblock. The first one does not begin its block, unless that has 1 KiB.
fn superblock(sb: &Superblock, name: &str, group: u64, block: u64) -> Vec<Area> {
    let whole = area(sb, name, block, 1);
    let begin = if group == 0 { super::superblock::OFFSET } else { whole.start };
    let end = begin.saturating_add(super::superblock::BYTES as u64);
    let piece =
        |from: u64, to: u64| Area { start: from, bytes: to.saturating_sub(from), ..whole.clone() };
    let own = Holds::of(Structure::Ext4Superblock, super::superblock::BYTES as u64, 0);
    let pieces =
        [piece(whole.start, begin), piece(begin, end).holding(own), piece(end, whole.end())];
    pieces.into_iter().filter(|area| area.bytes > 0).collect()
}

/// Blocks of group descriptors, of which the first one is that of group `number`.
fn descriptors(sb: &Superblock, name: &str, (first, count): (u64, u64), number: u64) -> Area {
    let holds = Holds::of(Structure::Ext4GroupDescriptor, sb.descriptor_size, number);
    area(sb, name, first, count).holding(holds)
}

/// With `meta_bg` a block of descriptors lies in the first group that it describes; the second and
/// the last have copies.
fn descriptors_by_their_groups(sb: &Superblock, group: u64) -> Option<&'static str> {
    let per_block = sb.descriptors_per_block();
    let number = group / per_block;
    sb.first_meta_bg.filter(|first| number >= *first)?;
    match group % per_block {
        0 => Some("group descriptors"),
        1 => Some("backup group descriptors"),
        at if at == per_block - 1 => Some("backup group descriptors"),
        _ => None,
    }
}

fn area(sb: &Superblock, name: &str, first: u64, count: u64) -> Area {
    let size = sb.block_size;
    Area::metadata(name, first.saturating_mul(size), count.saturating_mul(size))
}
