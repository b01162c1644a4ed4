//! What a disk has lost stays lost until its daemon is started again: a flush that failed, a file that
//! somebody made shorter, a file that may not grow. The guest is told, and so is whoever started it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::daemon::image_is_sound;
use crate::kit::direct::{Loop, Mount, sparse};
use crate::kit::scsi::{Load, ScsiGuest, ten};
use crate::kit::*;

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;
const SYNCHRONIZE: u8 = 0x35;
const FUA: u8 = 0x08;

fn dixtrap(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dixtrap")).args(words).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Ends the daemon in order; it has to say that it lost something.
fn ends_in_failure(mut daemon: Daemon, reason: &str) {
    assert!(daemon.lives());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(1), "{status}: {}", daemon.stderr());
    for words in [reason, "its last writes may be lost"] {
        assert!(daemon.stderr().contains(words), "{words}: {}", daemon.stderr());
    }
}

/// A device whose writes end in its cache: there is next to no room behind it.
struct Hollow {
    device: Loop,
    pi: PathBuf,
    _mount: Mount,
    folder: TempDir,
}

impl Hollow {
    fn new() -> Option<Hollow> {
        let mount = Mount::with(&["-t", "tmpfs", "-o", "size=512k", "none"])?;
        let backing = mount.path().join("backing");
        sparse(&backing, 16 << 20);
        let device = Loop::over(&backing, &[])?;
        let folder = tempfile::tempdir().unwrap();
        let pi = folder.path().join("device.pi");
        let adopted = dixtrap(&["image", "adopt", "--pi-file", text(&pi), &device.device]);
        assert!(adopted.status.success(), "{adopted:?}");
        Some(Hollow { device, pi, _mount: mount, folder })
    }

    fn start(&self, more: &[&str]) -> Daemon {
        let (disk, pi) = (&self.device.device, text(&self.pi));
        let usual = ["--no-size", "--window", "0", "--blk-file", disk, "--pi-file", pi];
        Daemon::start(&[&usual, more].concat())
    }
}

#[test]
fn a_failed_flush_over_blk_is_followed_by_none_that_succeeds() {
    let Some(hollow) = Hollow::new() else { return };
    let daemon = hollow.start(&[]);
    let mut guest = daemon.guest();
    for at in 0..60 {
        assert_eq!(guest.write(at * 512, &pattern(at, 256 << 10)), OK, "the cache takes it");
    }
    for round in 0..4 {
        assert_eq!(guest.flush(), IOERR, "flush {round}");
    }
    // Another guest of the same daemon is told no better.
    drop(guest);
    let mut next = daemon.guest();
    assert_eq!(next.flush(), IOERR);
    drop(next);
    ends_in_failure(daemon, "a flush failed");

    let check = dixtrap(&["image", "check", "--pi-file", text(&hollow.pi), &hollow.device.device]);
    assert_eq!(check.status.code(), Some(1), "{}", String::from_utf8_lossy(&check.stdout));

    let daemon = hollow.start(&[]);
    let mut guest = daemon.guest();
    assert_eq!(guest.flush(), OK, "nothing was written since");
    drop(guest);
    daemon.stop();
    assert!(hollow.folder.path().exists());
}

#[test]
fn a_failed_flush_over_scsi_fails_fua_and_synchronize_cache() {
    let Some(hollow) = Hollow::new() else { return };
    let daemon = hollow.start(&["--device", "scsi", "--num-queues", "2"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let mut fua = ten(WRITE, 0, 0, 8);
    for at in 0..240 {
        let data = pattern(at, 64 << 10);
        let load = Load { out: &data, ..Load::default() };
        let mut cdb = ten(WRITE, 0, 0, 128);
        cdb[3..5].copy_from_slice(&u16::try_from(at / 2).unwrap().to_be_bytes());
        cdb[5] = if at % 2 == 0 { 0 } else { 128 };
        let reply = guest.run(&cdb, &load);
        assert!(reply.is_good(), "{reply:?}");
    }
    fua[1] |= FUA;
    for round in 0..3 {
        let reply = guest.ask(&ten(SYNCHRONIZE, 0, 0, 0), 0);
        assert_eq!(reply.codes(), (3, 0x0C, 0), "SYNCHRONIZE CACHE {round}");
        let reply = guest.tell(&fua, &pattern(7, 4096));
        assert_eq!(reply.codes(), (3, 0x0C, 0), "FUA {round}");
    }
    drop(guest);
    ends_in_failure(daemon, "a flush failed");
}

/// Two folders: one whose files are memory, and one whose files may not be.
fn folders() -> impl Iterator<Item = Arc<TempDir>> {
    let of = |place| tempfile::tempdir_in(place).ok().map(Arc::new);
    ["/dev/shm", env!("CARGO_TARGET_TMPDIR")].into_iter().filter_map(of)
}

/// `name` gets these lengths, one after the other, under a daemon that has data on its disk: from
/// then on everything fails.
fn cut(folder: Arc<TempDir>, args: &[&str], name: &str, lengths: &[u64]) {
    let what = format!("{}: {name} {lengths:?} {args:?}", folder.path().display());
    let daemon = Daemon::start_in(Arc::clone(&folder), &[&["--window", "0"], args].concat());
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 64 << 10)), OK);
    assert_eq!(guest.flush(), OK);
    let file = File::options().write(true).open(daemon.file(name)).unwrap();
    lengths.iter().for_each(|length| file.set_len(*length).unwrap());
    assert_eq!(guest.read(0, 64 << 10).0, IOERR, "{what}");
    // This one would make the file as long as before.
    assert_eq!(guest.write(2040, &pattern(2, 4096)), IOERR, "{what}");
    for round in 0..3 {
        assert_eq!(guest.read(0, 64 << 10).0, IOERR, "{what}, round {round}");
        assert_eq!(guest.read(2040, 4096).0, IOERR, "{what}, round {round}");
        assert_eq!(guest.flush(), IOERR, "{what}, round {round}");
    }
    assert!(daemon.records().races().is_empty() && daemon.records().medium_faults().is_empty());
    drop(guest);
    ends_in_failure(daemon, "made shorter while it was in use");
}

