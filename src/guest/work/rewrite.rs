//! The writers that change the same blocks again and again. Contents are counted up, never derived
//! from the offset alone: a second pass would change nothing.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use super::shared::{SharedMemory, start_writeback};
use super::tally::Tally;
use super::target::{PAGE, SECTOR, Walk, as_offset, open_direct, open_filled};

/// How big and how many.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of the target; whole pages.
    pub bytes: NonZeroUsize,
    /// Threads that change it.
    pub threads: usize,
}

impl Shape {
    pub(super) fn pages(self) -> usize {
        self.bytes.get() / PAGE
    }

    /// A walk over the pages for thread `number`, each thread from its own start.
    pub(super) fn walk(self, number: usize) -> Walk {
        let share = self.pages() / self.threads.max(1);
        Walk::new(self.pages(), share.saturating_mul(number))
    }
}

/// Changes a shared mapping of the file, one word in every sector, while one thread syncs it.
pub fn mmap(path: &Path, shape: Shape, tally: &Tally) -> io::Result<()> {
    let file = open_filled(path, shape.bytes.get())?;
    let memory = SharedMemory::of_file(&file, shape.bytes)?;
    thread::scope(|scope| {
        for number in 0..shape.threads {
            let (memory, walk) = (&memory, shape.walk(number));
            scope.spawn(move || store_pages(memory, walk, tally));
        }
        while tally.go() {
            tally.synced("msync", memory.sync());
        }
    });
    Ok(())
}

/// Changes a shared mapping while one thread has its writeback begun, again and again, and only now
/// and then waits for its end: stores meet pages in every state.
pub fn ranges(path: &Path, shape: Shape, tally: &Tally) -> io::Result<()> {
    let file = open_filled(path, shape.bytes.get())?;
    let memory = SharedMemory::of_file(&file, shape.bytes)?;
    thread::scope(|scope| {
        for number in 0..shape.threads {
            let (memory, walk) = (&memory, shape.walk(number));
            scope.spawn(move || store_pages(memory, walk, tally));
        }
        for round in 1_u32.. {
            if !tally.go() {
                break;
            }
            tally.synced("sync_file_range", start_writeback(&file));
            if round.is_multiple_of(WAIT_EVERY) {
                tally.synced("fdatasync", file.sync_data());
            }
        }
    });
    Ok(())
}

/// A writeback that was begun is waited for every so many rounds.
const WAIT_EVERY: u32 = 16;

/// Overwrites pages of the file through the page cache, while one thread syncs it.
pub fn buffered(path: &Path, shape: Shape, tally: &Tally) -> io::Result<()> {
    let file = open_filled(path, shape.bytes.get())?;
    thread::scope(|scope| {
        for number in 0..shape.threads {
            let (file, walk) = (&file, shape.walk(number));
            scope.spawn(move || overwrite_pages(file, walk, as_offset(number), tally));
        }
        while tally.go() {
            tally.synced("fdatasync", file.sync_data());
        }
    });
    Ok(())
}

/// Writes pages filled with a number that grows from one write to the next.
pub(super) fn overwrite_pages(file: &File, mut walk: Walk, seed: u64, tally: &Tally) {
    // The top byte is the thread's, so that two threads never write the same page alike.
    let mut count = seed << 56;
    while tally.go() {
        count = count.wrapping_add(1);
        let page: Vec<u8> = count.to_le_bytes().repeat(PAGE / 8);
        let offset = as_offset(walk.step().saturating_mul(PAGE));
        tally.changed("pwrite", Some(offset), file.write_all_at(&page, offset));
    }
}

/// Bytes of one direct write: enough for several pages in one request.
pub(super) const DIRECT_BYTES: usize = 16 * PAGE;

/// A file for direct I/O, the one buffer that is written to it, and where the next write goes.
pub(super) struct DirectTarget {
    pub(super) file: File,
    pub(super) buffer: SharedMemory,
    walk: Walk,
}

impl DirectTarget {
    /// Opens `path`, filled first.
    pub(super) fn open(path: &Path, bytes: usize) -> io::Result<DirectTarget> {
        drop(open_filled(path, bytes)?);
        let length = NonZeroUsize::new(DIRECT_BYTES).unwrap_or(NonZeroUsize::MIN);
        Ok(DirectTarget {
            file: open_direct(path)?,
            buffer: SharedMemory::anonymous(length)?,
            walk: Walk::new(bytes / DIRECT_BYTES, 0),
        })
    }

    /// Calls `write` with one offset after the other, while other threads change the buffer.
    pub(super) fn write_while_changing(
        &mut self,
        threads: usize,
        tally: &Tally,
        mut write: impl FnMut(&File, &SharedMemory, u64),
    ) {
        let DirectTarget { file, buffer, walk } = self;
        let buffer = &*buffer;
        thread::scope(|scope| {
            // One of the threads is the one that writes.
            for _ in 1..threads.max(2) {
                scope.spawn(move || {
                    while tally.go() {
                        bump_sectors(buffer, 0, DIRECT_BYTES);
                    }
                });
            }
            while tally.go() {
                write(file, buffer, as_offset(walk.step().saturating_mul(DIRECT_BYTES)));
            }
        });
    }
}

/// Writes one buffer past the page cache, again and again, while other threads change it.
pub fn direct(path: &Path, shape: Shape, tally: &Tally) -> io::Result<()> {
    let mut target = DirectTarget::open(path, shape.bytes.get())?;
    target.write_while_changing(shape.threads, tally, |file, buffer, offset| {
        tally.changed("direct pwrite", Some(offset), buffer.write_to(file, offset));
    });
    tally.synced("fdatasync", target.file.sync_data());
    Ok(())
}

/// Changes a word in every sector of one page after the other.
pub(super) fn store_pages(memory: &SharedMemory, mut walk: Walk, tally: &Tally) {
    while tally.go() {
        bump_sectors(memory, walk.step().saturating_mul(PAGE), PAGE);
        tally.changed("store", None, Ok(()));
    }
}

/// Counts up the first word of every sector of a range.
pub(super) fn bump_sectors(memory: &SharedMemory, start: usize, bytes: usize) {
    for offset in (0..bytes).step_by(SECTOR) {
        memory.bump(start.saturating_add(offset));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;
    use crate::clock::MonotonicClock;
    use std::time::Duration;

    type Writer = fn(&Path, Shape, &Tally) -> io::Result<()>;

    #[test]
    fn every_writer_changes_every_page_and_syncs() {
        // Not in /tmp: it may be a tmpfs, which knew no O_DIRECT for long; what /var/tmp holds outlives a boot.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        for (name, writer) in [
            ("mmap", mmap as Writer),
            ("ranges", ranges),
            ("buffered", buffered),
            ("direct", direct),
        ] {
            let path = directory.path().join(name);
            let clock = MonotonicClock::new();
            // Long enough for one pass over the file on a machine that does other things too.
            let bounds = Bounds::new(&clock, Duration::from_secs(2));
            let tally = Tally::new(&bounds, false);
            let bytes = NonZeroUsize::new(32 * PAGE).unwrap();
            writer(&path, Shape { bytes, threads: 2 }, &tally).unwrap();
            let summary = tally.summary("test");
            assert_eq!(summary.errors, 0, "{name}: {:?}", summary.first_error);
            assert!(summary.ops >= 32 && summary.syncs >= 1, "{name}: {summary:?}");
            let content = std::fs::read(&path).unwrap();
            assert_eq!(content.len(), 32 * PAGE);
            assert!(content.chunks(PAGE).all(|page| page.iter().any(|b| *b != 0)), "{name}");
        }
    }
}
