//! A data file and its PI file, as one consistent pair.
//!
//! A write notes its tuples in the intent log, puts the data down second and the tuples third, all under
//! the range's lock. A process killed in between (kill -9) leaves new data under old tuples, and the record
//! by which whoever opens the image next gives it the new ones (see [`super::intent`]). No kill can lose
//! an acknowledged write, because the page cache outlives the process (as the device does, on a direct
//! disk: there the data is written before it counts as such, and a transfer that the kernel still has when
//! the process dies was not acknowledged). After a power failure, what was not flushed may be new in
//! either file.
//! A discard escapes the tuples first: killed in between it leaves old data that nothing checks.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::backing::{Backing, Stopped};
use super::error::MediaError;
use super::geometry::Geometry;
use super::header::State;
use super::intent::{Intent, IntentLog, Left};
use super::locks::RangeLocks;
use super::open::Parts;
use super::pi_file::PiFile;
use crate::pi::{GuardTag, Tuple, generate_over, guard};
use crate::units::{BlockCount, BlockRange, Lba};

/// The most that is noted as one run of zeros.
const ZEROED_AT_ONCE: u64 = 64 << 20;

/// The two files and the locks on their blocks. Who calls holds the range.
#[derive(Debug)]
pub(super) struct Pair {
    /// The shape when it was opened; see [`Pair::grow`] for the number of blocks.
    opened: Geometry,
    blocks: AtomicU64,
    data: Backing,
    pi: Option<PiFile>,
    pub(super) locks: RangeLocks,
    /// Data and tuples may disagree somewhere: the PI file stays marked as in use.
    suspect: AtomicBool,
    /// It was said that tuples are out of date: a guest may go on writing for as long as it likes.
    told: AtomicBool,
}

