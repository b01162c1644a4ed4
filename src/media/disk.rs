//! Blocks and tuples, read and written as one consistent pair.
//!
//! A write puts the data down first and its tuples second, both under the range's lock. A process
//! killed between the two (kill -9) leaves new data under old tuples: such a block was never
//! acknowledged, its next read fails its guard check, and `dixtrap image check` finds it. The other
//! order would be no better, and no order can lose an acknowledged write, because the page cache
//! outlives the process (as the device does, on a direct disk: there the data is written before it
//! counts as such, and a transfer that the kernel still has when the process dies was not acknowledged). After a power failure, what was not flushed may be new in either file.
//! A discard escapes the tuples first: killed in between it leaves old data that nothing checks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::backing::{Backing, Stopped};
use super::direct::{Engine, Extents, Hold};
use super::error::{MediaError, OpenError};
use super::geometry::Geometry;
use super::header::State;
use super::locks::RangeLocks;
use super::open::{DiskSpec, Parts, open};
use super::pi_file::PiFile;
use crate::pi::{GuardTag, Tuple, generate_over, guard};
use crate::units::{BlockCount, Lba};

/// An open disk. Any number of threads may use it at once.
#[derive(Debug)]
pub struct Disk {
    /// The shape when it was opened; see [`Disk::grow`] for the number of blocks.
    opened: Geometry,
    blocks: AtomicU64,
    pub(super) data: Backing,
    pi: Option<PiFile>,
    locks: RangeLocks,
    /// Takes the place of `locks` where the disk is direct.
    pub(super) extents: Extents,
    /// One for each queue whose requests overlap.
    pub(super) engines: Vec<Engine>,
    /// Set once, under all locks: no change comes after the mark that says clean.
    closed: AtomicBool,
    /// Data and tuples may disagree somewhere: the PI file stays marked as in use.
    suspect: AtomicBool,
    /// What the process that closed the disk last had to say to this one.
    note: Option<Vec<u8>>,
    /// What this one has to say to the next.
    parting: Mutex<Option<Vec<u8>>>,
}

/// Blocks that are alike in having space on the medium or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// They have space; those that have none read as zeros.
    pub mapped: bool,
    /// How many there are; at least one.
    pub blocks: BlockCount,
}

/// Blocks that exist, as byte offsets of the data.
struct Extent {
    lba: Lba,
    count: BlockCount,
    offset: u64,
    len: u64,
}

impl Disk {
    /// Opens, or with a size creates, the disk that `spec` describes. Nothing is overwritten.
    pub fn open(spec: &DiskSpec) -> Result<Disk, OpenError> {
        let mut disk = Self::from_parts(open(spec)?);
        if !spec.read_only {
            disk.take_over().map_err(|source| OpenError::Io {
                what: "mark as in use the PI file of",
                path: spec.file.clone().unwrap_or_default(),
                source,
            })?;
        }
        if disk.suspect.load(Ordering::Relaxed) {
            let name = spec.file.as_deref().unwrap_or_else(|| "the disk".as_ref()).display();
            log::warn!(
                "{name} was not closed cleanly: a block that was being written then may fail its \
                 checks; 'dixtrap image check' finds it"
            );
        }
        Ok(disk)
    }

    /// A disk of files that belong together.
    pub(super) fn from_parts(parts: Parts) -> Disk {
        let left_open = |pi: &PiFile| pi.header().state == State::InUse;
        Disk {
            opened: parts.geometry,
            blocks: AtomicU64::new(parts.geometry.blocks.0),
            suspect: AtomicBool::new(parts.pi.as_ref().is_some_and(left_open)),
            data: parts.data,
            pi: parts.pi,
            locks: RangeLocks::new(parts.geometry.block_size),
            extents: Extents::default(),
            engines: Vec::new(),
            closed: AtomicBool::new(false),
            note: None,
            parting: Mutex::default(),
        }
    }

    /// Takes the note of the process before, and says that the disk is in use.
    fn take_over(&mut self) -> io::Result<()> {
        self.note = self.pi.as_ref().map_or(Ok(None), PiFile::take_note)?;
        self.mark(State::InUse)
    }

    /// What the process that closed the disk last left for this one: nothing where it was killed.
    pub fn note(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }

