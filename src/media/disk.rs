//! A disk: blocks and their tuples, read and written as one consistent pair.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::direct::{BlockTransfer, Blocks, Direction, IoQueues, Job, TransferId};
use super::error::{MediaError, OpenError};
use super::geometry::Geometry;
use super::header::State;
use super::locks::{LockedRange, Mode};
use super::open::{DiskSpec, Parts, open};
use super::pair::{Extent, Pair, failed};
use super::replay::{Replayed, recover};
use crate::made::MadeFile;
use crate::memory::{Buffer, List};
use crate::pi::Tuple;
use crate::units::{BlockCount, BlockRange, Lba, QueueIndex};

/// An open disk. Any number of threads may use it at once.
#[derive(Debug)]
pub struct Disk {
    pub(super) pair: Arc<Pair>,
    /// Where direct reads and writes are in flight while their queue does something else.
    queues: IoQueues,
    /// Set once, under all locks: no change comes after the mark that says clean.
    closed: AtomicBool,
    /// What the process that closed the disk last had to say to this one.
    note: Option<Vec<u8>>,
    /// What this one has to say to the next.
    parting: Mutex<Option<Vec<u8>>>,
    /// Its files that were not there before it was opened.
    made: Vec<MadeFile>,
}

/// How far a read or write got.
#[derive(Debug)]
pub enum Started<D, P = ()> {
    /// To its end.
    Done(D),
    /// It is in flight; its queue collects the completion.
    Pending(TransferId, P),
}

/// Blocks that are alike in having space on the medium or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// They have space; those that have none read as zeros.
    pub mapped: bool,
    /// How many there are; at least one.
    pub blocks: BlockCount,
}

impl Disk {
    /// Opens, or with a size creates, the disk that `spec` describes. Nothing is overwritten.
    pub fn open(spec: &DiskSpec) -> Result<Disk, OpenError> {
        let mut disk = Self::from_parts(open(spec)?);
        let name = spec.file.as_deref().unwrap_or_else(|| "the disk".as_ref()).display();
        if !spec.read_only {
            disk.recover(&name);
            disk.take_over().map_err(|source| OpenError::Io {
                what: "mark as in use the PI file of",
                path: spec.file.clone().unwrap_or_default(),
                source,
            })?;
        }
        if disk.pair.is_suspect() {
            log::warn!(
                "{name} was not closed cleanly: a block that was being written then may fail its \
                 checks; 'dixtrap image check' finds it"
            );
        }
        // A memory disk does not outlive its process.
        if !spec.read_only && spec.file.is_some() {
            disk.begin_intents(&name);
        }
        Ok(disk)
    }

    /// Completes what a killed process left under way. Where that cannot be, the image stays suspect.
    fn recover(&self, name: &dyn Display) {
        match recover(&self.pair) {
            Ok(Replayed { completed: BlockCount(0), .. }) => {}
            Ok(Replayed { completed, .. }) => log::warn!(
                "{name} was not closed cleanly: replayed {completed} blocks whose write was under way"
            ),
            Err(error) => log::warn!(
                "{name} was not closed cleanly, and what was under way cannot be replayed: {error}: {:?}",
                error.errno()
            ),
        }
    }

    fn begin_intents(&self, name: &dyn Display) {
        if let Err(error) = self.pair.begin_intents() {
            log::warn!(
                "{name} has no intent log ({error}): a block that is being written when dixtrapd is killed \
                 may fail its checks afterwards"
            );
        }
    }

    /// A disk of files that belong together.
    pub(super) fn from_parts(mut parts: Parts) -> Disk {
        let made = std::mem::take(&mut parts.made);
        Disk {
            pair: Arc::new(Pair::new(parts)),
            queues: IoQueues::none(),
            closed: AtomicBool::new(false),
            note: None,
            parting: Mutex::default(),
            made,
        }
    }

    /// The files that were made for it, told once.
    pub fn take_made(&mut self) -> Vec<MadeFile> {
        std::mem::take(&mut self.made)
    }

    /// Lets reads and writes be in flight on these queues' engines, where this is a direct disk.
    pub fn overlap(&mut self, queues: &IoQueues) {
        if self.is_direct() {
            self.queues = queues.clone();
        }
    }

    /// Whether a queue's reads and writes may be in flight while it does something else.
    pub fn overlaps(&self, queue: QueueIndex) -> bool {
        self.queues.engine(queue).is_some()
    }

    /// Takes the note of the process before, and says that the disk is in use.
    fn take_over(&mut self) -> std::io::Result<()> {
        self.note = self.pair.take_note()?;
        self.pair.mark(State::InUse)
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
        let bytes: usize = if self.pair.is_mapped() { 128 << 10 } else { 1 << 20 };
        bytes / self.geometry().block_size.bytes()
    }

