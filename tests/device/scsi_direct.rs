//! `--device scsi --direct`: commands go past the page cache, and what is acknowledged is on the medium.
//! A device that fails is the guest's error, over blk as well.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dixtrap::media::image::{Image, check};
use dixtrap::pi::{PiType, Tuple, generate};
use dixtrap::units::Lba;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::daemon::image_is_sound;
use crate::kit::direct::{Loop, Mount, folder, sparse};
use crate::kit::scsi::{Load, REQUEST, ScsiGuest, lun, ten};
use crate::kit::*;

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;

fn start_in(folder: &Arc<TempDir>, more: &[&str]) -> Daemon {
    let usual = ["--device", "scsi", "--num-queues", "2", "--direct"];
    Daemon::start_in(Arc::clone(folder), &[&usual, more].concat())
}

fn tuples(lba: u64, data: &[u8]) -> Vec<Tuple> {
    let blocks = (lba..).zip(data.chunks(512));
    blocks.map(|(lba, block)| generate(PiType::Type1, block, Lba(lba))).collect()
}

fn read(guest: &mut ScsiGuest, lba: u8, count: u8) -> Vec<u8> {
    let blocks = usize::from(count);
    let load = Load { room: blocks * 512, pi_room: blocks, ..Load::default() };
    let reply = guest.run(&ten(READ, 1, lba, count), &load);
    assert!(reply.is_good(), "{reply:?}");
    for (block, tuple) in reply.data.chunks(512).zip(&reply.tuples) {
        let is_free = *tuple == Tuple::ESCAPE;
        assert!(is_free || tuple.guard == dixtrap::pi::guard(block), "{tuple:?}");
    }
    reply.data
}

