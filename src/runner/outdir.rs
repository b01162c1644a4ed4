//! The directory of `--out`: one run at a time, a directory of its own for each boot.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The file that a running run holds a lock on; it stays, empty.
const LOCK: &str = ".lock";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// Another run is at work in it.
    #[error("another run writes to {}: wait for its end, or name another --out", .0.display())]
    Busy(PathBuf),
    /// The system will not have it.
    #[error("cannot write to {}", .0.display())]
    Unusable(PathBuf, #[source] io::Error),
}

/// The right to write to a directory; it ends with this value, or with the process.
#[derive(Debug)]
pub struct OutDir {
    _lock: Flock<File>,
}

impl OutDir {
    /// Makes the directory if it is missing, and takes it. Two runs in one directory would
    /// overwrite each other's verdict.
    ///
    /// # Errors
    /// When another run has it, or it cannot be written to.
    pub fn take(path: &Path) -> Result<OutDir, OutError> {
        let unusable = |error| OutError::Unusable(path.to_owned(), error);
        fs::create_dir_all(path).map_err(unusable)?;
        let file = File::create(path.join(LOCK)).map_err(unusable)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(OutDir { _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(OutError::Busy(path.to_owned())),
            Err((_, errno)) => Err(unusable(errno.into())),
        }
    }
}

/// Makes the first of `boot-1`, `boot-2`, … that is not there yet.
///
/// # Errors
/// The system's.
pub fn make_boot_directory(out: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(out)?;
    // The guest and QEMU work there; they need a path that holds wherever they stand.
    let out = out.canonicalize()?;
    let mut number = 1_u32;
    loop {
        let directory = out.join(format!("boot-{number}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_do_not_meet() {
        let out = tempfile::tempdir().unwrap();
        let first = make_boot_directory(out.path()).unwrap();
        let second = make_boot_directory(out.path()).unwrap();
        assert!(first.ends_with("boot-1") && second.ends_with("boot-2"));
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make_boot_directory(&file).is_err());
    }

    #[test]
    fn the_second_run_is_sent_away_until_the_first_ends() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("new/folder");
        let first = OutDir::take(&path).unwrap();
        assert!(matches!(OutDir::take(&path), Err(OutError::Busy(_))));
        drop(first);
        OutDir::take(&path).unwrap();
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(OutDir::take(&file), Err(OutError::Unusable(..))));
    }
}
