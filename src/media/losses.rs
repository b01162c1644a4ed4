//! What is known to be lost of an open file. It stays lost until the file is opened again.
//!
//! After a flush that failed Linux holds the pages for clean that it could not write, and tells of it
//! once: the next fdatasync(2) succeeds, and says nothing about what was written before. And a file that
//! somebody else made shorter reads as zeros in the middle once it is made longer again.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use crate::descriptor::Description;

/// The losses of one file.
#[derive(Debug)]
pub(super) struct Losses {
    /// How long the file is at least, while nobody else makes it shorter.
    least: AtomicU64,
    short: AtomicBool,
    /// Why a flush failed. Held while one is made: the kernel tells a failure to one of two flushes at
    /// the same time, and the other one must not be believed.
    unflushed: Mutex<Option<Errno>>,
}

impl Losses {
    /// Of a file that is so long; a block device has no length that could change.
    pub(super) fn none(bytes: u64) -> Losses {
        let (short, unflushed) = (AtomicBool::new(false), Mutex::new(None));
        Losses { least: AtomicU64::new(bytes), short, unflushed }
    }

    /// The file is so long by now.
    pub(super) fn grown_to(&self, bytes: u64) {
        self.least.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The file is about to become so long, by our own doing.
    pub(super) fn cut_to(&self, bytes: u64) {
        self.least.fetch_min(bytes, Ordering::Relaxed);
    }

    /// Refuses a file that was once seen to be too short.
    pub(super) fn refuse_short(&self) -> io::Result<()> {
        if self.short.load(Ordering::Relaxed) { Err(too_short()) } else { Ok(()) }
    }

    /// Refuses a file that is too short now, or was once.
    pub(super) fn measure(&self, file: &File) -> io::Result<()> {
        self.refuse_short()?;
        let now = Description::of(file)?;
        if now.is_file() && now.bytes < self.least.load(Ordering::Relaxed) {
            return Err(self.note_short());
        }
        Ok(())
    }

    /// The file ends where it should not, or begins with what nobody here wrote.
    pub(super) fn note_short(&self) -> io::Error {
        if !self.short.swap(true, Ordering::Relaxed) {
            log::error!(
                "a file of the disk was made shorter while it was in use: it is not read or written any \
                 more, and the disk has to be checked"
            );
        }
        too_short()
    }

    /// As [`Losses::note_short`], where `error` says so.
    pub(super) fn note(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof { self.note_short() } else { error }
    }

    /// Flushes, unless that failed before.
    pub(super) fn flush(&self, file: &File) -> io::Result<()> {
        self.measure(file)?;
        let mut unflushed = self.unflushed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(errno) = *unflushed {
            return Err(errno.into());
        }
        file.sync_data().inspect_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            *unflushed = Some(errno);
            log::error!(
                "a flush failed ({errno}): writes that were answered may be lost, and every flush fails \
                 from now on, until the disk is opened again"
            );
        })
    }
}

fn too_short() -> io::Error {
    let why = "the file was made shorter while it was in use";
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}
