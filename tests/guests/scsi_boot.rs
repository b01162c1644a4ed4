//! A stock guest on the SCSI disk, booted for real: with and without protection information, from
//! the firmware's first session over a reboot; and what sg3-utils say of the disk.

use std::path::Path;
use std::time::Duration;

use dixtrap::control::Request;
use dixtrap::guest::protocol::ExitStatus;
use dixtrap::record::{Outcome, Race};
use dixtrap::runner::guest::initramfs::{Carried, find_program};
use dixtrap::runner::guest::{BootRequest, Guest};
use dixtrap::runner::host::accel::Accel;
use dixtrap::runner::host::qemu::Disk;
use dixtrap::runner::kernel::Kernel;

use crate::booted::kernel;
use crate::booted::shell::{must, shell};
use crate::kit::Daemon;
use crate::kit::daemon::image_is_sound;
use crate::kit::records::Records;

const PROGRAMS: [&str; 9] = [
    "mkfs.ext4",
    "sg_readcap",
    "sg_inq",
    "sg_vpd",
    "sg_modes",
    "sg_opcodes",
    "sg_verify",
    "sg_dd",
    "sg_reset",
];

fn boot(kernel: &Kernel, daemon: &Daemon, dir: &Path, t10_pi: bool) -> Guest {
    boot_with(kernel, &[daemon], dir, t10_pi)
}

fn boot_with(kernel: &Kernel, daemons: &[&Daemon], dir: &Path, t10_pi: bool) -> Guest {
    let mut request = BootRequest::new(kernel, Accel::Tcg, dir);
    request.require = vec!["virtio_scsi".into(), "sd_mod".into()];
    request.wish = vec!["ext4".into(), "sg".into(), "crct10dif_generic".into()];
    request.carried = Carried::programs(PROGRAMS.iter().filter_map(|name| find_program(name)));
    let disk = |daemon: &&Daemon| {
        let socket = daemon.socket();
        Disk::VhostUserScsi { socket, queues: 2, t10_pi }
    };
    request.disks = daemons.iter().map(disk).collect();
    request.allow_reboot = true;
    dixtrap::runner::guest::boot(&request).unwrap()
}

/// A daemon with a disk of 64 MiB.
fn start(flags: &[&str]) -> Daemon {
    let usual = ["--device", "scsi", "--num-queues", "2", "--window", "100us", "--size", "64M"];
    // On a busy machine a guest's boot alone can take longer than a scripted test.
    Daemon::start_for(Duration::from_secs(400), &[&usual, flags].concat())
}

/// Waits for the disk, which is scanned in the background.
fn await_disk(guest: &mut Guest) {
    must(guest, "for i in $(seq 100); do test -b /dev/sda && exit 0; sleep 0.1; done; exit 1");
}

const USE_IT: &str = "mkfs.ext4 -q /dev/sda && mount -t ext4 /dev/sda /mnt && \
    dd if=/dev/urandom of=/mnt/x bs=64k count=64 2>&1 && md5sum /mnt/x >/mnt/sum && \
    umount /mnt && echo 3 >/proc/sys/vm/drop_caches && \
    mount -t ext4 /dev/sda /mnt && md5sum -c /mnt/sum && umount /mnt";

/// What a daemon left behind after a guest that did nothing wrong.
fn assert_clean(daemon: Daemon) -> Records {
    let (disk, dir) = (daemon.disk(), daemon.dir());
    let records = daemon.stop();
    assert!(records.races().is_empty(), "{:#?}", records.races());
    assert!(records.broken().is_empty() && records.medium_faults().is_empty());
    assert_eq!(records.stop().errors, 0);
    image_is_sound(&disk);
    drop(dir);
    records
}

#[test]
fn a_stock_guest_uses_the_disk_with_protection_and_after_a_reboot() {
    let daemon = start(&["--pi-type", "1"]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), true);
    await_disk(&mut guest);
    let log = must(&mut guest, "dmesg");
    assert!(log.contains("Enabling DIX T10-DIF-TYPE1-CRC"), "{log}");
    assert!(log.contains("Enabling DIF Type 1 protection"), "{log}");
    must(&mut guest, USE_IT);
    guest.reboot().unwrap();
    await_disk(&mut guest);
    must(&mut guest, "mount -t ext4 /dev/sda /mnt && md5sum -c /mnt/sum && umount /mnt");
    guest.power_off().unwrap();
    assert!(assert_clean(daemon).stop().blocks_checked >= 8192);
}

