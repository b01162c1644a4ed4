//! Direct I/O: on a file of a real file system, and on a loop device where root may have one. What is
//! acknowledged is on the medium, whatever overlaps, fails or is killed.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dixtrap::media::image::{Image, check};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::daemon::{Refusal, image_is_sound};
use crate::kit::direct::{Loop, folder, sparse};
use crate::kit::guest::Sent;
use crate::kit::*;

/// Many requests in flight at once, of all lengths, overlapping; every state that a block is found in
/// is one that a request left or an earlier one.
fn storm(guest: &mut Guest, rounds: u64, queues: u64) {
    let mut random = Random::new(7);
    let mut model: Vec<Vec<u64>> = vec![vec![u64::MAX]; 1 << 9];
    let block_of = |salt: u64, block: u64| pattern(salt * 1000 + block, 512);
    for round in 0..rounds {
        let mut sent: Vec<(Sent, u64, u64, u64)> = Vec::new();
        for request in 0..16 {
            let salt = round * 16 + request;
            let first = random.below(480);
            let count = 1 + random.below(32);
            let data: Vec<u8> = (first..first + count).flat_map(|b| block_of(salt, b)).collect();
            let draft = Draft::write(&guest.memory, first, &data);
            sent.push((guest.send((request % queues) as usize, draft), first, count, salt));
        }
        let mut touched: Vec<Vec<u64>> = vec![Vec::new(); model.len()];
        for (sent, first, count, salt) in &sent {
            assert_eq!(guest.finish(sent), OK);
            (*first..first + count).for_each(|block| touched[block as usize].push(*salt));
        }
        for (old, new) in model.iter_mut().zip(touched) {
            if !new.is_empty() {
                *old = new;
            }
        }
        let disk = guest.must_read(0, 512 * 512);
        for (block, salts) in model.iter_mut().enumerate() {
            let bytes = &disk[block * 512..][..512];
            salts.retain(|salt| match salt {
                &u64::MAX => bytes == [0; 512],
                salt => bytes == block_of(*salt, block as u64),
            });
            assert!(!salts.is_empty(), "block {block} holds what nobody wrote");
        }
    }
}

#[test]
fn overlapping_requests_at_depth_leave_whole_blocks_and_a_sound_image() {
    let Some(folder) = folder() else { return };
    for queues in [1, 2] {
        let args =
            ["--direct", "--window", "uniform:0..200us", "--num-queues", &queues.to_string()];
        let daemon = Daemon::start_in(Arc::clone(&folder), &args);
        let mut guest =
            daemon.plug(Plug { queues: queues as usize, ring_size: 128, ..Plug::default() });
        let image = daemon.disk();
        if queues == 1 {
            storm(&mut guest, 20, 1);
        } else {
            let block = pattern(0, 512 * 512);
            assert_eq!(guest.write(0, &vec![0; block.len()]), OK);
            storm(&mut guest, 20, 2);
        }
        assert_eq!(guest.flush(), OK);
        assert!(!daemon.stderr().contains("io_uring"), "it has to be usable here");
        drop(guest);
        let records = daemon.stop();
        assert!(records.races().is_empty() && records.medium_faults().is_empty());
        image_is_sound(&image);
    }
}

#[test]
fn ranges_are_discarded_and_zeroed_between_writes_that_are_under_way() {
    let Some(folder) = folder() else { return };
    let daemon = Daemon::start_in(folder, &["--direct", "--window", "0", "--sandbox"]);
    let mut guest = daemon.plug(Plug { ring_size: 128, ..Plug::default() });
    for round in 0..20 {
        let data = pattern(round, 64 << 10);
        let writes: Vec<Sent> = (0..8).map(|at| guest.start_write(at * 128, &data)).collect();
        let range = request::Range { sector: 64, count: 512, flags: 0 };
        let draft = if round % 2 == 0 {
            Draft::discard(&guest.memory, &[range])
        } else {
            Draft::write_zeroes(&guest.memory, &[range])
        };
        let cleared = guest.send(0, draft);
        for sent in writes.iter().chain([&cleared]) {
            assert_eq!(guest.finish(sent), OK);
        }
        guest.must_read(0, 512 << 10);
    }
    drop(guest);
    assert!(daemon.stop().medium_faults().is_empty());
}

#[test]
fn a_race_leaves_the_old_bytes() {
    let Some(folder) = folder() else { return };
    let daemon = Daemon::start_in(folder, &["--direct", "--window", "hold"]);
    let mut guest = daemon.guest();
    let (old, new) = (pattern(1, 8192), pattern(2, 8192));
    let sent = guest.start_write(16, &old);
    daemon.await_held(1);
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    let sent = guest.start_write(16, &new);
    daemon.await_held(1);
    guest.memory.flip(sent.draft.data + 5000);
    daemon.release();
    assert_eq!(guest.finish(&sent), IOERR);
    assert_eq!(guest.must_read(16, 8192), old);
    let mut stored = vec![0; 8192];
    std::fs::File::open(daemon.disk()).unwrap().read_exact_at(&mut stored, 16 * 512).unwrap();
    assert_eq!(stored, old);
    drop(guest);
    assert_eq!(daemon.stop().races().len(), 1);
}

