//! The writer whose threads all write to the same few files and have them synced after every write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use super::tally::Tally;
use super::target::{PAGE, Walk, as_offset, open_filled};

/// Files that all threads share.
const FILES: usize = 4;
/// Pages of each file; few, so that threads meet on the same page.
const PAGES: usize = 8;

/// Every thread overwrites the pages of a shared file and has the file synced, while the others may
/// be about to sync the same pages; now and then it grows the file and cuts it again, so that the
/// inode changes as well.
pub fn storm(directory: &Path, threads: usize, tally: &Tally) -> io::Result<()> {
    let open = |number: usize| {
        open_filled(&directory.join(format!("shared-{number}")), PAGES.saturating_mul(PAGE))
    };
    let files: Vec<File> = (0..FILES).map(open).collect::<io::Result<_>>()?;
    thread::scope(|scope| {
        for number in 0..threads.max(2) {
            let files = &files;
            scope.spawn(move || one_thread(files, number, tally));
        }
    });
    Ok(())
}

fn one_thread(files: &[File], number: usize, tally: &Tally) {
    let mut walk = Walk::new(PAGES, number);
    // The top byte is the thread's, so that two threads never write the same page alike.
    let mut count = as_offset(number) << 56;
    let mut rounds = 0_u32;
    for file in files.iter().cycle() {
        if !tally.go() {
            return;
        }
        for _ in 0..PAGES {
            count = count.wrapping_add(1);
            let page = count.to_le_bytes().repeat(PAGE / 8);
            let offset = as_offset(walk.step().saturating_mul(PAGE));
            tally.changed("pwrite", Some(offset), file.write_all_at(&page, offset));
        }
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(8) {
            let whole = as_offset(PAGES.saturating_mul(PAGE));
            let more = [u8::MAX; PAGE];
            tally.changed("grow", Some(whole), file.write_all_at(&more, whole));
            tally.changed("truncate", Some(whole), file.set_len(whole));
        }
        tally.synced("fsync", file.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;
    use crate::clock::MonotonicClock;
    use std::time::Duration;

    #[test]
    fn every_thread_writes_every_file() {
        let directory = tempfile::tempdir().unwrap();
        let clock = MonotonicClock::new();
        let bounds = Bounds::new(&clock, Duration::from_millis(500));
        let tally = Tally::new(&bounds, false);
        storm(directory.path(), 3, &tally).unwrap();
        let summary = tally.summary("storm");
        assert_eq!(summary.errors, 0, "{:?}", summary.first_error);
        assert!(summary.ops > 3 && summary.syncs > 3, "{summary:?}");
        for number in 0..FILES {
            let length =
                directory.path().join(format!("shared-{number}")).metadata().unwrap().len();
            assert!(length >= as_offset(PAGES * PAGE), "{number}: {length}");
        }
    }
}