    /// The disk's shape.
    pub fn geometry(&self) -> Geometry {
        self.pair.geometry()
    }

    /// Whether data goes past the page cache.
    pub fn is_direct(&self) -> bool {
        self.pair.is_direct()
    }

    /// Takes over blocks that were added to the end of the data file since; answers whether there
    /// were any. They have escape tags. A file that became shorter is left alone: reads past its end
    /// fail.
    pub fn grow(&self) -> Result<bool, MediaError> {
        // One that became shorter is not believed when it is longer again.
        if self.pair.require_whole().is_err() {
            return Ok(false);
        }
        let (now, then) = (self.pair.measure()?, self.geometry());
        if then.read_only || now <= then.blocks {
            return Ok(false);
        }
        let _held = self.hold_everything();
        self.require_writable()?;
        self.pair.grow(now)?;
        Ok(true)
    }

    /// Reads the blocks from `lba` on and their tuples, one for each block that `data` has room for.
    ///
    /// Data and tuples are one pair, whatever is being written at the same time. Nothing is
    /// verified. Without protection every tuple is [`Tuple::ESCAPE`].
    pub fn read(&self, lba: Lba, data: &mut [u8], tuples: &mut [Tuple]) -> Result<(), MediaError> {
        let extent = self.pair.extent_of(lba, data.len(), tuples.len())?;
        let _held = self.hold(extent.range, Mode::Shared);
        self.pair.read(&extent, data, tuples)
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
        let count = BlockCount(u64::try_from(tuples.len()).unwrap_or(u64::MAX));
        let extent = self.pair.extent(BlockRange::new(lba, count))?;
        if !self.pair.is_mapped() {
            return Ok(false);
        }
        // Tuples are prefetched while the data is copied.
        self.pair.expect_tuples(extent.range);
        let _held = self.hold(extent.range, Mode::Shared);
        self.pair.read_in_place(&extent, tuples, copy)
    }

    /// Reads blocks for a request that came by `queue`; they may still be on their way.
    pub fn start_read(
        &self,
        queue: QueueIndex,
        range: BlockRange,
    ) -> Result<Started<Blocks>, MediaError> {
        let extent = self.pair.extent(range)?;
        let mut data = Buffer::new(usize::try_from(extent.len).unwrap_or(usize::MAX));
        let held = self.hold(range, Mode::Shared);
        if let Some(engine) = self.queues.engine(queue) {
            let claim = held.keep();
            let pair = Arc::clone(&self.pair);
            let transfer = BlockTransfer { pair, extent, claim, tuples: None, intent: None };
            let id = engine.start(self.job(&extent, Direction::In, data), transfer);
            self.pair.locks.set_in_flight(claim, queue);
            return Ok(Started::Pending(id, ()));
        }
        let count = usize::try_from(range.count.0).unwrap_or(usize::MAX);
        let mut tuples = List::of(Tuple::ESCAPE, count);
        self.pair.read(&extent, &mut data, &mut tuples)?;
        Ok(Started::Done(Blocks { data, tuples }))
    }

    /// These blocks will be written soon. Nothing is changed by it, and nothing promised.
    ///
    /// Prefetches tuples. Data goes past the caches, so it needs no more than its first line: with it
    /// comes the translation of its address.
    pub fn expect_write(&self, lba: Lba, count: BlockCount) {
        let range = BlockRange::new(lba, count);
        if let Ok(extent) = self.pair.extent(range) {
            self.pair.expect_data(&extent);
            self.pair.expect_tuples(range);
        }
    }

    /// Reads tuples alone; the caller is alone with the disk.
    pub(super) fn read_tuples(&self, lba: Lba, tuples: &mut [Tuple]) -> Result<(), MediaError> {
        self.pair.read_tuples(lba, tuples)
    }

    /// Writes whole blocks and their tuples, or fails.
    ///
    /// Where it fails, blocks that were not reached keep their data and tuples; those that were have
    /// undefined data and escape tags, so that a full file system is not mistaken for corruption.
    pub fn write(&self, lba: Lba, data: &[u8], tuples: &[Tuple]) -> Result<(), MediaError> {
        let extent = self.pair.extent_of(lba, data.len(), tuples.len())?;
        let _held = self.hold(extent.range, Mode::Exclusive);
        self.require_writable()?;
        self.pair.write(&extent, data, tuples, || self.let_others_land())
    }

