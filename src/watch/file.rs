//! The shared file of `--watch`, made and mapped before the sandbox is entered.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::{BYTES, MAGIC, VERSION};
use super::shared::Shared;
use crate::made::MadeFile;
use crate::memory::{Owner, Watch as Guard};

/// The shared file, mapped.
#[derive(Debug)]
pub struct SharedFile {
    shared: Shared,
    base: NonNull<u8>,
    guard: Guard,
    /// Its lock, which ends with it.
    _lock: File,
}

/// Refuses a file that is not empty and does not begin as those of a watch do.
fn require_ours(file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut magic = [0; 8];
    let read = file.read_exact_at(&mut magic, 0);
    if read.is_err() || u64::from_ne_bytes(magic) != MAGIC {
        return Err(io::Error::other("it holds something else, which is not overwritten"));
    }
    Ok(())
}

// SAFETY: what can be reached through it is made of atomic words, and it is unmapped by its last owner.
unsafe impl Send for SharedFile {}
// SAFETY: as above.
unsafe impl Sync for SharedFile {}

impl SharedFile {
    /// Makes the file anew, and tells where nothing was there before. It is almost all hole, and takes a few
    /// megabytes while it is used.
    ///
    /// # Errors
    /// Where it cannot be made, where another daemon uses it, and where something lies there that no daemon
    /// has left: it would be overwritten.
    pub fn create(path: &Path) -> io::Result<(SharedFile, Option<MadeFile>)> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let (file, is_new) = match how.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (how.open(path)?, false),
            made => (made?, true),
        };
        let made = is_new.then(|| MadeFile::of(path, &file)).transpose()?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        file.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
        require_ours(&file)?;
        // Empty first: what an earlier daemon left is no armed page of this one's.
        file.set_len(0)?;
        file.set_len(BYTES as u64)?;
        Ok((SharedFile::of(file)?, made))
    }

    fn of(file: File) -> io::Result<SharedFile> {
        let len = NonZeroUsize::new(BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at a place of the kernel's choice, which nothing else refers to.
        let base: NonNull<u8> = unsafe { mmap(None, len, access, flags, &file, 0) }?.cast();
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
        Ok(SharedFile { shared, base, guard, _lock: file })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_daemon_left_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watch");
        let (used, made) = SharedFile::create(&path).unwrap();
        assert!(made.is_some());
        let busy = SharedFile::create(&path).unwrap_err().to_string();
        assert!(busy.contains("another process"), "{busy}");
        drop((used, made));
        assert!(SharedFile::create(&path).unwrap().1.is_none());
        for precious in ["precious", "a longer text that somebody wants to keep"] {
            std::fs::write(&path, precious).unwrap();
            let refused = SharedFile::create(&path).unwrap_err().to_string();
            assert!(refused.contains("not overwritten"), "{refused}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), precious);
        }
    }
}
