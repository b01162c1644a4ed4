//! What can be asked of an open descriptor without a path.
//!
//! The C library and the standard one ask with calls that could also be given a path (newfstatat,
//! statx); the sandbox refuses those.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// What a descriptor is open on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The kind of file, as in `S_IFMT`; an eventfd and its like have none.
    pub kind: u32,
    /// The size in bytes of what has one.
    pub bytes: u64,
    /// The file system that it is on, and its number there: one file's alone while it is open.
    pub identity: (u64, u64),
}

impl Description {
    /// Asks (fstat(2)).
    pub fn of(fd: impl AsFd) -> io::Result<Description> {
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the descriptor is open for the call, and the kernel fills a `stat` of this machine.
        let asked =
            unsafe { libc::syscall(libc::SYS_fstat, fd.as_fd().as_raw_fd(), stat.as_mut_ptr()) };
        Errno::result(asked)?;
        // SAFETY: the kernel has filled it.
        let stat = unsafe { stat.assume_init() };
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Description { kind: stat.st_mode & libc::S_IFMT, bytes, identity })
    }

    /// Whether it is an ordinary file.
    pub fn is_file(&self) -> bool {
        self.kind == libc::S_IFREG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_description_is_what_the_standard_library_says() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(12_345).unwrap();
        let told = Description::of(&file).unwrap();
        assert_eq!((told.is_file(), told.bytes), (true, 12_345));
        let known = file.metadata().unwrap();
        assert_eq!(told.identity, (known.dev(), known.ino()));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Description::of(&null).unwrap().kind, libc::S_IFCHR);
        let event = nix::sys::eventfd::EventFd::new().unwrap();
        assert_eq!(Description::of(&event).unwrap().kind, 0);
    }
}
