//! The writer that truncates a file and punches holes into it while its pages are changed and written
//! back: what the file system zeroes in a page that is on its way to the disk.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use nix::fcntl::{FallocateFlags, fallocate};

use super::rewrite::{Shape, overwrite_pages, store_pages};
use super::shared::SharedMemory;
use super::tally::Tally;
use super::target::{PAGE, Walk, as_offset, open_filled};

/// Holes begin and end at multiples of this, inside a page: the rest of the page is zeroed in memory.
const EDGE: usize = 1_000;
/// How far a hole reaches: over a few pages, both ends inside one.
const HOLE: usize = 3 * PAGE;

/// Changes the lower half of the file through a mapping and all of it through `pwrite`, while one
/// thread punches holes and cuts the upper half short, and one has it written back.
pub fn holes(path: &Path, shape: Shape, tally: &Tally) -> io::Result<()> {
    let file = open_filled(path, shape.bytes.get())?;
    // A store behind the end of the file would be a SIGBUS: the mapping ends where no cut reaches.
    let half = NonZeroUsize::new(shape.bytes.get() / 2).ok_or(io::ErrorKind::InvalidInput)?;
    let memory = SharedMemory::of_file(&file, half)?;
    let pages = shape.pages();
    thread::scope(|scope| {
        let (file, memory) = (&file, &memory);
        scope.spawn(move || store_pages(memory, Walk::new(pages / 2, 0), tally));
        for number in 1..shape.threads.max(2) {
            let walk = shape.walk(number);
            scope.spawn(move || overwrite_pages(file, walk, as_offset(number), tally));
        }
        scope.spawn(move || {
            let mut walk = Walk::new(shape.bytes.get() / EDGE, 0);
            while tally.go() {
                let at = walk.step().saturating_mul(EDGE);
                tally.changed("punch", Some(as_offset(at)), punch(file, at));
                if at >= half.get() {
                    tally.changed("truncate", Some(as_offset(at)), file.set_len(as_offset(at)));
                    let whole = as_offset(shape.bytes.get());
                    tally.changed("extend", Some(whole), file.set_len(whole));
                }
            }
        });
        while tally.go() {
            tally.synced("fdatasync", file.sync_data());
        }
    });
    Ok(())
}

fn punch(file: &File, at: usize) -> io::Result<()> {
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let offset = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = libc::off_t::try_from(HOLE).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(fallocate(file, mode, offset, length)?)
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;
    use crate::clock::MonotonicClock;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    #[test]
    fn a_hole_is_zeroes_between_its_edges() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all_at(&vec![7; 6 * PAGE], 0).unwrap();
        punch(&file, EDGE).unwrap();
        let mut bytes = vec![0; 6 * PAGE];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let zeroes: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 0).collect();
        assert_eq!((zeroes[0], zeroes.len()), (EDGE, HOLE));
    }

    #[test]
    fn the_file_keeps_its_size_and_nothing_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        let clock = MonotonicClock::new();
        let bounds = Bounds::new(&clock, Duration::from_millis(300));
        let tally = Tally::new(&bounds, false);
        let bytes = NonZeroUsize::new(64 * PAGE).unwrap();
        holes(&path, Shape { bytes, threads: 2 }, &tally).unwrap();
        let summary = tally.summary("holes");
        assert_eq!(summary.errors, 0, "{:?}", summary.first_error);
        assert!(summary.ops > 10 && summary.syncs > 0, "{summary:?}");
        assert_eq!(path.metadata().unwrap().len(), 64 * 4096);
    }
}
