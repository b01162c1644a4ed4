//! Does every block of an image fit its tuple?

use std::fmt;

use super::{Image, ImageError, Progress, chunk_blocks};
use crate::media::backing::Access;
use crate::media::disk::Disk;
use crate::media::error::OpenError;
use crate::media::geometry::Geometry;
use crate::media::header::State;
use crate::media::open;
use crate::media::replay::recover;
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
    /// Blocks whose write was under way then, and that were completed before the check.
    pub replayed: BlockCount,
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
/// Of an image that was left in use, if its PI file may be written, what was under way is completed
/// first, and it is marked as clean where it has no mismatch; nothing else is changed.
pub fn check(image: &Image, progress: Progress<'_>) -> Result<CheckReport, ImageError> {
    let disk = open_to_check(image, Access::Read)?;
    if !was_in_use(&disk) {
        let mut report = CheckReport::new(disk.geometry());
        report.scan(&disk, progress)?;
        return Ok(report);
    }
    drop(disk);
    check_left(image, progress)
}

/// Checks an image that was left in use, or was a moment ago.
fn check_left(image: &Image, progress: Progress<'_>) -> Result<CheckReport, ImageError> {
    let (disk, may_write) = match open_to_check(image, Access::Write) {
        Ok(disk) => (disk, true),
        Err(error @ OpenError::NotWritable { .. }) => {
            log::warn!("what was under way is not replayed, and the image not marked: {error}");
            (open_to_check(image, Access::Read)?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = CheckReport::new(disk.geometry());
    report.was_in_use = was_in_use(&disk);
    if may_write && report.was_in_use {
        report.replayed = recover(&disk.pair)?.completed;
        disk.pair.end_intents()?;
    }
    report.scan(&disk, progress)?;
    if may_write && report.was_in_use && report.mismatches.0 == 0 {
        let marked = disk.pair.mark(State::Clean);
        report.marked_clean = marked.inspect_err(warn_unmarked).is_ok();
    }
    Ok(report)
}

fn open_to_check(image: &Image, access: Access) -> Result<Disk, OpenError> {
    open::open_as_header_says(&image.path, image.pi_file.as_deref(), access).map(Disk::from_parts)
}

fn was_in_use(disk: &Disk) -> bool {
    disk.pair.opened_state() == Some(State::InUse)
}

impl CheckReport {
    fn new(geometry: Geometry) -> CheckReport {
        let none = BlockCount(0);
        CheckReport {
            geometry,
            verified: none,
            unwritten: none,
            mismatches: none,
            first: Vec::new(),
            was_in_use: false,
            replayed: none,
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

fn warn_unmarked(error: &std::io::Error) {
    log::warn!("the image stays marked as not cleanly closed: {error}");
}
