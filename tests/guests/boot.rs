//! Boots Debian 12's kernel for real. The first run fetches it; later ones need no network.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dixtrap::guest::protocol::{ExitStatus, Stream};
use dixtrap::runner::guest::initramfs::{Carried, GuestFile, find_program};
use dixtrap::runner::guest::probe;
use dixtrap::runner::guest::{BootError, BootRequest, Exec, ExecResult, Guest, GuestError};
use dixtrap::runner::host::accel::{Accel, AccelMode};
use dixtrap::runner::host::blame::Blame;
use dixtrap::runner::host::child::spawn_tied;
use dixtrap::runner::host::machine::Machine;
use dixtrap::runner::host::qemu::Disk;
use dixtrap::runner::kernel::Kernel;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::booted::kernel;
use crate::kit::eventually;

fn boot<'a>(kernel: &'a Kernel, dir: &Path) -> BootRequest<'a> {
    BootRequest::new(kernel, Accel::Tcg, dir)
}

fn shell(guest: &mut Guest, script: &str) -> Result<(ExecResult, String), GuestError> {
    let exec = Exec {
        argv: ["sh", "-c", script].map(String::from).to_vec(),
        env: BTreeMap::from([("NAME".into(), "value".into())]),
        timeout: Duration::from_secs(20),
        watch: Some("/proc/sys/kernel/ostype".into()),
    };
    let mut text = String::new();
    let result = guest.exec(&exec, &mut |line| {
        let mark = if line.stream == Stream::Stderr { "! " } else { "" };
        text.push_str(&format!("{mark}{}\n", line.text));
    })?;
    Ok((result, text))
}

/// One boot serves many questions: what it runs, its disk and file system, time-outs, power-off.
#[test]
fn a_guest_runs_commands_and_uses_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let kernel = kernel();
    let mut request = boot(&kernel, &dir.path().join("boot"));
    request.require = vec!["virtio_blk".into()];
    request.wish = vec!["ext4".into(), "no_such_driver".into()];
    request.carried = Carried::programs(find_program("mkfs.ext4"));
    let contents = b"#!/bin/sh\necho hello from $0\n".to_vec();
    request.files = vec![GuestFile { path: "/dixtrap/hello.sh".into(), mode: 0o755, contents }];
    request.disks = vec![Disk::File { path: disk, read_only: false }];
    let started = Instant::now();
    let mut guest = dixtrap::runner::guest::boot(&request).unwrap();
    eprintln!("booted {} in {:?}", guest.release(), started.elapsed());
    assert_eq!(guest.release(), kernel.release);
    assert_eq!(guest.missing_wishes(), ["no_such_driver"]);
    assert!(guest.drivers().iter().any(|name| name == "virtio_blk"), "{:?}", guest.drivers());

    let (result, text) =
        shell(&mut guest, "uname -r; cat /proc/partitions; echo $NAME >&2").unwrap();
    assert!(result.status.success());
    assert!(text.starts_with(&kernel.release) && text.contains(" vda\n"), "{text}");
    assert!(text.contains("! value\n"), "{text}");
    let (result, text) = shell(&mut guest, "exec /dixtrap/hello.sh").unwrap();
    assert_eq!(
        (result.status, text.as_str()),
        (ExitStatus::Code(0), "hello from /dixtrap/hello.sh\n")
    );
    let script =
        "mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && echo x >/mnt/x && umount /mnt";
    let (result, text) = shell(&mut guest, script).unwrap();
    assert!(result.status.success(), "{text}");
    assert!(guest.read_file("/proc/filesystems").unwrap().contains("ext4"));

    // What a program leaves behind ends with it, in whatever session it hides.
    let script = "setsid sleep 1000 & setsid sh -c 'sleep 1001 & sleep 1002' & sleep 0.5";
    let (result, _) = shell(&mut guest, script).unwrap();
    assert!(
        result.status.success() && result.left_behind.contains(&"sleep".to_owned()),
        "{result:?}"
    );
    let (_, text) = shell(&mut guest, "ps").unwrap();
    assert!(!text.contains("sleep 100"), "{text}");

    let error = guest.read_file("/no/such").unwrap_err();
    assert!(!error.is_fatal() && error.to_string().contains("/no/such"), "{error}");
    let argv = ["sh", "-c", "sleep 100 & wait"].map(String::from).to_vec();
    let slow = Exec { argv, timeout: Duration::from_secs(1), ..Exec::default() };
    let result = guest.exec(&slow, &mut |_| {}).unwrap();
    assert_eq!(result.status, ExitStatus::TimedOut { stuck: false });
    guest.power_off().unwrap();
}

