//! The shared file of `--watch`, made and mapped before the sandbox is entered.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::{BYTES, MAGIC, VERSION};
use super::shared::Shared;
use crate::memory::{Owner, Watch as Guard};

/// The shared file, mapped.
#[derive(Debug)]
pub struct SharedFile {
    shared: Shared,
    base: NonNull<u8>,
    guard: Guard,
}

// SAFETY: what can be reached through it is made of atomic words, and it is unmapped by its last owner.
unsafe impl Send for SharedFile {}
// SAFETY: as above.
unsafe impl Sync for SharedFile {}

impl SharedFile {
    /// Makes the file anew. It is almost all hole, and takes a few megabytes while it is used.
    pub fn create(path: &Path) -> io::Result<SharedFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        // Empty first: what an earlier daemon left is no armed page of this one's.
        file.set_len(0)?;
        file.set_len(BYTES as u64)?;
        SharedFile::of(&file)
    }

    fn of(file: &File) -> io::Result<SharedFile> {
        let len = NonZeroUsize::new(BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice, which nothing else refers to.
        let base: NonNull<u8> = unsafe { mmap(None, len, access, flags, file, 0) }?.cast();
        // Whoever makes the file shorter ends the watch, and not the daemon.
        let Some(guard) = Guard::over(Owner::Medium, base.as_ptr().expose_provenance(), BYTES)
        else {
            // SAFETY: it was mapped just now, and nothing refers to it.
            let _ = unsafe { munmap(base.cast(), BYTES) };
            return Err(io::Error::other("too much is mapped"));
        };
        // SAFETY: it stays mapped until this is dropped.
        let shared = unsafe { Shared::over(base) };
        shared.header().version.store(VERSION, Ordering::Relaxed);
        shared.header().magic.store(MAGIC, Ordering::Release);
        Ok(SharedFile { shared, base, guard })
    }

    /// Whether somebody made the file shorter: nothing that is read in it means anything any more.
    pub fn is_lost(&self) -> bool {
        self.guard.is_lost()
    }
}

impl Deref for SharedFile {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        self.guard.end();
        // SAFETY: mapped by `of`, and nothing refers to it any more.
        let _ = unsafe { munmap(self.base.cast(), BYTES) };
    }
}
