//! The fields of a file system's structures that a race touched, with their values where the record has
//! all of their bytes. Pure.

mod bits;
mod btrfs;
mod ext4;
mod fat;
mod run;
mod table;
mod xfs;

use crate::record::{Holds, Race, Structure};

use run::Run;
use table::{Field, Fields};

/// A field of a structure that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Which structure: `ext4 inode 24`.
    pub whose: String,
    /// The field's name in the kernel's own headers, or what the bytes are where there is no such name.
    pub name: String,
    /// Its value before and after, where the record has all of its bytes.
    pub values: Option<(String, String)>,
}

/// The most fields that are told of one race: a record has sixteen runs of bytes.
const MOST: usize = 64;
/// The longest field of which single bytes are told.
const SHORT: u64 = 8;
/// The most structures that one run is looked for in: none is smaller than an entry of a FAT.
const MOST_STRUCTURES: u64 = 1024;

/// The fields that a race touched, of structures that its owner is known to hold; none where nothing is
/// known of them.
pub fn touched(race: &Race) -> Vec<Touched> {
    let Some(holds) = race.owner.as_ref().and_then(|owner| owner.holds) else { return Vec::new() };
    let mut all: Vec<Touched> = Vec::new();
    for change in &race.changed {
        let run = Run {
            offset: u64::try_from(change.offset).unwrap_or(u64::MAX),
            len: u64::try_from(change.len).unwrap_or(u64::MAX),
            old: change.old_bytes(),
            new: change.new_bytes(),
        };
        for field in in_run(holds, &run) {
            if !all.contains(&field) && all.len() < MOST {
                all.push(field);
            }
        }
    }
    all
}

/// Structure by structure: a run may go over several.
fn in_run(holds: Holds, run: &Run) -> Vec<Touched> {
    let mut found = Vec::new();
    let mut at = run.offset;
    for _ in 0..MOST_STRUCTURES {
        if at >= run.range().end {
            break;
        }
        let here = holds.after(at);
        // Where the structure begins and ends, seen from the block's start; it may begin before that.
        let end = at.saturating_add(here.each.max(1).saturating_sub(here.skipped));
        found.extend(in_structure(here, run, at..end.min(run.range().end)));
        at = end;
    }
    found
}

/// The fields of one structure that lie in `range` of the block.
fn in_structure(here: Holds, run: &Run, range: std::ops::Range<u64>) -> Vec<Touched> {
    let whose = whose(here);
    if let Some(name) = bits::name(here.structure) {
        let bits = bits::changed(here, run, &range);
        return bits
            .into_iter()
            .map(|bits| Touched {
                whose: whose.clone(),
                name: format!("{name} {bits}"),
                values: None,
            })
            .collect();
    }
    let fields = fields_of(here);
    let mut found: Vec<Touched> = Vec::new();
    for field in
        fields.over(here.skipped, here.skipped.saturating_add(range.end - range.start), here.each)
    {
        // From the structure's own offsets to the block's.
        let begin = (range.start.saturating_add(field.at)).checked_sub(here.skipped);
        let place = begin.unwrap_or(0)
            ..range
                .start
                .saturating_add(field.at.saturating_add(field.len))
                .saturating_sub(here.skipped);
        if !run.changes(&place) {
            continue;
        }
        found.push(Touched {
            whose: whose.clone(),
            name: field.name.clone(),
            values: values(&field, run, begin),
        });
    }
    found
}

/// The values where the record has all bytes, else the bytes that it has, in the order in which they lie.
fn values(field: &Field, run: &Run, begin: Option<u64>) -> Option<(String, String)> {
    let (begin, len) = (begin?, usize::try_from(field.len).ok()?);
    if let Some((old, new)) = run.bytes(begin, len) {
        return Some((field.value(old)?, field.value(new)?));
    }
    if field.len > SHORT {
        return None;
    }
    let old = run.side(begin, field.len, |(old, _)| old);
    let new = run.side(begin, field.len, |(_, new)| new);
    let sides = (old, new);
    (sides.0 != sides.1).then_some(sides)
}

fn whose(here: Holds) -> String {
    match here.structure {
        Structure::Ext4Superblock | Structure::BtrfsSuperblock => here.structure.to_string(),
        Structure::BtrfsTreeBlock => {
            format!("{} {}", here.structure, here.first.saturating_mul(here.each))
        }
        _ => format!("{} {}", here.structure, here.first),
    }
}

fn fields_of(here: Holds) -> Fields {
    match here.structure {
        Structure::Ext4Superblock => Fields::of(ext4::SUPERBLOCK),
        Structure::Ext4GroupDescriptor => Fields::of(ext4::GROUP_DESCRIPTOR),
        Structure::Ext4Inode => Fields::of(ext4::INODE),
        Structure::Ext4Directory => ext4::directory(here),
        Structure::XfsSuperblock => Fields::of(xfs::SUPERBLOCK),
        Structure::XfsFreeSpaceHeader => Fields::of(xfs::AGF),
        Structure::XfsInodeHeader => Fields::of(xfs::AGI),
        Structure::XfsInode => Fields::of(xfs::INODE),
        Structure::BtrfsSuperblock => Fields::of(btrfs::SUPERBLOCK),
        Structure::BtrfsTreeBlock => Fields::of(btrfs::TREE_BLOCK),
        Structure::FatDirectoryEntry => Fields::of(fat::DIRECTORY_ENTRY),
        Structure::Fat16Entry => Fields::of(fat::ENTRY_16),
        Structure::Fat32Entry => Fields::of(fat::ENTRY_32),
        Structure::Ext4BlockBitmap | Structure::Ext4InodeBitmap | Structure::Unknown => {
            Fields::of(&[])
        }
    }
}

#[cfg(test)]
mod tests;
