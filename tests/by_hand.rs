//! dixtrapd behind QEMU as qemu/boot.sh starts it, with a stock kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may state what they know")]

mod plain_guest;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Boots, leaves a mark on the disk, restarts, finds the mark, powers off.
const MARK_AND_REBOOT: &str = "
if [ \"$(head -c 4 /dev/vda)\" = MARK ]; then
    echo guest: the mark is there
else
    echo guest: no mark yet
    printf MARK | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
    reboot -f
fi";

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended by itself when all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_daemon(dir: &Path) -> Daemon {
    let daemon = Command::new(env!("CARGO_BIN_EXE_dixtrapd"))
        .args(["--socket-path", "disk.sock", "--blk-file", "disk.img", "--size", "64M"])
        .args(["--races", "races.jsonl", "--control", "ctl.sock"])
        .current_dir(dir)
        .spawn()
        .unwrap();
    let daemon = Daemon(daemon);
    let limit = Instant::now() + Duration::from_secs(20);
    while !dir.join("disk.sock").exists() {
        assert!(Instant::now() < limit, "dixtrapd made no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon
}

/// Boots the guest in `dir` with the launch line of qemu/ and returns what its console said.
fn boot(dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu/boot.sh");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "240"])
        .arg(script)
        .args(["disk.sock", "-kernel", "vmlinuz", "-initrd", "initrd.img"])
        .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "QEMU ended with {}: {errors}{said}", output.status);
    said
}

#[test]
fn the_guest_survives_a_reboot_and_the_daemon_the_next_qemu() {
    let dir = TempDir::new().unwrap();
    plain_guest::write(dir.path(), MARK_AND_REBOOT);
    let mut daemon = start_daemon(dir.path());

    let first = boot(dir.path());
    let before = first.find("no mark yet").unwrap_or_else(|| panic!("no first boot: {first}"));
    let after = first.find("the mark is there").unwrap_or_else(|| panic!("no second: {first}"));
    assert!(before < after, "{first}");

    let second = boot(dir.path());
    assert!(second.contains("the mark is there") && !second.contains("no mark yet"), "{second}");

    let quit = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["ctl", "ctl.sock", "quit"])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(quit.success());
    assert!(daemon.0.wait().unwrap().success());
    assert_eq!(fs::read(dir.path().join("disk.img")).unwrap()[..4], *b"MARK");
    let records = fs::read_to_string(dir.path().join("races.jsonl")).unwrap();
    assert!(records.lines().last().unwrap().contains(r#""type":"stop""#), "{records}");
}
