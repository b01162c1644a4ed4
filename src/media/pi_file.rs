//! A PI file: one header page, then eight bytes a block.
//!
//! A tuple is stored XOR FFh, so that a hole of a sparse file reads as escape tags, and giving
//! tuples' space back is the same as escaping them.
//!
//! While the image is in use an intent log follows, from the next page on (see [`super::intent`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backing::{Access, Backing, Stopped, io_error};
use super::error::{HeaderError, OpenError};
use super::header::{HEADER_BYTES, Header, MAGIC, State};
use super::intent::{IntentLog, LOG_BYTES, Left};
use super::note::{self, NOTE_AT};
use crate::memory::Buffer;
use crate::pi::{TUPLE_BYTES, Tuple};
use crate::units::{BlockCount, Lba};

/// Tuples that are read or written with one call: a page of them.
const BATCH: usize = 512;

/// One tuple's bytes as a 64-bit number, for offsets.
const TUPLE_BYTES_U64: u64 = 8;

/// The header's length as a 64-bit number, for offsets.
const HEADER_BYTES_U64: u64 = 4096;

/// The intent log's length as a 64-bit number, and what it begins at a multiple of.
const LOG_BYTES_U64: u64 = LOG_BYTES as u64;
const PAGE: u64 = 4096;

/// Where a note begins, as an offset.
const NOTE_OFFSET: u64 = 512;

/// An open PI file.
#[derive(Debug)]
pub(super) struct PiFile {
    backing: Backing,
    /// As it was when the file was opened.
    header: Header,
    /// How many blocks the file covers now.
    blocks: AtomicU64,
    intents: OnceLock<IntentLog>,
}

impl PiFile {
    /// How long the PI file of a disk of `blocks` blocks is.
    pub(super) fn bytes_for(blocks: BlockCount) -> u64 {
        blocks.0.saturating_mul(TUPLE_BYTES_U64).saturating_add(HEADER_BYTES_U64)
    }

    /// Writes `header` into a new, sparse file: every block has escape tags.
    pub(super) fn format(backing: Backing, header: Header) -> io::Result<PiFile> {
        let file = PiFile::over(backing, header);
        file.write_header(header.state)?;
        Ok(file)
    }

    fn over(backing: Backing, header: Header) -> PiFile {
        let blocks = AtomicU64::new(header.blocks.0);
        PiFile { backing, header, blocks, intents: OnceLock::new() }
    }

    /// Covers more blocks; those that are added have escape tags.
    pub(super) fn grow(&self, blocks: BlockCount) -> io::Result<()> {
        let suspect = self.cut_intents()?.is_some_and(|left| left.suspect);
        self.backing.extend(Self::bytes_for(blocks))?;
        self.blocks.store(blocks.0, Ordering::Relaxed);
        self.mark(State::InUse)?;
        match self.intents.get() {
            Some(log) => self
                .make_room_for_intents()
                .and_then(|at| log.move_to(self.backing.file(), at, suspect)),
            None => Ok(()),
        }
    }

    /// The intent log, while there is one.
    pub(super) fn intents(&self) -> Option<&IntentLog> {
        self.intents.get()
    }

    /// What a killed process left in the intent log.
    pub(super) fn left_intents(&self) -> io::Result<Option<Left>> {
        let at = self.intents_at();
        if self.backing.measure()? < at.saturating_add(LOG_BYTES_U64) {
            return Ok(None);
        }
        let mut bytes = vec![0; LOG_BYTES];
        self.backing.read(at, &mut bytes)?;
        Ok(Left::parse(&bytes))
    }

    /// Begins an intent log; the file is marked as in use.
    pub(super) fn begin_intents(&self, suspect: bool) -> io::Result<()> {
        let at = self.make_room_for_intents()?;
        let log = IntentLog::begin(self.backing.file(), at, suspect)?;
        // There is one opening of a file, and it comes here once.
        let _ = self.intents.set(log);
        Ok(())
    }

    /// Cuts the intent log off. Nothing is noted in it any more.
    pub(super) fn cut_intents(&self) -> io::Result<Option<Left>> {
        let left = self.left_intents()?;
        self.backing.cut(Self::bytes_for(BlockCount(self.blocks.load(Ordering::Relaxed))))?;
        Ok(left)
    }

    /// Makes zeros where the intent log goes, with the space that they need: a page of a mapping that finds
    /// none is a SIGBUS.
    fn make_room_for_intents(&self) -> io::Result<u64> {
        let at = self.intents_at();
        let room = self.backing.append_zeros(at, LOG_BYTES);
        room.inspect_err(|_| drop(self.cut_intents())).map(|()| at)
    }

    fn intents_at(&self) -> u64 {
        let blocks = BlockCount(self.blocks.load(Ordering::Relaxed));
        Self::bytes_for(blocks).next_multiple_of(PAGE)
    }

