//! Block groups: the copies of superblock and descriptors, bitmaps and inode tables.

use crate::owner::area::Area;
use crate::owner::bytes::{ReadAt, le32};
use crate::owner::layout::LayoutError;

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
    for (name, first, count) in [
        ("block bitmap", block(0x00, 0x20)?, 1),
        ("inode bitmap", block(0x04, 0x24)?, 1),
        ("inode table", table, sb.inode_table_blocks()),
    ] {
        groups.areas.push(area(sb, name, first, count));
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
            areas.push(area(sb, &format!("{copy}superblock"), first, 1));
            next = next.saturating_add(1);
            let together = sb
                .first_meta_bg
                .map_or(sb.descriptor_blocks(), |meta| meta.min(sb.descriptor_blocks()));
            areas.push(area(sb, &format!("{copy}group descriptors"), next, together));
            next = next.saturating_add(together);
            let reserved = sb.reserved_descriptor_blocks;
            areas.push(area(sb, "reserved group descriptors", next, reserved));
        }
        if let Some(name) = descriptors_by_their_groups(sb, group) {
            let place = first.saturating_add(u64::from(sb.has_superblock(group)));
            areas.push(area(sb, name, place, 1));
        }
    }
    areas.extend(sb.mmp_block.map(|block| area(sb, "multiple-mount protection", block, 1)));
    areas
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