/// What a real drive does to a race: the write fails with EILSEQ, and the log names the sector.
#[test]
fn a_race_fails_the_write_and_the_log_names_its_sector() {
    let daemon = start(&["--pi-type", "1", "--on-race", "fail"]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), true);
    await_disk(&mut guest);
    let work = "dixtrap-guest work direct /dev/sda --seconds 2 --keep-going";
    let told = must(&mut guest, &format!("{work} 2>/dev/null"));
    let summary: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!(summary["first_error"]["errno"], nix::libc::EILSEQ, "{told}");
    let log = must(&mut guest, "dmesg | grep 'protection error, dev sda'");
    guest.power_off().unwrap();
    let records = daemon.stop();
    let sector = log.split(", sector ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let named = |race: &&Race| race.lba.0.to_string() == sector.trim();
    let race = records.races().into_iter().find(named);
    assert_eq!(race.map(|race| race.outcome), Some(Outcome::Failed), "{log}");
}

#[test]
fn a_guest_without_protection_has_a_plain_disk() {
    let daemon = start(&["--pi-type", "1"]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), false);
    await_disk(&mut guest);
    let log = must(&mut guest, "dmesg");
    assert!(
        log.contains("Disabling DIF Type 1 protection") && !log.contains("Enabling DIX"),
        "{log}"
    );
    assert_eq!(must(&mut guest, "cat /sys/block/sda/integrity/format").trim(), "none");
    must(&mut guest, USE_IT);
    guest.power_off().unwrap();
    // The drive generated what the guest did not send.
    assert_clean(daemon);
}

#[test]
fn other_types_and_4096_byte_blocks_are_registered() {
    let kernel = kernel();
    for (flags, format) in [
        (["--pi-type", "2", "--block-size", "512"], "T10-DIF-TYPE1-CRC"),
        (["--pi-type", "3", "--block-size", "512"], "T10-DIF-TYPE3-CRC"),
        (["--pi-type", "1", "--block-size", "4096"], "T10-DIF-TYPE1-CRC"),
    ] {
        let (daemon, dir) = (start(&flags), tempfile::tempdir().unwrap());
        let mut guest = boot(&kernel, &daemon, dir.path(), true);
        await_disk(&mut guest);
        let registered = must(&mut guest, "cat /sys/block/sda/integrity/format");
        // Linux uses the Type 1 profile for Type 2: the tags are the same.
        assert_eq!(registered.trim(), format, "{flags:?}");
        must(&mut guest, USE_IT);
        guest.power_off().unwrap();
        assert_clean(daemon);
    }
}

/// Linux's driver of virtio-scsi lets no command time out: one that is never answered is ended by a
/// reset of its unit, given back, and tried again.
#[test]
fn a_reset_gives_back_what_is_never_answered() {
    let daemon = start(&["--pi-type", "1"]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), true);
    await_disk(&mut guest);
    for silence in 1..=2 {
        let spec = "no-answer,op=read,lba=800..808".to_owned();
        daemon.ask(Request::Inject { spec });
        // The read is still out after a second; the reset ends it.
        let read = "dd if=/dev/sda of=/dev/null bs=4k skip=100 count=1 iflag=direct 2>/dev/null & \
            sleep 1; kill -0 $! && sg_reset -d /dev/sda && wait $!";
        must(&mut guest, read);
        assert_eq!(daemon.stats().counters.injected, silence);
    }
    must(&mut guest, USE_IT);
    guest.power_off().unwrap();
    assert_clean(daemon);
}

