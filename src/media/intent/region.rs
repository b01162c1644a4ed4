//! The log's bytes, as words of memory that outlive the process.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc::off_t;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::memory::{Owner, Watch};

/// The length of a word.
const WORD_BYTES: usize = size_of::<u64>();

const ACCESS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// A shared mapping of a part of a file, in words. Every word is stored and read as a whole.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<AtomicU64>,
    words: usize,
    watch: Watch,
}

// SAFETY: the mapping belongs to no thread, and its words are only touched as atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` of a file, which it has, from `offset` on, which is a multiple of a page.
    pub(super) fn map(file: &File, offset: u64, bytes: usize) -> io::Result<Region> {
        let (offset, len) = (signed(offset)?, not_zero(bytes)?);
        // SAFETY: a new mapping at a place of the kernel's choice, which nothing else refers to.
        let base = unsafe { mmap(None, len, ACCESS, MapFlags::MAP_SHARED, file, offset) }?;
        let watch = Watch::over(Owner::Medium, base.as_ptr().expose_provenance(), bytes);
        let Some(watch) = watch else {
            // SAFETY: made above, and nothing refers to it.
            let _ = unsafe { munmap(base, bytes) };
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        Ok(Region { base: base.cast(), words: bytes / WORD_BYTES, watch })
    }

    /// Shows another part of the file, as long as the one before, at the same addresses.
    pub(super) fn move_to(&self, file: &File, offset: u64) -> io::Result<()> {
        let (offset, len) = (signed(offset)?, not_zero(self.words * WORD_BYTES)?);
        let here = not_zero(self.base.as_ptr().expose_provenance())?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: takes the place of a mapping of ours, of the same length, which may be read and written
        // before as after; the kernel does it in one step.
        unsafe { mmap(Some(here), len, ACCESS, flags, file, offset) }?;
        Ok(())
    }

    /// Stores a word; one past the end is left out.
    ///
    /// Stores of one thread become visible in the order in which it makes them, so a killed process leaves
    /// no later one without the earlier ones.
    pub(super) fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.words().get(at) {
            word.store(value.to_le(), Ordering::Release);
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for as long as `self` lives, aligned to a page, and never touched but as
        // atomics. A page that somebody takes away is replaced by an empty one; see `Watch`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.watch.end();
        // SAFETY: a mapping of ours that nothing refers to any more.
        if let Err(errno) = unsafe { munmap(self.base.cast(), self.words * WORD_BYTES) } {
            log::warn!("an intent log's mapping cannot be taken away: {errno}");
        }
    }
}

fn signed(offset: u64) -> io::Result<off_t> {
    off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn not_zero(number: usize) -> io::Result<NonZeroUsize> {
    NonZeroUsize::new(number).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
