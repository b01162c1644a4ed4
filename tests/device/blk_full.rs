//! No room: for the image, and for the records. Needs root, for a small file system of its own.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::kit::*;

/// A tmpfs of a certain size, gone with the value.
struct Small {
    dir: TempDir,
}

impl Small {
    /// `None` where mounting is not allowed.
    fn of(bytes: u64) -> Option<Small> {
        let dir = TempDir::new().unwrap();
        let options = format!("size={bytes}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .ok()?;
        Some(Small { dir })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The daemon may still have files open there.
        let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_full_disk_under_the_image_is_the_guests_error() {
    let Some(small) = Small::of(8 << 20) else {
        eprintln!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let image = small.file("disk.img");
    let mut daemon = Daemon::start(&["--window", "0", "--blk-file", text(&image), "--size", "64M"]);
    let mut guest = daemon.guest();
    let chunk = 256 * 1024;
    let mut statuses = Vec::new();
    for i in 0..64 {
        statuses.push(guest.write(i * (chunk as u64 / 512), &pattern(i, chunk)));
    }
    assert_eq!(statuses[0], OK);
    assert_eq!(statuses[63], IOERR, "the guest sees the full disk");
    assert!(daemon.lives());
    let good = statuses.iter().take_while(|status| **status == OK).count();
    for i in 0..good as u64 {
        assert_eq!(guest.must_read(i * (chunk as u64 / 512), chunk), pattern(i, chunk));
    }
    drop(guest);
    let records = daemon.stop();
    assert!(records.stop().errors > 0);
    assert!(records.medium_faults().is_empty());
}

#[test]
fn a_full_disk_under_the_records_loses_records_and_nothing_else() {
    let Some(small) = Small::of(96 * 1024) else {
        eprintln!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let races = small.file("races.jsonl");
    let mut daemon =
        Daemon::start(&["--window", "hold", "--on-race", "report", "--races", text(&races)]);
    let mut guest = daemon.guest();
    for round in 0..4 {
        let sent = guest.start_write(0, &pattern(round, 65536));
        daemon.await_held(1);
        for block in 0..128 {
            guest.memory.flip(sent.draft.data + block * 512);
        }
        daemon.release();
        assert_eq!(guest.finish(&sent), OK);
        assert_eq!(guest.must_read(0, 65536), sent.draft.bytes());
    }
    eventually("lost records", || (daemon.stats().counters.records_lost > 0).then_some(()));
    assert_eq!(daemon.stats().counters.races.in_window, 4 * 128);
    assert!(daemon.lives());
    let whole = crate::kit::records::Records::read(&races);
    // The first write's races fit; what did not fit left no half line behind.
    assert!(whole.races().len() >= 128, "{} races", whole.races().len());
}
