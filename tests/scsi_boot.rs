//! A stock guest on the SCSI disk, booted for real: with and without protection information, from
//! the firmware's first session over a reboot.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::Daemon;
use common::daemon::image_is_sound;
use dixtrap::guest::protocol::ExitStatus;
use dixtrap::runner::accel::Accel;
use dixtrap::runner::guest::{BootRequest, Exec, Guest};
use dixtrap::runner::initramfs::find_program;
use dixtrap::runner::kernel::{Kernel, KernelSpec};
use dixtrap::runner::qemu::Disk;

const PROGRAMS: [&str; 8] =
    ["mkfs.ext4", "sg_readcap", "sg_inq", "sg_vpd", "sg_modes", "sg_opcodes", "sg_verify", "sg_dd"];

fn kernel() -> Kernel {
    let suite = std::env::var("DIXTRAP_TEST_KERNEL").unwrap_or("debian:bookworm".into());
    KernelSpec::parse(Some(&suite), None).unwrap().locate(&|line| eprintln!("{line}")).unwrap()
}

fn boot(kernel: &Kernel, daemon: &Daemon, dir: &Path, t10_pi: bool) -> Guest {
    let mut request = BootRequest::new(kernel, Accel::Tcg, dir);
    request.require = vec!["virtio_scsi".into(), "sd_mod".into()];
    request.wish = vec!["ext4".into(), "sg".into(), "crct10dif_generic".into()];
    request.programs = PROGRAMS.iter().filter_map(|name| find_program(name)).collect();
    request.disks = vec![Disk::VhostUserScsi { socket: daemon.socket(), queues: 2, t10_pi }];
    request.allow_reboot = true;
    Guest::boot(&request).unwrap()
}

/// Runs a script; what it printed, both streams.
fn shell(guest: &mut Guest, script: &str) -> (ExitStatus, String) {
    let argv = ["sh", "-c", script].map(String::from).to_vec();
    let exec = Exec { argv, env: BTreeMap::new(), timeout: Duration::from_secs(60) };
    let mut text = String::new();
    let result = guest.exec(&exec, &mut |line| text.push_str(&format!("{}\n", line.text))).unwrap();
    (result.status, text)
}

/// Runs a script that has to succeed.
fn must(guest: &mut Guest, script: &str) -> String {
    let (status, text) = shell(guest, script);
    assert!(status.success(), "{script}\n{status:?}\n{text}");
    text
}

/// Waits for the disk, which is scanned in the background.
fn await_disk(guest: &mut Guest) {
    must(guest, "for i in $(seq 100); do test -b /dev/sda && exit 0; sleep 0.1; done; exit 1");
}

const USE_IT: &str = "mkfs.ext4 -q /dev/sda && mount -t ext4 /dev/sda /mnt && \
    dd if=/dev/urandom of=/mnt/x bs=64k count=64 2>&1 && md5sum /mnt/x >/mnt/sum && \
    umount /mnt && echo 3 >/proc/sys/vm/drop_caches && \
    mount -t ext4 /dev/sda /mnt && md5sum -c /mnt/sum && umount /mnt";

#[test]
fn a_stock_guest_uses_the_disk_with_protection() {
    let daemon = Daemon::start(&[
        "--device",
        "scsi",
        "--num-queues",
        "2",
        "--window",
        "100us",
        "--size",
        "67108864",
    ]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), true);
    await_disk(&mut guest);
    println!("{}", must(&mut guest, "dmesg | grep -i 'scsi\\|sda\\|sd \\|dif\\|integ'"));
    println!("{}", must(&mut guest, "grep . /sys/block/sda/integrity/*"));
    must(&mut guest, USE_IT);
    println!("{}", must(&mut guest, "dmesg | tail -5"));
    guest.reboot().unwrap();
    await_disk(&mut guest);
    must(&mut guest, "mount -t ext4 /dev/sda /mnt && md5sum -c /mnt/sum && umount /mnt");
    guest.power_off().unwrap();
    let disk = daemon.disk();
    let dir = daemon.dir();
    let records = daemon.stop();
    assert!(records.races().is_empty(), "{:#?}", records.races());
    assert!(records.broken().is_empty() && records.medium_faults().is_empty());
    println!("{:?}", records.stop());
    image_is_sound(&disk);
    drop(dir);
}