/// Writes of both queues that overlap, several at once: each block is found as one of them left it.
#[test]
fn overlapping_commands_leave_whole_blocks_and_a_sound_image() {
    let Some(folder) = folder() else { return };
    let daemon = start_in(&folder, &["--window", "uniform:0..200us"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let mut random = Random::new(5);
    let block_of = |salt: u64, block: u64| pattern(salt * 1000 + block, 512);
    for round in 0..20 {
        let mut sent = Vec::new();
        for request in 0..12 {
            let (salt, first) = (round * 16 + request, random.below(96));
            let count = 1 + random.below(32);
            let data: Vec<u8> = (first..first + count).flat_map(|b| block_of(salt, b)).collect();
            let pi = tuples(first, &data);
            let load = Load { out: &data, pi_out: &pi, ..Load::default() };
            let call = guest.call(lun(0), &ten(WRITE, 1, first as u8, count as u8), &load);
            let queue = REQUEST + (request % 2) as usize;
            let head = guest.send(queue, &call);
            sent.push((queue, head, call, first..first + count, salt));
        }
        for (queue, head, call, ..) in &sent {
            guest.guest.rings[*queue].wait(*head);
            assert!(call.reply().is_good(), "{:?}", call.reply());
        }
        let disk = read(&mut guest, 0, 127);
        for (block, bytes) in (0..127u64).zip(disk.chunks(512)) {
            let mut writers =
                sent.iter().filter(|(.., range, _)| range.contains(&block)).peekable();
            let known = writers.peek().is_none()
                || writers.any(|(.., salt)| bytes == block_of(*salt, block));
            assert!(known, "block {block} holds what nobody wrote last");
        }
    }
    drop(guest);
    let image = daemon.disk();
    let records = daemon.stop();
    assert!(records.races().is_empty() && records.medium_faults().is_empty());
    assert_eq!(records.stop().writes, 240);
    image_is_sound(&image);
}

#[test]
fn a_race_leaves_the_old_bytes_and_names_the_block() {
    let Some(folder) = folder() else { return };
    let daemon = start_in(&folder, &["--window", "hold"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let (old, new) = (pattern(1, 2048), pattern(2, 2048));
    for (data, flip) in [(&old, false), (&new, true)] {
        let pi = tuples(8, data);
        let load = Load { out: data, pi_out: &pi, ..Load::default() };
        let call = guest.call(lun(0), &ten(WRITE, 1, 8, 4), &load);
        let head = guest.send(REQUEST, &call);
        daemon.await_held(1);
        if flip {
            guest.guest.memory.flip(call.out + 1030);
        }
        daemon.release();
        guest.guest.rings[REQUEST].wait(head);
        let reply = call.reply();
        if flip {
            assert_eq!((reply.codes(), reply.information()), ((0xB, 0x10, 0x01), 10));
        } else {
            assert!(reply.is_good(), "{reply:?}");
        }
    }
    assert_eq!(read(&mut guest, 8, 4), old);
    let mut stored = vec![0; 2048];
    File::open(daemon.disk()).unwrap().read_exact_at(&mut stored, 8 * 512).unwrap();
    assert_eq!(stored, old);
    drop(guest);
    assert_eq!(daemon.stop().races().len(), 1);
}

/// Commands that read what they stored, compare, or clear, each with units that lie side by side.
#[test]
fn every_kind_of_command_works_on_each_unit() {
    let Some(folder) = folder() else { return };
    let units = ["--blk-file", "disk.img", "--blk-file", "other.img"];
    let daemon = start_in(&folder, &[&units[..], &["--window", "0", "--sandbox"]].concat());
    let mut guest = ScsiGuest::plug(&daemon, false);
    let data = pattern(3, 1024);
    let attention = guest.call(lun(1), &[0; 6], &Load::default());
    assert_eq!(guest.run_call(&attention).codes(), (6, 0x29, 0));
    for unit in 0..2 {
        let mut good = |cdb: &[u8], out: &[u8], room: usize| {
            let call = guest.call(lun(unit), cdb, &Load { out, room, ..Load::default() });
            let reply = guest.run_call(&call);
            assert!(reply.is_good(), "unit {unit}, {cdb:02x?}: {reply:?}");
            reply.data
        };
        good(&ten(0x2E, 0, 0, 2), &data, 0); // WRITE AND VERIFY
        let mut compared = ten(0x2F, 0, 0, 2); // VERIFY with BYTCHK
        compared[1] |= 2;
        good(&compared, &data, 0);
        let mut swap = [0; 16]; // COMPARE AND WRITE
        (swap[0], swap[13]) = (0x89, 1);
        good(&swap, &[&data[..512], &data[512..]].concat(), 0);
        assert_eq!(good(&ten(READ, 0, 0, 1), &[], 512), data[512..]);
        good(&ten(0x41, 0, 1, 200), &data[..512], 0); // WRITE SAME
        assert_eq!(good(&ten(READ, 0, 200, 1), &[], 512), data[..512]);
        let mut same = ten(0x41, 0, 3, 100); // WRITE SAME with UNMAP
        same[1] |= 8;
        good(&same, &[0; 512], 0);
        let mut list = [0u8; 24]; // UNMAP of 8 blocks at 110
        (list[1], list[3], list[15], list[19]) = (22, 16, 110, 8);
        good(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list, 0);
        assert_eq!(good(&ten(READ, 0, 109, 2), &[], 1024), [&data[..512], &[0; 512]].concat());
        good(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0); // SYNCHRONIZE CACHE
    }
    drop(guest);
    let images = [daemon.disk(), daemon.file("other.img")];
    assert!(daemon.stop().medium_faults().is_empty());
    images.iter().for_each(|image| image_is_sound(image));
}

#[test]
fn a_killed_daemon_loses_nothing_that_was_acknowledged() {
    let Some(folder) = folder() else { return };
    let mut daemon = start_in(&folder, &["--window", "0"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let acknowledged = pattern(4, 64 * 512);
    assert!(guest.tell(&ten(WRITE, 0, 0, 64), &acknowledged).is_good());
    let data = pattern(5, 8 * 512);
    for at in 0..8 {
        let load = Load { out: &data, ..Load::default() };
        let call = guest.call(lun(0), &ten(WRITE, 0, 128 + at * 8, 8), &load);
        guest.send(REQUEST + usize::from(at % 2), &call);
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    drop(guest);
    let image = Image { path: daemon.disk(), pi_file: None };
    let report = check(&image, &mut |_, _| ()).unwrap();
    assert!(report.first.iter().all(|fault| fault.lba.0 >= 128), "{:?}", report.first);
    let daemon = start_in(&folder, &["--window", "0"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    assert_eq!(read(&mut guest, 0, 64), acknowledged);
}

/// A device that takes no write: a loop over a sparse file, the rest of whose file system is full.
struct Full {
    device: Loop,
    _mount: Mount,
}

impl Full {
    fn new() -> Option<Full> {
        let mount = Mount::with(&["-t", "tmpfs", "-o", "size=256k", "none"])?;
        let backing = mount.path().join("backing");
        sparse(&backing, 1 << 20);
        // Its file system has room for a few blocks, and then for none.
        let device = Loop::over(&backing, &[])?;
        std::fs::write(mount.path().join("ballast"), vec![1; 128 << 10]).unwrap();
        Some(Full { device, _mount: mount })
    }
}

/// Makes the protection information of a device, outside of it.
fn adopted(folder: &Path, disk: &str) -> PathBuf {
    let pi = folder.join("device.pi");
    let adopted = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["image", "adopt", "--pi-file"])
        .args([&pi, Path::new(disk)])
        .output()
        .unwrap();
    assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
    pi
}

fn start_on(disk: &str, pi: &Path, more: &[&str]) -> Daemon {
    let pi = pi.to_str().unwrap();
    let usual = ["--direct", "--no-size", "--window", "0", "--blk-file", disk, "--pi-file", pi];
    Daemon::start(&[&usual, more].concat())
}

/// The command ends with these codes.
fn fails(guest: &mut ScsiGuest, cdb: &[u8], out: &[u8], room: usize, codes: (u8, u8, u8)) {
    let reply = guest.run(cdb, &Load { out, room, ..Load::default() });
    assert_eq!(reply.codes(), codes, "{cdb:02x?}");
}

#[test]
fn a_device_that_takes_no_write_is_a_write_error() {
    let Some(folder) = folder() else { return };
    let Some(full) = Full::new() else { return };
    let disk = full.device.device.clone();
    let pi = adopted(folder.path(), &disk);
    let blocks = |at: u8| pattern(u64::from(at), 64 * 512);

    let mut daemon = start_on(&disk, &pi, &["--device", "scsi", "--num-queues", "2"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let mut failed = Vec::new();
    for at in 0..32u8 {
        let [high, low] = (u16::from(at) * 64).to_be_bytes();
        let reply = guest.tell(&[WRITE, 0, 0, 0, high, low, 0, 0, 64, 0], &blocks(at));
        if !reply.is_good() {
            // SPACE ALLOCATION FAILED WRITE PROTECT: the device has no room (ENOSPC).
            assert_eq!(reply.codes(), (7, 0x27, 7), "{at}");
            failed.push(at);
        }
    }
    assert!(!failed.is_empty() && failed.len() < 32, "{failed:?}");
    assert!(guest.ask(&ten(READ, 0, 0, 1), 512).is_good() && daemon.lives());
    drop(guest);
    let records = daemon.stop();
    assert!(records.stop().errors >= failed.len() as u64 && records.medium_faults().is_empty());

    let mut daemon = start_on(&disk, &pi, &[]);
    let mut guest = daemon.plug(Plug { ring_size: 128, ..Plug::default() });
    let sent: Vec<_> =
        failed.iter().map(|at| guest.start_write(u64::from(*at) * 64, &blocks(*at))).collect();
    let refused = sent.iter().filter(|sent| guest.finish(sent) == IOERR).count();
    assert!(refused > 0 && daemon.lives());
    drop(guest);
    let records = daemon.stop();
    assert!(records.stop().errors >= refused as u64 && records.medium_faults().is_empty());
}

/// A file on btrfs, one of whose blocks is spoiled beneath: reading that is an error of the device.
fn spoiled(folder: &Path) -> Option<(Mount, Loop, String)> {
    let backing = folder.join("btrfs");
    sparse(&backing, 128 << 20);
    let made = Command::new("mkfs.btrfs").args(["-q", "-m", "single"]).arg(&backing).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no btrfs can be made here");
        return None;
    }
    let device = Loop::over(&backing, &[])?;
    let mount = Mount::with(&[&device.device])?;
    let disk = mount.path().join("disk.img");
    let data = pattern(6, 1 << 20);
    std::fs::write(&disk, &data).unwrap();
    drop(mount);
    let bytes = std::fs::read(&backing).unwrap();
    let at = bytes.windows(32).step_by(4096).position(|window| window == &data[65536..65568]);
    let file = File::options().write(true).open(&backing).unwrap();
    file.write_all_at(b"spoiled", at.unwrap() as u64 * 4096 + 512).unwrap();
    file.sync_all().unwrap();
    drop(device);
    let device = Loop::over(&backing, &[])?;
    let mount = Mount::with(&[&device.device])?;
    let disk = mount.path().join("disk.img").to_str().unwrap().to_owned();
    Some((mount, device, disk))
}

#[test]
fn a_device_that_cannot_read_is_a_read_error() {
    let Some(folder) = folder() else { return };
    let Some((mount, _device, disk)) = spoiled(folder.path()) else { return };
    let whole = pattern(6, 1 << 20);
    let copy = folder.path().join("copy.img");
    std::fs::write(&copy, &whole).unwrap();
    let pi = adopted(folder.path(), copy.to_str().unwrap());

    let mut daemon = start_on(&disk, &pi, &["--device", "scsi", "--num-queues", "2"]);
    let mut guest = ScsiGuest::plug(&daemon, true);
    fails(&mut guest, &ten(READ, 0, 128, 8), &[], 4096, (3, 0x11, 0));
    fails(&mut guest, &ten(0x2F, 0, 120, 16), &[], 0, (3, 0x11, 0));
    assert_eq!(guest.ask(&ten(READ, 0, 120, 8), 4096).data, whole[120 * 512..128 * 512]);
    assert!(daemon.lives());
    drop(guest);
    let records = daemon.stop();
    assert!(records.stop().errors >= 2 && records.medium_faults().is_empty());

    let mut daemon = start_on(&disk, &pi, &[]);
    let mut guest = daemon.guest();
    assert_eq!(guest.read(128, 4096).0, IOERR);
    assert_eq!(guest.must_read(120, 4096), whole[120 * 512..128 * 512]);
    assert!(daemon.lives());
    drop(guest);
    assert!(daemon.stop().stop().errors >= 1);
    drop(mount);
}