    /// Leaves something for the next process, when the disk is closed. A disk without protection has
    /// no place for it, nor one that is read-only.
    pub fn leave_note(&self, note: Vec<u8>) {
        *self.parting.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// How many blocks are best read with one call: few where that is only a copy, many where
    /// it is a system call.
    pub fn blocks_at_once(&self) -> usize {
        let bytes: usize = if self.data.is_mapped() { 128 << 10 } else { 1 << 20 };
        bytes / self.geometry().block_size.bytes()
    }

    /// The disk's shape.
    pub fn geometry(&self) -> Geometry {
        Geometry { blocks: BlockCount(self.blocks.load(Ordering::Acquire)), ..self.opened }
    }

    /// Takes over blocks that were added to the end of the data file since; answers whether there
    /// were any. They have escape tags. A file that became shorter is left alone: reads past its end
    /// fail.
    pub fn grow(&self) -> Result<bool, MediaError> {
        let bytes = self.data.measure().map_err(|e| io("measure the data", e))?;
        let blocks = BlockCount(bytes / self.opened.block_size.bytes_u64());
        if self.opened.read_only || blocks.0 <= self.blocks.load(Ordering::Acquire) {
            return Ok(false);
        }
        let _held = self.hold_everything();
        self.require_writable()?;
        if let Some(pi) = &self.pi {
            pi.grow(blocks).map_err(|e| io("extend the PI file", e))?;
        }
        self.blocks.store(blocks.0, Ordering::Release);
        Ok(true)
    }

    /// Reads the blocks from `lba` on and their tuples, one for each block that `data` has room for.
    ///
    /// Data and tuples are one pair, whatever is being written at the same time. Nothing is
    /// verified. Without protection every tuple is [`Tuple::ESCAPE`].
    pub fn read(&self, lba: Lba, data: &mut [u8], tuples: &mut [Tuple]) -> Result<(), MediaError> {
        let extent = self.extent_of_data(lba, data.len(), tuples.len())?;
        let _held = self.hold(lba, extent.count, false);
        self.data.read(extent.offset, data).map_err(|e| io("read data", e))?;
        self.read_tuples(lba, tuples)
    }

    /// As [`Disk::read`], where the data lies in memory: instead of a copy of it, `copy` gets its
    /// place, which is readable for as many blocks as there are tuples until `copy` returns.
    ///
    /// `false` where it does not, or not all of it: then `copy` was not called, or nothing that it
    /// copied has any meaning, and [`Disk::read`] will do.
    pub fn read_in_place(
        &self,
        lba: Lba,
        tuples: &mut [Tuple],
        copy: impl FnOnce(*const u8),
    ) -> Result<bool, MediaError> {
        let bytes = tuples.len().saturating_mul(self.opened.block_size.bytes());
        let extent = self.extent_of_data(lba, bytes, tuples.len())?;
        if !self.data.is_mapped() {
            return Ok(false);
        }
        // Tuples come near while the data is copied.
        if let Some(pi) = &self.pi {
            pi.expect(lba, extent.count);
        }
        let _held = self.locks.shared(lba, extent.count);
        let copied = self.data.in_place(extent.offset, bytes, copy);
        self.read_tuples(lba, tuples)?;
        Ok(copied)
    }

    /// These blocks will be written soon. Nothing is changed by it, and nothing promised.
    ///
    /// Brings tuples near. Data goes past the caches, so it needs no more than its first line: with it
    /// comes the translation of its address.
    pub fn expect_write(&self, lba: Lba, count: BlockCount) {
        if let Ok(extent) = self.extent(lba, count) {
            self.data.expect(extent.offset, 1);
            if let Some(pi) = &self.pi {
                pi.expect(lba, count);
            }
        }
    }

    /// Reads tuples alone; the caller holds the range or is alone with the disk.
    pub(super) fn read_tuples(&self, lba: Lba, tuples: &mut [Tuple]) -> Result<(), MediaError> {
        match &self.pi {
            Some(pi) => pi.read(lba, tuples).map_err(|e| io("read protection information", e)),
            None => {
                tuples.fill(Tuple::ESCAPE);
                Ok(())
            }
        }
    }

    /// Writes whole blocks and their tuples, or fails.
    ///
    /// Where it fails, blocks that were not reached keep their data and tuples; those that were have
    /// undefined data and escape tags, so that a full file system is not mistaken for corruption.
    pub fn write(&self, lba: Lba, data: &[u8], tuples: &[Tuple]) -> Result<(), MediaError> {
        let extent = self.extent_of_data(lba, data.len(), tuples.len())?;
        let _held = self.hold(lba, extent.count, true);
        self.require_writable()?;
        let written = self.data.write(extent.offset, data);
        self.conclude_write((lba, extent.count), written, tuples)
    }

    /// Writes the tuples of data that is written, or sees to what a failed write left.
    pub(super) fn conclude_write(
        &self,
        (lba, count): (Lba, BlockCount),
        written: Result<(), Stopped>,
        tuples: &[Tuple],
    ) -> Result<(), MediaError> {
        written.map_err(|Stopped { written, source }| {
            let reached = BlockCount(written.div_ceil(self.opened.block_size.bytes_u64()));
            // A device that fails does not say in which order it stored what it did.
            self.distrust(lba, if self.is_direct() { count } else { reached });
            io("write data", source)
        })?;
        let Some(pi) = &self.pi else { return Ok(()) };
        pi.write(lba, tuples).map_err(|source| {
            self.distrust(lba, count);
            io("write protection information", source)
        })
    }

    /// Whether data goes past the page cache.
    pub fn is_direct(&self) -> bool {
        self.data.is_direct()
    }

    /// Keeps writers, or where `exclusive` everyone, out of a range.
    fn hold(&self, lba: Lba, count: BlockCount, exclusive: bool) -> Hold<'_> {
        if self.is_direct() {
            return Hold::Extent(&self.extents, self.take_extent((lba, count), exclusive));
        }
        if exclusive {
            Hold::Exclusive(self.locks.exclusive(lba, count))
        } else {
            Hold::Shared(self.locks.shared(lba, count))
        }
    }

