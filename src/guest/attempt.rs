//! `dixtrap-guest attempt …`: one transfer, and what it ended with.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use nix::errno::Errno;

/// What direct I/O wants its buffers aligned to: a multiple of every logical block.
const ALIGN: usize = 4096;
/// What is transferred: a multiple of every logical block.
const BYTES: usize = 4096;
/// The unit of positions.
const SECTOR: u64 = 512;

/// Whether the one transfer that is tried reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Reads with `O_DIRECT`
    Read,
    /// Writes with `O_DIRECT`
    Write,
    /// Writes through the page cache, and syncs
    Sync,
}

/// Why nothing was attempted.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The file or disk cannot be opened.
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// There is no byte there.
    #[error("sector {0} lies beyond every disk")]
    Beyond(u64),
}

/// Transfers 4096 bytes at `sector` (of 512 bytes), and tells the name of the error that this ended
/// with, or `ok`.
///
/// # Errors
/// When the transfer could not even be begun.
pub fn attempt(kind: Kind, path: &Path, sector: u64) -> Result<String, AttemptError> {
    let offset = sector.checked_mul(SECTOR).ok_or(AttemptError::Beyond(sector))?;
    let file = open(kind, path).map_err(|error| AttemptError::Open(path.to_owned(), error))?;
    Ok(word(&transfer(kind, &file, offset)))
}

fn open(kind: Kind, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(kind == Kind::Read).write(kind != Kind::Read);
    if kind != Kind::Sync {
        options.custom_flags(libc::O_DIRECT);
    }
    options.open(path)
}

fn transfer(kind: Kind, file: &File, offset: u64) -> io::Result<()> {
    let mut room = vec![0x5a; BYTES + ALIGN];
    let start = room.as_ptr().align_offset(ALIGN);
    let buffer = room.get_mut(start..).and_then(|rest| rest.get_mut(..BYTES)).unwrap_or_default();
    match kind {
        Kind::Read => file.read_exact_at(buffer, offset),
        Kind::Write => file.write_all_at(buffer, offset),
        Kind::Sync => file.write_all_at(buffer, offset).and_then(|()| file.sync_all()),
    }
}

/// `EILSEQ` and the like.
fn word(result: &io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.raw_os_error().map_or_else(
            || error.kind().to_string(),
            |code| format!("{:?}", Errno::from_raw(code)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_ends_well_or_with_the_name_of_its_error() {
        // Not in /tmp: it may be a tmpfs, which knows no O_DIRECT.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for kind in [Kind::Write, Kind::Read, Kind::Sync] {
            assert_eq!(attempt(kind, file.path(), 8).unwrap(), "ok", "{kind:?}");
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), 8192);
        assert_eq!(attempt(Kind::Read, file.path(), 800).unwrap(), "unexpected end of file");
        assert_eq!(attempt(Kind::Sync, Path::new("/dev/full"), 0).unwrap(), "ENOSPC");
        assert!(attempt(Kind::Read, Path::new("/no/such/disk"), 0).is_err());
        assert!(attempt(Kind::Read, file.path(), u64::MAX).is_err());
    }
}