    /// As [`Disk::write`], for a request that came by `queue`: the blocks may still be on their way.
    pub fn start_write(
        &self,
        queue: QueueIndex,
        lba: Lba,
        data: &[u8],
        tuples: List<Tuple>,
    ) -> Result<Started<()>, MediaError> {
        let extent = self.pair.extent_of(lba, data.len(), tuples.len())?;
        let held = self.hold(extent.range, Mode::Exclusive);
        self.require_writable()?;
        if let Some(engine) = self.queues.engine(queue) {
            self.pair.require_whole()?;
            let intent = self.pair.intend(lba, &tuples, || self.let_others_land());
            let (pair, claim, tuples) = (Arc::clone(&self.pair), held.keep(), Some(tuples));
            let transfer = BlockTransfer { pair, extent, claim, tuples, intent };
            let id = engine.start(self.job(&extent, Direction::Out, Buffer::with(data)), transfer);
            self.pair.locks.set_in_flight(claim, queue);
            return Ok(Started::Pending(id, ()));
        }
        self.pair.write(&extent, data, &tuples, || self.let_others_land())?;
        Ok(Started::Done(()))
    }

    /// Lets writes come to an end that are in the way.
    fn let_others_land(&self) {
        self.queues.reap_all();
        std::thread::yield_now();
    }

    fn job(&self, extent: &Extent, direction: Direction, buffer: Buffer) -> Job {
        Job { file: self.pair.data_fd(), offset: extent.offset, direction, buffer }
    }

    /// Keeps writers, or everyone, out of a range; makes transfers land that are in the way.
    fn hold(&self, range: BlockRange, mode: Mode) -> LockedRange<'_> {
        self.pair.locks.hold(range, mode, |queue| {
            if let Some(engine) = self.queues.engine(queue) {
                engine.reap(true);
            }
        })
    }

    fn hold_everything(&self) -> LockedRange<'_> {
        self.hold(BlockRange::new(Lba(0), BlockCount(u64::MAX)), Mode::Exclusive)
    }

    /// Forgets blocks: their space is given back, they read as zeros with escape tags.
    pub fn discard(&self, lba: Lba, count: BlockCount) -> Result<(), MediaError> {
        let extent = self.pair.extent(BlockRange::new(lba, count))?;
        let _held = self.hold(extent.range, Mode::Exclusive);
        self.require_writable()?;
        self.pair.discard(&extent)
    }

    /// Writes zeros with tuples that verify; `unmap` gives the data's space back as well.
    pub fn write_zeroes(&self, lba: Lba, count: BlockCount, unmap: bool) -> Result<(), MediaError> {
        let extent = self.pair.extent(BlockRange::new(lba, count))?;
        let _held = self.hold(extent.range, Mode::Exclusive);
        self.require_writable()?;
        self.pair.write_zeroes(&extent, unmap, || self.let_others_land())
    }

    /// The run of blocks at `lba` that are alike in having space on the medium or none.
    pub fn allocation(&self, lba: Lba) -> Result<Allocation, MediaError> {
        let extent = self.pair.extent(BlockRange::new(lba, BlockCount(1)))?;
        let size = self.geometry().block_size.bytes_u64();
        let data = self.pair.next_data(extent.offset)?;
        // A block of which a part has space counts as having it.
        let (mapped, end) = match data {
            None => (false, self.geometry().blocks.0),
            Some((start, end)) if start / size <= lba.0 => (true, end.div_ceil(size)),
            Some((start, _)) => (false, start / size),
        };
        let blocks = end.min(self.geometry().blocks.0).saturating_sub(lba.0).max(1);
        Ok(Allocation { mapped, blocks: BlockCount(blocks) })
    }

    /// Waits until everything written so far is on stable storage (fdatasync of both files). Where it fails
    /// once, it fails until the disk is opened again.
    pub fn flush(&self) -> Result<(), MediaError> {
        self.pair.flush()
    }

    /// Flushes, marks the PI file as clean, and refuses every later change. Dropping does the same.
    pub fn close(&self) -> Result<(), MediaError> {
        let _held = self.hold_everything();
        if self.geometry().read_only || self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.flush()?;
        let note = self.parting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(note) = note {
            self.pair.leave_note(&note)?;
        }
        self.pair.end_intents()?;
        if self.pair.is_suspect() {
            return Ok(());
        }
        self.pair.mark(State::Clean).map_err(|e| failed("mark the PI file as clean", e))
    }

    fn require_writable(&self) -> Result<(), MediaError> {
        if self.geometry().read_only {
            return Err(MediaError::ReadOnly);
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(MediaError::Closed);
        }
        Ok(())
    }

    /// Refuses blocks that do not exist.
    pub fn require_range(&self, lba: Lba, count: BlockCount) -> Result<(), MediaError> {
        self.pair.extent(BlockRange::new(lba, count)).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::error!("the disk was not closed cleanly: {error}: {:?}", error.errno());
        }
    }
}