/// Three controllers, of which one has three units, in one boot.
#[test]
fn several_disks_come_up_in_one_boot() {
    let flags = ["--pi-type", "1"];
    let units = ["--blk-file", "disk.img", "--blk-file", "b.img", "--blk-file", "c.img"];
    let daemons = [start(&flags), start(&flags), start(&[&flags[..], &units].concat())];
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let since = std::time::Instant::now();
    let mut guest = boot_with(&kernel, &daemons.each_ref(), dir.path(), true);
    eprintln!("five disks: booted in {:?}", since.elapsed());
    let count = "for i in $(seq 600); do test $(ls /sys/block | grep -c ^sd) = 5 && exit 0; \
        sleep 0.1; done; ls /sys/block; exit 1";
    must(&mut guest, count);
    eprintln!("five disks: there after {:?}", since.elapsed());
    let write = "for disk in /dev/sd[a-e]; do \
        cat /sys/block/${disk#/dev/}/integrity/format; \
        dd if=/dev/zero of=$disk bs=64k count=16 oflag=direct 2>&1 || exit 1; done";
    let told = must(&mut guest, write);
    assert_eq!(told.matches("T10-DIF-TYPE1-CRC").count(), 5, "{told}");

    // A unit that is unplugged goes away in the guest, and comes back when it is plugged in again.
    let disks = |count: usize| {
        format!(
            "for i in $(seq 100); do test $(ls /sys/block | grep -c ^sd) = {count} && exit 0; \
            sleep 0.1; done; ls /sys/block; exit 1"
        )
    };
    daemons[2].ask(Request::Unplug { lun: 1 });
    must(&mut guest, &disks(4));
    daemons[2].ask(Request::Plug { lun: 1 });
    must(&mut guest, &disks(5));

    // An image that grows is a larger disk in the guest, without a word of ours there.
    let grown = std::fs::File::options().write(true).open(daemons[0].disk()).unwrap();
    grown.set_len(96 << 20).unwrap();
    must(
        &mut guest,
        "for i in $(seq 100); do grep -qx 196608 /sys/block/sd?/size && exit 0; sleep 0.1; done; \
        cat /sys/block/sd?/size; exit 1",
    );
    guest.power_off().unwrap();
    let blocks: u64 =
        daemons.map(assert_clean).iter().map(|records| records.stop().blocks_checked).sum();
    assert!(blocks >= 5 * 2048, "{blocks}");
}

#[test]
fn sg3_utils_agree_with_the_image() {
    let daemon = start(&["--pi-type", "1"]);
    let (kernel, dir) = (kernel(), tempfile::tempdir().unwrap());
    let mut guest = boot(&kernel, &daemon, dir.path(), true);
    await_disk(&mut guest);

    let capacity = must(&mut guest, "sg_readcap -l /dev/sda");
    for words in ["prot_en=1, p_type=0", "lbpme=1, lbprz=1", "Last LBA=131071", "length=512 bytes"]
    {
        assert!(capacity.contains(words), "{words}: {capacity}");
    }
    let inquiry = must(&mut guest, "sg_inq -d /dev/sda");
    for words in ["DIXTRAP", "DIX disk", "Protect=1", "SPC-5", "SBC-4"] {
        assert!(inquiry.contains(words), "{words}: {inquiry}");
    }
    let pages = must(&mut guest, "sg_vpd -a /dev/sda");
    for words in [
        "Unit serial number",
        "designator type: NAA",
        "GRD_CHK=1 APP_CHK=1 REF_CHK=1",
        "Maximum transfer length: 65536 blocks",
        "Non-rotating medium",
        "Unmap command supported (LBPU): 1",
    ] {
        assert!(pages.contains(words), "{words}: {pages}");
    }
    let modes = must(&mut guest, "sg_modes -a /dev/sda");
    for words in ["Caching", "Control", "Informational exceptions"] {
        assert!(modes.contains(words), "{words}: {modes}");
    }
    let opcodes = must(&mut guest, "sg_opcodes -n /dev/sda");
    for words in ["Read(10)", "Compare and write", "Write same(32)", "Read capacity(16)"] {
        assert!(opcodes.contains(words), "{words}: {opcodes}");
    }

    // What sg_dd writes is in the image; sg_verify finds it there, and misses what is not.
    must(&mut guest, "dd if=/dev/urandom of=/tmp/x bs=512 count=64 2>&1");
    must(&mut guest, "sg_dd if=/tmp/x of=/dev/sg0 bs=512 seek=1000 count=64 2>&1");
    must(&mut guest, "sg_dd if=/dev/sg0 of=/tmp/y bs=512 skip=1000 count=64 2>&1");
    let sum = must(&mut guest, "cmp /tmp/x /tmp/y && md5sum </tmp/x");
    must(&mut guest, "sg_verify --lba=0 --count=2000 /dev/sg0");
    must(&mut guest, "sg_verify --lba=1000 --count=64 --ndo=32768 --in=/tmp/x /dev/sg0");
    let shifted = "sg_verify --lba=1001 --count=63 --ndo=32256 --in=/tmp/x /dev/sg0 2>&1";
    let (status, text) = shell(&mut guest, shifted, Duration::from_secs(60));
    assert_eq!(status, ExitStatus::Code(14), "MISCOMPARE: {text}");
    guest.power_off().unwrap();
    let bytes = daemon.disk_bytes();
    let written = &bytes[1000 * 512..1064 * 512];
    let output = std::process::Command::new("sh")
        .args(["-c", "md5sum"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child.stdin.take().unwrap().write_all(written)?;
            child.wait_with_output()
        })
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), sum);
    assert_clean(daemon);
}