    fn hold_everything(&self) -> Hold<'_> {
        self.hold(Lba(0), BlockCount(u64::MAX), true)
    }

    /// Where whole blocks with a tuple each begin, in bytes, and how many they are.
    pub(super) fn place_of(
        &self,
        lba: Lba,
        bytes: usize,
        tuples: usize,
    ) -> Result<(u64, BlockCount), MediaError> {
        self.extent_of_data(lba, bytes, tuples).map(|extent| (extent.offset, extent.count))
    }

    /// Forgets blocks: their space is given back, they read as zeros with escape tags.
    pub fn discard(&self, lba: Lba, count: BlockCount) -> Result<(), MediaError> {
        let extent = self.extent(lba, count)?;
        let _held = self.hold(lba, count, true);
        self.require_writable()?;
        if let Some(pi) = &self.pi {
            pi.escape(lba, count).map_err(|e| io("discard protection information", e))?;
        }
        self.data.punch(extent.offset, extent.len).map_err(|e| io("discard data", e))
    }

    /// Writes zeros with tuples that verify; `unmap` gives the data's space back as well.
    pub fn write_zeroes(&self, lba: Lba, count: BlockCount, unmap: bool) -> Result<(), MediaError> {
        let extent = self.extent(lba, count)?;
        let _held = self.hold(lba, count, true);
        self.require_writable()?;
        self.zero(&extent, unmap).inspect_err(|_| self.distrust(lba, count))
    }

    fn zero(&self, extent: &Extent, unmap: bool) -> Result<(), MediaError> {
        let Extent { lba, count, offset, len } = *extent;
        let cleared =
            if unmap { self.data.punch(offset, len) } else { self.data.zero(offset, len) };
        cleared.map_err(|e| io("write zeros", e))?;
        let Some(pi) = &self.pi else { return Ok(()) };
        let tuples = zero_tuples(self.opened, lba, count);
        pi.write_each(lba, tuples).map_err(|e| io("write protection information", e))
    }

    /// The run of blocks at `lba` that are alike in having space on the medium or none.
    pub fn allocation(&self, lba: Lba) -> Result<Allocation, MediaError> {
        let Extent { offset, .. } = self.extent(lba, BlockCount(1))?;
        let size = self.opened.block_size.bytes_u64();
        let data = self.data.next_data(offset).map_err(|e| io("read the map of", e))?;
        // A block of which a part has space counts as having it.
        let (mapped, end) = match data {
            None => (false, self.geometry().blocks.0),
            Some((start, end)) if start / size <= lba.0 => (true, end.div_ceil(size)),
            Some((start, _)) => (false, start / size),
        };
        let blocks = end.min(self.geometry().blocks.0).saturating_sub(lba.0).max(1);
        Ok(Allocation { mapped, blocks: BlockCount(blocks) })
    }

    /// Waits until everything written so far is on stable storage (fdatasync of both files).
    pub fn flush(&self) -> Result<(), MediaError> {
        self.sync().map_err(|e| io("flush", e)).inspect_err(|_| self.suspect())
    }

    /// Flushes, marks the PI file as clean, and refuses every later change. Dropping does the same.
    pub fn close(&self) -> Result<(), MediaError> {
        let _held = self.hold_everything();
        if self.opened.read_only || self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.flush()?;
        self.write_note().map_err(|e| io("leave a note in the PI file", e))?;
        if self.suspect.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.mark(State::Clean).map_err(|e| io("mark the PI file as clean", e))
    }

    fn write_note(&self) -> io::Result<()> {
        let note = self.parting.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (&self.pi, note) {
            (Some(pi), Some(note)) => pi.leave_note(&note),
            _ => Ok(()),
        }
    }

    /// Says in the PI file's header whether data and tuples are known to belong together.
    fn mark(&self, state: State) -> io::Result<()> {
        self.pi.as_ref().map_or(Ok(()), |pi| pi.mark(state))
    }

    fn sync(&self) -> io::Result<()> {
        self.data.sync()?;
        self.pi.as_ref().map_or(Ok(()), PiFile::sync)
    }

    /// Escapes the tuples of blocks that a failed request reached. Needs no space: where the PI file
    /// has none, the tuples are escaped already.
    fn distrust(&self, lba: Lba, count: BlockCount) {
        let escaped = self.pi.as_ref().map_or(Ok(()), |pi| pi.escape(lba, count));
        if let Err(error) = escaped {
            self.suspect();
            log::error!(
                "protection information of {count} blocks at LBA {lba} is out of date: {error}; \
                 'dixtrap image check' will name them"
            );
        }
    }

    fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    pub(super) fn require_writable(&self) -> Result<(), MediaError> {
        if self.opened.read_only {
            return Err(MediaError::ReadOnly);
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(MediaError::Closed);
        }
        Ok(())
    }

    /// Refuses blocks that do not exist.
    pub fn require_range(&self, lba: Lba, count: BlockCount) -> Result<(), MediaError> {
        self.extent(lba, count).map(drop)
    }

    /// The extent of a buffer of whole blocks with a tuple each.
    fn extent_of_data(&self, lba: Lba, bytes: usize, tuples: usize) -> Result<Extent, MediaError> {
        let block_size = self.opened.block_size;
        if tuples.checked_mul(block_size.bytes()) != Some(bytes) {
            return Err(MediaError::Lengths { bytes, tuples, block_size });
        }
        self.extent(lba, BlockCount(u64::try_from(tuples).unwrap_or(u64::MAX)))
    }

    /// The extent of blocks that exist.
    fn extent(&self, lba: Lba, count: BlockCount) -> Result<Extent, MediaError> {
        let Geometry { blocks, block_size, .. } = self.geometry();
        if lba.checked_add(count).is_none_or(|end| end.0 > blocks.0) {
            return Err(MediaError::OutOfRange { lba, count, blocks });
        }
        // No overflow: the disk's length in bytes fits 63 bits.
        let bytes = |number: u64| number.saturating_mul(block_size.bytes_u64());
        Ok(Extent { lba, count, offset: bytes(lba.0), len: bytes(count.0) })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::error!("the disk was not closed cleanly: {error}: {:?}", error.errno());
        }
    }
}

/// The tuples of blocks that are all zeros.
fn zero_tuples(geometry: Geometry, lba: Lba, count: BlockCount) -> impl Iterator<Item = Tuple> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let guard: GuardTag = guard(ZEROS.get(..geometry.block_size.bytes()).unwrap_or_default());
    (0..count.0).map(move |index| generate_over(geometry.pi_type, guard, lba.offset(index)))
}

pub(super) fn io(what: &'static str, source: io::Error) -> MediaError {
    MediaError::Io { what, source }
}