#[test]
fn a_killed_daemon_loses_nothing_that_was_acknowledged() {
    let Some(folder) = folder() else { return };
    let args = ["--direct", "--window", "0"];
    let mut daemon = Daemon::start_in(Arc::clone(&folder), &args);
    let mut guest = daemon.plug(Plug { ring_size: 128, ..Plug::default() });
    let acknowledged = pattern(3, 256 << 10);
    assert_eq!(guest.write(0, &acknowledged), OK);
    for at in 0..16 {
        let draft = Draft::write(&guest.memory, 1024 + at * 32, &pattern(4 + at, 16 << 10));
        guest.send(0, draft);
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    drop(guest);
    // Only blocks that were not acknowledged may be suspect.
    let image = Image { path: daemon.disk(), pi_file: None };
    let report = check(&image, &mut |_, _| ()).unwrap();
    assert!(report.was_in_use);
    if let Some(first) = report.first.first() {
        assert!(first.lba.0 >= 1024, "{first:?}");
    }
    let daemon = Daemon::start_in(folder, &args);
    let mut guest = daemon.guest();
    assert_eq!(guest.must_read(0, 256 << 10), acknowledged);
    for at in 0..16 {
        assert_eq!(guest.write(1024 + at * 32, &pattern(4 + at, 16 << 10)), OK);
    }
    guest.must_read(1024, 256 << 10);
}

#[test]
fn a_full_file_system_is_the_guests_error() {
    let Some(folder) = folder() else { return };
    let small = folder.path().join("small.ext4");
    sparse(&small, 16 << 20);
    let made =
        Command::new("mkfs.ext4").args(["-q", "-F", "-O", "^has_journal"]).arg(&small).status();
    let Some(device) = made.is_ok_and(|s| s.success()).then(|| Loop::over(&small, &[])).flatten()
    else {
        eprintln!("skipped: no small file system can be made here");
        return;
    };
    let mount = TempDir::new().unwrap();
    let mounted = Command::new("mount").arg(&device.device).arg(mount.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting is not allowed here");
        return;
    }
    let image = mount.path().join("disk.img");
    let pi = folder.path().join("disk.pi");
    let (image, pi) = (image.to_str().unwrap(), pi.to_str().unwrap());
    let args = ["--direct", "--window", "0", "--blk-file", image, "--pi-file", pi, "--size", "64M"];
    let mut daemon = Daemon::start(&args);
    let mut guest = daemon.plug(Plug { ring_size: 128, ..Plug::default() });
    let (chunk, mut good) = (256usize << 10, Vec::new());
    for round in 0..16 {
        let sent: Vec<(u64, Sent)> = (round * 8..round * 8 + 8)
            .map(|at| (at, guest.start_write(at * 512, &pattern(at, chunk))))
            .collect();
        good.extend(sent.iter().filter(|(_, sent)| guest.finish(sent) == OK).map(|(at, _)| *at));
    }
    assert!(!good.is_empty() && good.len() < 128, "{} fitted", good.len());
    assert!(daemon.lives());
    for at in &good {
        assert_eq!(guest.must_read(at * 512, chunk), pattern(*at, chunk));
    }
    drop(guest);
    let records = daemon.stop();
    assert!(records.stop().errors > 0 && records.medium_faults().is_empty());
    let _ = Command::new("umount").arg(mount.path()).status();
}

/// A daemon on a block device; its protection information lies beside the image.
fn on_device(device: &str, pi: &Path, more: &[&str]) -> Daemon {
    let pi = pi.to_str().unwrap();
    Daemon::start(
        &[&["--blk-file", device, "--pi-file", pi, "--no-size", "--window", "0"], more].concat(),
    )
}

fn adopted(folder: &Path, device: &str, block_size: &str) -> PathBuf {
    let pi = folder.join("device.pi");
    let adopted = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["image", "adopt", "--block-size", block_size, "--pi-file"])
        .arg(&pi)
        .arg(device)
        .output()
        .unwrap();
    assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
    pi
}

#[test]
fn a_block_device_serves_overlapping_requests_direct_or_not() {
    let Some(folder) = folder() else { return };
    let backing = folder.path().join("backing");
    sparse(&backing, 8 << 20);
    let Some(device) = Loop::over(&backing, &[]) else { return };
    let pi = adopted(folder.path(), &device.device, "512");
    for more in [&["--direct"] as &[&str], &[]] {
        let daemon = on_device(&device.device, &pi, more);
        let mut guest = daemon.plug(Plug { ring_size: 128, ..Plug::default() });
        assert_eq!(guest.write(0, &vec![0; 512 * 512]), OK);
        storm(&mut guest, 10, 1);
        assert_eq!(guest.flush(), OK);
        drop(guest);
        let records = daemon.stop();
        assert!(records.races().is_empty() && records.medium_faults().is_empty());
    }
}

#[test]
fn a_block_smaller_than_the_devices_sector_is_refused() {
    let Some(folder) = folder() else { return };
    let backing = folder.path().join("backing");
    sparse(&backing, 8 << 20);
    let Some(device) = Loop::over(&backing, &["--sector-size", "4096"]) else { return };
    let pi = adopted(folder.path(), &device.device, "512");
    let args =
        ["--blk-file", &device.device, "--pi-file", pi.to_str().unwrap(), "--no-size", "--direct"];
    Refusal::of(folder.path(), &args).says(&[&device.device, "--direct", "512"]);
}

#[test]
fn what_cannot_be_direct_is_refused_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    Refusal::of(folder.path(), &["--memory", "--direct"]).says(&["--direct", "--blk-file"]);
    let tmpfs = Path::new("/dev/shm");
    if !nix::sys::statfs::statfs(tmpfs)
        .is_ok_and(|kind| kind.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    {
        eprintln!("skipped: /dev/shm is no tmpfs");
        return;
    }
    let folder = tempfile::tempdir_in(tmpfs).unwrap();
    Refusal::of(folder.path(), &["--direct"]).says(&["disk.img", "--direct"]);
    assert!(!folder.path().join("disk.img").exists());
    assert!(!folder.path().join("disk.img.pi").exists());
}