/// Blocks that exist, and where they are in the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) range: BlockRange,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Pair {
    pub(super) fn new(parts: Parts) -> Pair {
        let left_open = |pi: &PiFile| pi.header().state == State::InUse;
        Pair {
            opened: parts.geometry,
            blocks: AtomicU64::new(parts.geometry.blocks.0),
            suspect: AtomicBool::new(parts.pi.as_ref().is_some_and(left_open)),
            told: AtomicBool::new(false),
            data: parts.data,
            pi: parts.pi,
            locks: RangeLocks::new(parts.geometry.block_size),
        }
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry { blocks: BlockCount(self.blocks.load(Ordering::Acquire)), ..self.opened }
    }

    /// Whether data goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.data.is_direct()
    }

    /// Whether data lies in memory.
    pub(super) fn is_mapped(&self) -> bool {
        self.data.is_mapped()
    }

    /// The data file, for transfers that the kernel makes.
    pub(super) fn data_fd(&self) -> RawFd {
        self.data.as_raw_fd()
    }

    /// How many whole blocks the data file has by now.
    pub(super) fn measure(&self) -> Result<BlockCount, MediaError> {
        let bytes = self.data.measure().map_err(|e| failed("measure the data", e))?;
        Ok(BlockCount(bytes / self.opened.block_size.bytes_u64()))
    }

    /// Refuses a data file that somebody else made shorter, before the kernel writes to it.
    pub(super) fn require_whole(&self) -> Result<(), MediaError> {
        self.data.require_whole().map_err(|e| failed("write data", e))
    }

    /// Covers blocks that were added to the end of the data file; they have escape tags.
    pub(super) fn grow(&self, blocks: BlockCount) -> Result<(), MediaError> {
        if let Some(pi) = &self.pi {
            pi.grow(blocks).map_err(|e| failed("extend the PI file", e))?;
        }
        // No overflow: the file has that length.
        self.data.grown_to(blocks.0.saturating_mul(self.opened.block_size.bytes_u64()));
        self.blocks.store(blocks.0, Ordering::Release);
        Ok(())
    }

    /// Where blocks that exist are.
    pub(super) fn extent(&self, range: BlockRange) -> Result<Extent, MediaError> {
        let Geometry { blocks, block_size, .. } = self.geometry();
        let BlockRange { first: lba, count } = range;
        if lba.checked_add(count).is_none_or(|end| end.0 > blocks.0) {
            return Err(MediaError::OutOfRange { lba, count, blocks });
        }
        // No overflow: the disk's length in bytes fits 63 bits.
        let bytes = |number: u64| number.saturating_mul(block_size.bytes_u64());
        Ok(Extent { range, offset: bytes(lba.0), len: bytes(count.0) })
    }

    /// Where the blocks of a buffer of so many bytes, with so many tuples, are.
    pub(super) fn extent_of(
        &self,
        first: Lba,
        bytes: usize,
        tuples: usize,
    ) -> Result<Extent, MediaError> {
        let block_size = self.opened.block_size;
        if tuples.checked_mul(block_size.bytes()) != Some(bytes) {
            return Err(MediaError::Lengths { bytes, tuples, block_size });
        }
        let count = BlockCount(u64::try_from(tuples).unwrap_or(u64::MAX));
        self.extent(BlockRange::new(first, count))
    }

    /// Reads data and tuples.
    pub(super) fn read(
        &self,
        extent: &Extent,
        data: &mut [u8],
        tuples: &mut [Tuple],
    ) -> Result<(), MediaError> {
        self.read_data(extent.offset, data)?;
        self.read_tuples(extent.range.first, tuples)
    }

    pub(super) fn read_data(&self, offset: u64, data: &mut [u8]) -> Result<(), MediaError> {
        self.data.read(offset, data).map_err(|e| failed("read data", e))
    }

    /// As [`Pair::read`], where the data lies in memory: `copy` gets its place. `false` where nothing
    /// that it copied has any meaning.
    pub(super) fn read_in_place(
        &self,
        extent: &Extent,
        tuples: &mut [Tuple],
        copy: impl FnOnce(*const u8),
    ) -> Result<bool, MediaError> {
        let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
        let copied = self.data.in_place(extent.offset, len, copy);
        self.read_tuples(extent.range.first, tuples)?;
        Ok(copied)
    }

    /// Reads tuples alone; without protection all of them are [`Tuple::ESCAPE`].
    pub(super) fn read_tuples(&self, lba: Lba, tuples: &mut [Tuple]) -> Result<(), MediaError> {
        match &self.pi {
            Some(pi) => pi.read(lba, tuples).map_err(|e| failed("read protection information", e)),
            None => {
                tuples.fill(Tuple::ESCAPE);
                Ok(())
            }
        }
    }

    /// The first line of these blocks' data will be touched soon.
    pub(super) fn expect_data(&self, extent: &Extent) {
        self.data.expect(extent.offset, 1);
    }

    /// These blocks' tuples will be touched soon.
    pub(super) fn expect_tuples(&self, range: BlockRange) {
        if let Some(pi) = &self.pi {
            pi.expect(range.first, range.count);
        }
    }

    /// Writes data and then its tuples. Where there is no room to note more intents, `wait` lets other
    /// writes come to an end.
    pub(super) fn write(
        &self,
        extent: &Extent,
        data: &[u8],
        tuples: &[Tuple],
        wait: impl Fn(),
    ) -> Result<(), MediaError> {
        let intent = self.intend(extent.range.first, tuples, wait);
        let written = self.write_data(extent.offset, data);
        self.finish_write(extent.range, written, tuples, intent)
    }

    /// Notes that data with these tuples is about to be written.
    pub(super) fn intend(&self, first: Lba, tuples: &[Tuple], wait: impl Fn()) -> Option<Intent> {
        self.intents()?.note(first, tuples, wait)
    }

    pub(super) fn intents(&self) -> Option<&IntentLog> {
        self.pi.as_ref()?.intents()
    }

    fn clear(&self, intent: Option<Intent>) {
        if let (Some(log), Some(intent)) = (self.intents(), intent) {
            log.clear(intent);
        }
    }

    pub(super) fn write_data(&self, offset: u64, data: &[u8]) -> Result<(), Stopped> {
        self.data.write(offset, data)
    }

    /// Writes the tuples of data that is written, or sees to what a failed write left; either way nothing
    /// is under way any more.
    pub(super) fn finish_write(
        &self,
        range: BlockRange,
        written: Result<(), Stopped>,
        tuples: &[Tuple],
        intent: Option<Intent>,
    ) -> Result<(), MediaError> {
        let finished = self.put_tuples(range, written, tuples);
        self.clear(intent);
        finished
    }

    fn put_tuples(
        &self,
        range: BlockRange,
        written: Result<(), Stopped>,
        tuples: &[Tuple],
    ) -> Result<(), MediaError> {
        written.map_err(|Stopped { written, source }| {
            let reached = BlockCount(written.div_ceil(self.opened.block_size.bytes_u64()));
            // A device that fails does not say in which order it stored what it did.
            let count = if self.is_direct() { range.count } else { reached };
            self.distrust(BlockRange { count, ..range });
            failed("write data", source)
        })?;
        self.write_tuples(range.first, tuples).inspect_err(|_| self.distrust(range))
    }

    /// Writes tuples alone.
    pub(super) fn write_tuples(&self, first: Lba, tuples: &[Tuple]) -> Result<(), MediaError> {
        let Some(pi) = &self.pi else { return Ok(()) };
        pi.write(first, tuples).map_err(|e| failed("write protection information", e))
    }

    /// Gives blocks' space back: they read as zeros with escape tags.
    pub(super) fn discard(&self, extent: &Extent) -> Result<(), MediaError> {
        let BlockRange { first, count } = extent.range;
        if let Some(pi) = &self.pi {
            pi.escape(first, count).map_err(|e| failed("discard protection information", e))?;
        }
        self.data.punch(extent.offset, extent.len).map_err(|e| failed("discard data", e))
    }

    /// Writes zeros with tuples that verify; `unmap` gives the data's space back as well.
    pub(super) fn write_zeroes(
        &self,
        extent: &Extent,
        unmap: bool,
        wait: impl Fn(),
    ) -> Result<(), MediaError> {
        let most = ZEROED_AT_ONCE / self.opened.block_size.bytes_u64();
        let mut done = 0;
        while done < extent.range.count.0 {
            let count = BlockCount((extent.range.count.0 - done).min(most));
            let part = self.extent(BlockRange::new(extent.range.first.offset(done), count))?;
            let intent = self.intents().map(|log| log.note_zeros(part.range, &wait));
            let zeroed = self.zero(&part, unmap).inspect_err(|_| self.distrust(part.range));
            self.clear(intent);
            zeroed?;
            done = done.saturating_add(count.0);
        }
        Ok(())
    }

    fn zero(&self, extent: &Extent, unmap: bool) -> Result<(), MediaError> {
        let Extent { range, offset, len } = *extent;
        let cleared =
            if unmap { self.data.punch(offset, len) } else { self.data.zero(offset, len) };
        cleared.map_err(|e| failed("write zeros", e))?;
        let Some(pi) = &self.pi else { return Ok(()) };
        let tuples = zero_tuples(self.opened, range);
        pi.write_each(range.first, tuples).map_err(|e| failed("write protection information", e))
    }

    /// The next run of data at or after byte `offset` that has space on the medium.
    pub(super) fn next_data(&self, offset: u64) -> Result<Option<(u64, u64)>, MediaError> {
        self.data.next_data(offset).map_err(|e| failed("read the map of", e))
    }

    /// Waits until everything written so far is on stable storage (fdatasync of both files). Where it fails
    /// once, it fails until the disk is opened again.
    pub(super) fn flush(&self) -> Result<(), MediaError> {
        self.sync().map_err(|e| failed("flush", e)).inspect_err(|_| self.suspect())
    }

    fn sync(&self) -> io::Result<()> {
        self.data.sync()?;
        self.pi.as_ref().map_or(Ok(()), PiFile::sync)
    }

    /// Says in the PI file's header whether data and tuples are known to belong together.
    pub(super) fn mark(&self, state: State) -> io::Result<()> {
        self.pi.as_ref().map_or(Ok(()), |pi| pi.mark(state))
    }

    /// The note in the PI file, which is erased with this.
    pub(super) fn take_note(&self) -> io::Result<Option<Vec<u8>>> {
        self.pi.as_ref().map_or(Ok(None), PiFile::take_note)
    }

    /// The state in the PI file's header when it was opened.
    pub(super) fn opened_state(&self) -> Option<State> {
        self.pi.as_ref().map(|pi| pi.header().state)
    }

    /// What a killed process left under way.
    pub(super) fn left_intents(&self) -> io::Result<Option<Left>> {
        self.pi.as_ref().map_or(Ok(None), PiFile::left_intents)
    }

    /// Begins to note what is under way. An old log is given up.
    pub(super) fn begin_intents(&self) -> io::Result<()> {
        let Some(pi) = &self.pi else { return Ok(()) };
        pi.cut_intents()?;
        pi.begin_intents(self.is_suspect())
    }

    /// Ends that: nothing is under way.
    pub(super) fn end_intents(&self) -> Result<(), MediaError> {
        let ended = self.pi.as_ref().map_or(Ok(None), PiFile::cut_intents);
        ended.map(drop).map_err(|e| failed("cut the intent log off", e))
    }

    /// What is known of the image that was left in use.
    pub(super) fn trust(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    /// Leaves a note in the PI file, where there is one.
    pub(super) fn leave_note(&self, note: &[u8]) -> Result<(), MediaError> {
        let left = self.pi.as_ref().map_or(Ok(()), |pi| pi.leave_note(note));
        left.map_err(|e| failed("leave a note in the PI file", e))
    }

    /// Escapes the tuples of blocks that a failed request reached. Needs no space: where the PI file
    /// has none, the tuples are escaped already.
    fn distrust(&self, range: BlockRange) {
        let BlockRange { first, count } = range;
        let escaped = self.pi.as_ref().map_or(Ok(()), |pi| pi.escape(first, count));
        if let Err(error) = escaped {
            self.suspect();
            let told = self.told.swap(true, Ordering::Relaxed);
            let level = if told { log::Level::Debug } else { log::Level::Error };
            log::log!(
                level,
                "protection information of {count} blocks at LBA {first} is out of date: {error}; \
                 'dixtrap image check' will name them"
            );
        }
    }

    fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
        if let Some(log) = self.intents() {
            log.suspect();
        }
    }

    /// Whether data and tuples may disagree somewhere.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }
}

/// The tuples of blocks that are all zeros.
pub(super) fn zero_tuples(geometry: Geometry, range: BlockRange) -> impl Iterator<Item = Tuple> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let guard: GuardTag = guard(ZEROS.get(..geometry.block_size.bytes()).unwrap_or_default());
    (0..range.count.0)
        .map(move |index| generate_over(geometry.pi_type, guard, range.first.offset(index)))
}

/// A system call that failed.
pub(super) fn failed(what: &'static str, source: io::Error) -> MediaError {
    MediaError::Io { what, source }
}
