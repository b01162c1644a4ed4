//! Does every block of an image fit its tuple?

use std::fmt;

use super::{Image, ImageError, Progress, chunk_blocks};
use crate::media::backing::{Access, Backing, io_error};
use crate::media::disk::Disk;
use crate::media::error::OpenError;
use crate::media::geometry::Geometry;
use crate::media::header::State;
use crate::media::open;
use crate::media::pi_file::PiFile;
use crate::pi::{Mismatch, Tuple, guard, verify};
use crate::units::{BlockCount, Lba};

/// How many bad blocks are kept by name.
const NAMED: usize = 20;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The image's shape.
    pub geometry: Geometry,
    /// Blocks whose data fits their tuple.
    pub verified: BlockCount,
    /// Blocks with escape tags, whatever their data: never written, or discarded.
    pub unwritten: BlockCount,
    /// Blocks whose data does not.
    pub mismatches: BlockCount,
    /// The first of those.
    pub first: Vec<BadBlock>,
    /// The image had not been closed cleanly.
    pub was_in_use: bool,
    /// It is marked as clean now.
    pub marked_clean: bool,
}

/// A block that does not fit its tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock {
    /// Its address.
    pub lba: Lba,
    /// Which check failed.
    pub mismatch: Mismatch,
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lba {}: ", self.lba)?;
        super::write_mismatch(f, self.mismatch)
    }
}

/// Verifies every block; `progress` hears how many are done.
///
/// An image that was left in use and has no mismatch is marked as clean, if its PI file may be
/// written; nothing else is changed.
pub fn check(image: &Image, progress: Progress<'_>) -> Result<CheckReport, ImageError> {
    let parts = open::open_as_header_says(&image.path, image.pi_file.as_deref())?;
    let was_in_use = parts.pi.as_ref().is_some_and(|pi| pi.header().state == State::InUse);
    let disk = Disk::from_parts(parts);
    let mut report = CheckReport::new(disk.geometry(), was_in_use);
    report.scan(&disk, progress)?;
    if was_in_use && report.mismatches.0 == 0 {
        report.marked_clean = mark_clean(image, disk).inspect_err(warn_unmarked).is_ok();
    }
    Ok(report)
}

impl CheckReport {
    fn new(geometry: Geometry, was_in_use: bool) -> CheckReport {
        let none = BlockCount(0);
        CheckReport {
            geometry,
            verified: none,
            unwritten: none,
            mismatches: none,
            first: Vec::new(),
            was_in_use,
            marked_clean: false,
        }
    }

    fn scan(&mut self, disk: &Disk, progress: Progress<'_>) -> Result<(), ImageError> {
        let Geometry { block_size, blocks, .. } = self.geometry;
        let step = usize::try_from(chunk_blocks(block_size).0).unwrap_or(1);
        let mut tuples = vec![Tuple::ESCAPE; step];
        let mut data = vec![0; step.saturating_mul(block_size.bytes())];
        let mut at = Lba(0);
        while at.0 < blocks.0 {
            let left = usize::try_from(blocks.0 - at.0).unwrap_or(step);
            let count = left.min(step);
            let tuples = tuples.get_mut(..count).unwrap_or_default();
            let data = data.get_mut(..count.saturating_mul(block_size.bytes())).unwrap_or_default();
            self.scan_chunk(disk, at, data, tuples)?;
            at = at.offset(u64::try_from(count).unwrap_or(u64::MAX));
            progress(BlockCount(at.0), blocks);
        }
        Ok(())
    }

    fn scan_chunk(
        &mut self,
        disk: &Disk,
        lba: Lba,
        data: &mut [u8],
        tuples: &mut [Tuple],
    ) -> Result<(), ImageError> {
        // Tuples first: where nothing was ever written there is no data worth reading.
        disk.read_tuples(lba, tuples)?;
        if tuples.iter().any(|tuple| *tuple != Tuple::ESCAPE) {
            disk.read(lba, data, tuples)?;
        }
        let blocks = data.chunks(self.geometry.block_size.bytes());
        for ((block, tuple), lba) in blocks.zip(tuples).zip((lba.0..).map(Lba)) {
            self.count(lba, *tuple, block);
        }
        Ok(())
    }

    fn count(&mut self, lba: Lba, tuple: Tuple, block: &[u8]) {
        let counter = if tuple == Tuple::ESCAPE {
            &mut self.unwritten
        } else {
            match verify(self.geometry.pi_type, tuple, guard(block), lba) {
                Ok(()) => &mut self.verified,
                Err(mismatch) => {
                    if self.first.len() < NAMED {
                        self.first.push(BadBlock { lba, mismatch });
                    }
                    &mut self.mismatches
                }
            }
        };
        counter.0 = counter.0.saturating_add(1);
    }
}

/// Marks the PI file of a disk that was just checked; nobody can write to it in between, because
/// the data file stays locked.
fn mark_clean(image: &Image, checked: Disk) -> Result<(), OpenError> {
    let _data = Backing::open(&image.path, Access::Read)?;
    drop(checked);
    let path = image.pi_path();
    let pi = PiFile::open(&path, Access::Write)?;
    pi.mark(State::Clean).map_err(|e| io_error("mark as clean", &path, e))
}

fn warn_unmarked(error: &OpenError) {
    log::warn!("the image stays marked as not cleanly closed: {error}");
}