#[test]
fn a_panic_is_told_with_the_consoles_end() {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), kernel());
    let mut guest = dixtrap::runner::guest::boot(&boot(&kernel, dir.path())).unwrap();
    let error = shell(&mut guest, "echo c >/proc/sysrq-trigger").unwrap_err();
    assert!(matches!(&error, GuestError::Panic { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Kernel);
    let text = error.to_string();
    assert!(text.contains("sysrq triggered crash") && text.lines().count() > 5, "{text}");
}

/// The line of an oops may be missed: the kernel knows that it had one.
#[test]
fn a_kernel_that_came_to_harm_is_lost_though_its_console_was_silent() {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), kernel());
    let mut guest = dixtrap::runner::guest::boot(&boot(&kernel, dir.path())).unwrap();
    // W, L, and as the kernel itself sets it, D: whether that was before the guest was first put back,
    // or later.
    shell(&mut guest, "echo 16896 >/proc/sys/kernel/tainted").unwrap();
    assert!(guest.reset("/dev/vda").is_ok());
    let notes = guest.take_notes().lines().join("\n");
    assert!(notes.contains("taint W") && notes.contains("taint L"), "{notes}");
    shell(&mut guest, "echo 128 >/proc/sys/kernel/tainted").unwrap();
    let error = guest.reset("/dev/vda").unwrap_err();
    assert!(matches!(&error, GuestError::Tainted { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Kernel);
    let mut guest = dixtrap::runner::guest::boot(&boot(&kernel, dir.path())).unwrap();
    shell(&mut guest, "echo 128 >/proc/sys/kernel/tainted").unwrap();
    let error = guest.reset("/dev/vda").unwrap_err();
    assert!(matches!(&error, GuestError::Tainted { .. }), "{error}");
}

#[test]
fn a_restart_is_survived_and_a_killed_qemu_is_told() {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), kernel());
    let socket = dir.path().join("disk.sock");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_dixtrapd"));
    daemon.arg("--socket-path").arg(&socket).args(["--size", "16M", "--num-queues", "2"]);
    let _daemon = spawn_tied(daemon).unwrap();
    eventually("the daemon's socket", || socket.exists().then_some(()));
    let mut request = boot(&kernel, dir.path());
    request.allow_reboot = true;
    request.require = vec!["virtio_blk".into()];
    request.disks = vec![Disk::VhostUserBlk { socket, queues: 2 }];
    let mut guest = dixtrap::runner::guest::boot(&request).unwrap();
    let script = "touch /tmp/before; echo written | dd of=/dev/vda conv=fsync 2>&1";
    let (result, text) = shell(&mut guest, script).unwrap();
    assert!(result.status.success(), "{text}");
    guest.reboot().unwrap();
    let (_, text) = shell(&mut guest, "ls /tmp; head -n 1 /dev/vda").unwrap();
    assert_eq!(text, "written\n", "memory is gone, the disk is not");

    let id = i32::try_from(guest.qemu_id()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    let error = shell(&mut guest, "sleep 10").unwrap_err();
    assert!(matches!(&error, GuestError::QemuExited { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Host);
}

#[test]
fn what_cannot_boot_is_told_apart() {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), kernel());
    let mut request = boot(&kernel, dir.path());
    request.require = vec!["no_such_driver".into()];
    let error = dixtrap::runner::guest::boot(&request).unwrap_err();
    assert_eq!((error.blame(), matches!(error, BootError::Modules(_))), (Blame::Kernel, true));

    // Debian's kernel has hardly anything built in.
    let mut bare = kernel.clone();
    bare.modules = None;
    let error = dixtrap::runner::guest::boot(&boot(&bare, dir.path())).unwrap_err();
    assert_eq!(error.blame(), Blame::Kernel);
    assert!(error.to_string().contains("--modules"), "{error}");

    // A backend that is not there: QEMU would not start, and no kernel is to blame.
    let mut request = boot(&kernel, dir.path());
    request.disks = vec![Disk::VhostUserBlk { socket: dir.path().join("gone"), queues: 1 }];
    let error = dixtrap::runner::guest::boot(&request).unwrap_err();
    assert_eq!(error.blame(), Blame::Host);
    assert!(error.to_string().contains("gone"), "{error}");

    // No time at all: the kernel did not come up.
    let mut request = boot(&kernel, dir.path());
    request.boot_timeout = Duration::from_millis(200);
    let error = dixtrap::runner::guest::boot(&request).unwrap_err();
    assert!(matches!(&error, BootError::Kernel(GuestError::TimedOut { .. })), "{error}");
    assert_eq!(error.blame(), Blame::Kernel);
}

/// On a machine whose KVM works it is taken; elsewhere one line says why not.
#[test]
fn an_accelerator_is_chosen_by_a_real_boot() {
    let (dir, kernel) = (tempfile::tempdir().unwrap(), kernel());
    let (machine, started) = (Machine::default(), Instant::now());
    let (accel, notice) = probe::choose(AccelMode::Auto, &kernel, &machine, dir.path()).unwrap();
    eprintln!("{accel:?} in {:?}: {notice:?}", started.elapsed());
    assert_eq!(accel == Accel::Kvm, notice.is_none());
    assert!(notice.is_none_or(|line| line.lines().count() == 1 && line.contains("using TCG")));
    assert!(started.elapsed() < Duration::from_secs(40));
    let (accel, notice) = probe::choose(AccelMode::Tcg, &kernel, &machine, dir.path()).unwrap();
    assert_eq!((accel, notice), (Accel::Tcg, None));
}