    /// Opens a PI file and believes its header if it fits its length.
    pub(super) fn open(path: &Path, access: Access) -> Result<PiFile, OpenError> {
        let backing = Backing::open(path, access)?;
        let not_ours = |why| OpenError::NotAPiFile { pi: path.to_owned(), why };
        // Read beyond its end, it would be taken for one that somebody cuts meanwhile.
        if backing.bytes() < HEADER_BYTES_U64 {
            return Err(not_ours(HeaderError::Foreign));
        }
        let mut page = [0; HEADER_BYTES];
        backing.read(0, &mut page).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => not_ours(HeaderError::Foreign),
            _ => io_error("read", path, source),
        })?;
        let header = Header::parse(&page).map_err(not_ours)?;
        let expected = Self::bytes_for(header.blocks);
        // The intent log of a process that was killed follows; of one that closed the file, nothing.
        let may_be_longer = header.state == State::InUse && backing.bytes() > expected;
        if backing.bytes() != expected && !may_be_longer {
            let pi = PathBuf::from(path);
            return Err(OpenError::PiLength { pi, bytes: backing.bytes(), expected });
        }
        Ok(PiFile::over(backing, header))
    }

    /// The header as it was when the file was opened.
    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// Writes the state and waits for it to be on stable storage.
    pub(super) fn mark(&self, state: State) -> io::Result<()> {
        self.write_header(state)?;
        self.backing.sync()
    }

    fn write_header(&self, state: State) -> io::Result<()> {
        let blocks = BlockCount(self.blocks.load(Ordering::Relaxed));
        let bytes = Header { state, blocks, ..self.header }.to_bytes();
        self.backing.write(0, &bytes).map_err(|stopped| stopped.source)
    }

    /// The note of the process that closed the file last. It is erased with this, and that is on stable
    /// storage with the next [`PiFile::mark`].
    pub(super) fn take_note(&self) -> io::Result<Option<Vec<u8>>> {
        let mut sectors = [0; HEADER_BYTES - NOTE_AT];
        self.backing.read(NOTE_OFFSET, &mut sectors)?;
        if sectors.iter().any(|byte| *byte != 0) {
            let erased = self.backing.write(NOTE_OFFSET, &[0; HEADER_BYTES - NOTE_AT]);
            erased.map_err(|stopped| stopped.source)?;
        }
        Ok(note::parse(&sectors))
    }

    /// Leaves a note for the process that opens the file next; on stable storage as above. Without one
    /// that process knows less, and does less.
    pub(super) fn leave_note(&self, note: &[u8]) -> io::Result<()> {
        let bytes = note::to_bytes(note).ok_or(io::ErrorKind::InvalidInput)?;
        self.backing.write(NOTE_OFFSET, &bytes).map_err(|stopped| stopped.source)
    }

    /// Reads the tuples of the blocks from `lba` on.
    pub(super) fn read(&self, lba: Lba, tuples: &mut [Tuple]) -> io::Result<()> {
        let mut bytes = Buffer::new(tuples.len().min(BATCH) * TUPLE_BYTES);
        let mut at = lba;
        for batch in tuples.chunks_mut(BATCH) {
            let count = batch.len();
            let bytes = bytes.get_mut(..count * TUPLE_BYTES).unwrap_or_default();
            self.backing.read(offset_of(at), bytes)?;
            for (tuple, stored) in batch.iter_mut().zip(bytes.as_chunks::<TUPLE_BYTES>().0) {
                *tuple = Tuple::from_bytes(stored.map(|byte| !byte));
            }
            at = at.offset(u64::try_from(count).unwrap_or(u64::MAX));
        }
        // Blocks that were never written look like those whose tuples somebody cut off.
        if tuples.contains(&Tuple::ESCAPE) { self.confirm() } else { Ok(()) }
    }

    /// Tuples from `lba` on will be touched soon.
    pub(super) fn expect(&self, lba: Lba, count: BlockCount) {
        let few = usize::try_from(count.0).unwrap_or(BATCH).min(BATCH);
        self.backing.expect(offset_of(lba), few * TUPLE_BYTES);
    }

    /// Writes the tuples of the blocks from `lba` on.
    pub(super) fn write(&self, lba: Lba, tuples: &[Tuple]) -> io::Result<()> {
        self.write_each(lba, tuples.iter().copied())
    }

    /// Writes tuples as they come.
    pub(super) fn write_each(
        &self,
        lba: Lba,
        mut tuples: impl Iterator<Item = Tuple>,
    ) -> io::Result<()> {
        let mut bytes = Buffer::new(BATCH * TUPLE_BYTES);
        let mut at = lba;
        loop {
            let mut count = 0;
            for (stored, tuple) in
                bytes.as_chunks_mut::<TUPLE_BYTES>().0.iter_mut().zip(&mut tuples)
            {
                *stored = tuple.to_bytes().map(|byte| !byte);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let bytes = bytes.get(..count * TUPLE_BYTES).unwrap_or_default();
            self.backing.write(offset_of(at), bytes).map_err(|Stopped { source, .. }| source)?;
            at = at.offset(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// Gives `count` blocks from `lba` on escape tags.
    pub(super) fn escape(&self, lba: Lba, count: BlockCount) -> io::Result<()> {
        self.backing.punch(offset_of(lba), count.0.saturating_mul(TUPLE_BYTES_U64))
    }

    /// Waits until every tuple written so far is on stable storage.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.confirm()?;
        self.backing.sync()
    }

    /// Refuses a file that somebody else cut. One that was cut to nothing, and is as long as before by now,
    /// has lost its header: then nothing of it is believed.
    fn confirm(&self) -> io::Result<()> {
        // Only what never changes: the rest may be being written.
        let mut magic = MAGIC.map(|_| 0);
        self.backing.read(0, &mut magic)?;
        if magic != MAGIC {
            return Err(self.backing.disown());
        }
        self.backing.require_whole()
    }
}

/// Where a block's tuple stands.
fn offset_of(lba: Lba) -> u64 {
    lba.0.saturating_mul(TUPLE_BYTES_U64).saturating_add(HEADER_BYTES_U64)
}
