//! f2fs: the areas before the main one (Linux, `struct f2fs_super_block`).

use super::area::{Area, joined};
use super::bytes::{ReadAt, le32};
use super::layout::{Layout, LayoutError};

const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xF2F5_2010;
const BLOCK: u64 = 4096;

/// The areas and where the superblock says each begins; they follow each other.
const AREAS: [(&str, usize); 4] = [
    ("checkpoint", 76),
    ("segment table", 80),
    ("node address table", 84),
    ("segment summary", 88),
];
const MAIN: usize = 92;

/// A file system; only what lies before its main area is known.
#[derive(Debug)]
pub struct F2fs {
    areas: Vec<Area>,
}

impl Layout for F2fs {
    /// Reads the superblock, and of it where each area lies.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let bytes = disk.read_at(SUPERBLOCK, 1024)?;
        if le32(&bytes, 0) != Some(MAGIC) {
            return Ok(None);
        }
        let begins = |at| le32(&bytes, at).map(|block| u64::from(block) * BLOCK);
        let mut areas = vec![Area::metadata("superblock", 0, 2 * BLOCK)];
        let ends = AREAS.iter().skip(1).map(|(_, at)| *at).chain([MAIN]);
        for ((name, at), end) in AREAS.iter().zip(ends) {
            let (Some(start), Some(end)) = (begins(*at), begins(end)) else {
                return Err(LayoutError::Damaged("superblock"));
            };
            let bytes = end.checked_sub(start).ok_or(LayoutError::Damaged("superblock"))?;
            areas.push(Area::metadata(name, start, bytes));
        }
        Ok(Some(F2fs { areas: joined(areas) }))
    }

    fn name(&self) -> &'static str {
        "f2fs"
    }

    fn areas(&self) -> Vec<Area> {
        self.areas.clone()
    }
}
