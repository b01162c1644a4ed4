//! The writer that changes metadata: directories, inodes, bitmaps, and hardly any data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use nix::unistd::syncfs;

use super::tally::Tally;

/// Files that a thread keeps at a time; names come round again after so many.
const FILES: u64 = 64;
/// A thread has its directory synced every so many rounds.
const SYNC_EVERY: u64 = 16;

/// Creates, renames, truncates and removes files and directories below `directory`, while one
/// thread has the whole file system synced.
pub fn churn(directory: &Path, threads: usize, tally: &Tally) -> io::Result<()> {
    let root = File::open(directory)?;
    let homes: Vec<PathBuf> =
        (0..threads).map(|number| directory.join(format!("churn-{number}"))).collect();
    for home in &homes {
        fs::create_dir_all(home)?;
    }
    thread::scope(|scope| {
        for home in &homes {
            scope.spawn(move || {
                let mut round = 0;
                while tally.go() {
                    one_round(home, round, tally);
                    round += 1;
                }
            });
        }
        while tally.go() {
            tally.synced("syncfs", syncfs(&root).map_err(io::Error::from));
        }
    });
    Ok(())
}

/// One round: every operation changes another kind of metadata.
fn one_round(home: &Path, round: u64, tally: &Tally) {
    let slot = round % FILES;
    let file = home.join(format!("file-{slot}"));
    let renamed = home.join(format!("renamed-{slot}"));
    let nested = home.join(format!("directory-{slot}"));
    tally.changed("create", None, write_short(&file, round));
    tally.changed("rename", None, fs::rename(&file, &renamed));
    tally.changed("truncate", None, resize(&renamed, (round % 8) * 10_000));
    if nested.exists() {
        tally.changed("rmdir", None, fs::remove_dir(&nested));
    } else {
        tally.changed("mkdir", None, fs::create_dir(&nested));
    }
    if round.is_multiple_of(3) {
        tally.changed("unlink", None, fs::remove_file(&renamed));
    }
    if round.is_multiple_of(SYNC_EVERY) {
        tally.synced("fsync", File::open(home).and_then(|directory| directory.sync_all()));
    }
}

fn write_short(path: &Path, round: u64) -> io::Result<()> {
    File::create(path)?.write_all(&round.to_le_bytes())
}

fn resize(path: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;
    use crate::clock::MonotonicClock;
    use std::time::Duration;

    #[test]
    fn a_churn_goes_round_without_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let clock = MonotonicClock::new();
        let bounds = Bounds::new(&clock, Duration::from_millis(300));
        let tally = Tally::new(&bounds, false);
        // Rounds that meet the same names a second and a third time.
        for round in 0..200 {
            one_round(directory.path(), round, &tally);
        }
        churn(directory.path(), 2, &tally).unwrap();
        let summary = tally.summary("churn");
        assert_eq!(summary.errors, 0, "{:?}", summary.first_error);
        assert!(summary.ops > 800 && summary.syncs > 0, "{summary:?}");
    }
}