/// Nobody calls this image sound.
fn is_refused(folder: &TempDir) {
    let check = dixtrap(&["image", "check", text(&folder.path().join("disk.img"))]);
    assert!(!check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn a_pi_file_that_is_cut_stays_lost() {
    // 2048 blocks: a header of 4096 bytes, and eight for each.
    for lengths in [&[0][..], &[4096], &[4096 + 800], &[0, 4096 + 2048 * 8]] {
        for folder in folders() {
            cut(Arc::clone(&folder), &[], "disk.img.pi", lengths);
            is_refused(&folder);
        }
    }
}

#[test]
fn a_data_file_that_is_cut_stays_lost() {
    for lengths in [&[0][..], &[32 << 10]] {
        for folder in folders() {
            cut(Arc::clone(&folder), &[], "disk.img", lengths);
            is_refused(&folder);
        }
        for folder in folders() {
            cut(folder, &["--pi-type", "0"], "disk.img", lengths);
        }
        if let Some(folder) = direct::folder() {
            cut(folder, &["--direct"], "disk.img", lengths);
        }
    }
}

#[test]
fn a_pi_file_that_is_cut_fails_commands_of_scsi() {
    let daemon = Daemon::start(&["--window", "0", "--device", "scsi", "--num-queues", "2"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let write = |guest: &mut ScsiGuest, lba| guest.tell(&ten(WRITE, 0, lba, 8), &pattern(3, 4096));
    assert!(write(&mut guest, 0).is_good());
    File::options().write(true).open(daemon.file("disk.img.pi")).unwrap().set_len(0).unwrap();
    for _ in 0..3 {
        assert_eq!(guest.ask(&ten(READ, 0, 0, 8), 4096).codes(), (3, 0x11, 0));
        assert_eq!(write(&mut guest, 64).codes(), (3, 0x0C, 0));
        assert_eq!(guest.ask(&ten(SYNCHRONIZE, 0, 0, 0), 0).codes(), (3, 0x0C, 0));
    }
    drop(guest);
    ends_in_failure(daemon, "made shorter while it was in use");
}

/// Files of the daemon, which has made all of them, may not outgrow `bytes` from now on.
fn limit_files(daemon: &Daemon, bytes: u64) -> bool {
    let limit = format!("--fsize={bytes}:{bytes}");
    let set = Command::new("prlimit").args(["--pid", &daemon.id().to_string(), &limit]).status();
    let set = set.is_ok_and(|status| status.success());
    if !set {
        eprintln!("skipped: there is no prlimit here");
    }
    set
}

#[test]
fn a_write_beyond_the_limit_on_files_is_the_guests_error() {
    for folder in folders() {
        let mut daemon = Daemon::start_in(Arc::clone(&folder), &["--window", "0"]);
        let mut guest = daemon.guest();
        if !limit_files(&daemon, 512 << 10) {
            return;
        }
        let data = pattern(1, 64 << 10);
        assert_eq!(guest.write(0, &data), OK);
        for _ in 0..3 {
            assert_eq!(guest.write(1500, &data), IOERR);
            assert!(daemon.lives(), "{}", daemon.stderr());
        }
        assert_eq!(guest.must_read(0, 64 << 10), data);
        assert_eq!(guest.flush(), OK, "nothing that was answered is lost");
        drop(guest);
        assert!(daemon.stop().stop().errors >= 3);
        image_is_sound(&folder.path().join("disk.img"));
    }
}

#[test]
fn records_beyond_the_limit_on_files_are_lost_and_counted() {
    let mut daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.guest();
    if !limit_files(&daemon, 24 << 10) {
        return;
    }
    for round in 0..20 {
        let sent = guest.start_write(0, &pattern(round, 8192));
        daemon.await_held(1);
        for block in 0..16 {
            guest.memory.flip(sent.draft.data + block * 512);
        }
        daemon.release();
        assert_eq!(guest.finish(&sent), OK);
    }
    eventually("lost records", || (daemon.stats().counters.records_lost > 0).then_some(()));
    assert_eq!(daemon.stats().counters.races.in_window, 20 * 16);
    assert!(daemon.lives());
    assert!(!daemon.records().races().is_empty(), "those that fit are whole");
}

#[test]
fn tools_say_that_a_file_may_not_grow_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    std::fs::write(&disk, vec![1; 1 << 20]).unwrap();
    for words in ["image adopt disk.img", "image create --size 1M new.img"] {
        // POSIX counts in 512 bytes.
        let limited = format!("ulimit -f 16; exec \"$0\" {words}");
        let output = Command::new("sh")
            .args(["-c", &limited, env!("CARGO_BIN_EXE_dixtrap")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{words}: {output:?}");
        assert!(said.contains("File too large"), "{words}: {said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{words}");
    }
}
