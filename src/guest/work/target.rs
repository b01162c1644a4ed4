//! The file or disk that a writer writes to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The unit of every write: a page, and a multiple of every logical block.
pub const PAGE: usize = 4096;
/// The distance between the words that are changed: one in every smallest logical block.
pub const SECTOR: usize = 512;

/// Opens `path`, creating a file where there is nothing, and makes sure that its first `bytes`
/// are allocated and written, so that the writers only ever overwrite.
pub fn open_filled(path: &Path, bytes: usize) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let zeroes = [0; PAGE];
    for offset in (0..bytes).step_by(PAGE) {
        file.write_all_at(&zeroes, as_offset(offset))?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The same file once more, past the page cache.
pub fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Whether `path` is a directory that things can be created in.
pub fn is_directory(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_dir() && !m.file_type().is_block_device())
}

/// A byte count as a file offset.
pub fn as_offset(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Visits the numbers below `count` over and over, each once a round, neighbours far apart.
#[derive(Debug)]
pub struct Walk {
    count: usize,
    at: usize,
}

/// A prime: any `count` that it does not divide is walked completely.
const STRIDE: usize = 61;

impl Walk {
    /// A walk over `0..count` that begins at `from`.
    pub fn new(count: usize, from: usize) -> Walk {
        let count = count.max(1);
        Walk { count, at: from % count }
    }

    /// The next number.
    pub fn step(&mut self) -> usize {
        let here = self.at;
        let stride = if self.count.is_multiple_of(STRIDE) { 1 } else { STRIDE };
        self.at = here.wrapping_add(stride) % self.count;
        here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_misses_nothing() {
        for count in [1, 2, 61, 64, 122, 1024] {
            let mut walk = Walk::new(count, 7);
            let mut seen: Vec<usize> = (0..count).map(|_| walk.step()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
