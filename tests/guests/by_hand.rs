//! dixtrapd behind QEMU as qemu/boot.sh starts it, with a stock kernel.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dixtrap::runner::host::child::spawn_tied;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::eventually;
use crate::kit::programs::Guarded;

/// Boots, leaves a mark on the disk, restarts, finds the mark, powers off.
const MARK_AND_REBOOT: &str = "
if [ \"$(head -c 4 /dev/vda)\" = MARK ]; then
    echo guest: the mark is there
else
    echo guest: no mark yet
    printf MARK | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
    reboot -f
fi";

/// Reads, writes and looks after a file in memory, for ever.
const LOAD: &str = "
head -c 8M /dev/urandom >/witness
md5sum /witness >/sum
while :; do echo guest: sectors $(cat /sys/block/vda/size); sleep 1; done &
while :; do md5sum -c /sum >/dev/null 2>&1 && echo guest: sound || echo guest: DAMAGED; sleep 1; done &
while dd if=/dev/urandom of=/dev/vda bs=4k count=8 seek=1024 conv=fsync 2>/dev/null; do
    echo guest: wrote
done &
while echo 3 >/proc/sys/vm/drop_caches; do
    dd if=/dev/vda of=/dev/null bs=64k count=16 2>/dev/null && echo guest: read
done";

fn start_daemon(dir: &Path) -> Guarded {
    let daemon = Command::new(env!("CARGO_BIN_EXE_dixtrapd"))
        .args(["--socket-path", "disk.sock", "--blk-file", "disk.img", "--size", "64M"])
        .args(["--races", "races.jsonl", "--control", "ctl.sock"])
        .current_dir(dir)
        .spawn()
        .unwrap();
    eventually("dixtrapd's socket", || dir.join("disk.sock").exists().then_some(()));
    Guarded(daemon)
}

/// The launch line of qemu/ for the guest in `dir`, behind the words of `before`.
fn qemu(dir: &Path, before: &[&str]) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/qemu/boot.sh");
    let words = [before, &[script]].concat();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(["disk.sock", "-kernel", "vmlinuz", "-initrd", "initrd.img"])
        .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"])
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// Boots the guest in `dir` and returns what its console said.
fn boot(dir: &Path) -> String {
    let output = qemu(dir, &["timeout", "--kill-after=5", "240"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "QEMU ended with {}: {errors}{said}", output.status);
    said
}

#[test]
fn the_guest_survives_a_reboot_and_the_daemon_the_next_qemu() {
    let dir = TempDir::new().unwrap();
    crate::booted::plain::write(dir.path(), MARK_AND_REBOOT);
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
    assert!(daemon.wait().unwrap().success());
    assert_eq!(fs::read(dir.path().join("disk.img")).unwrap()[..4], *b"MARK");
    let records = fs::read_to_string(dir.path().join("races.jsonl")).unwrap();
    assert!(records.lines().last().unwrap().contains(r#""type":"stop""#), "{records}");
}

/// The console of a guest that runs on.
struct Console(Receiver<String>);

impl Console {
    fn of(child: &mut Child) -> Console {
        let (sender, receiver) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Console(receiver)
    }

    /// Waits until the guest has said these words `count` times more.
    fn hears(&self, words: &str, count: usize) {
        let limit = Instant::now() + Duration::from_secs(60);
        let mut heard = 0;
        while heard < count {
            let line = self.0.recv_timeout(limit.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("'{words}' was heard {heard} times"));
            assert!(!line.contains("DAMAGED") && !line.contains("Call Trace"), "{line}");
            heard += usize::from(line.contains(words));
        }
    }
}

/// `-set chardev.dixtrap.reconnect=1`, as this QEMU spells it.
fn reconnecting(mut command: Command) -> Command {
    let said = Command::new("qemu-system-x86_64").arg("--version").output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut numbers = said.split("version ").nth(1).unwrap().split('.').map(str::parse::<u32>);
    let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
    let option = if version < (9, 2) { "reconnect=1" } else { "reconnect-ms=1000" };
    command.args(["-set", &format!("chardev.dixtrap.{option}")]);
    command
}

/// How often the daemon is killed: `make soak` asks for more.
fn kills() -> u32 {
    std::env::var("DIXTRAP_GUEST_KILLS").map_or(5, |kills| kills.parse().unwrap())
}

#[test]
fn a_guest_outlives_a_daemon_that_ends_in_order_and_some_that_are_killed() {
    let dir = TempDir::new().unwrap();
    crate::booted::plain::write(dir.path(), LOAD);
    let mut daemon = start_daemon(dir.path());
    let mut command = reconnecting(qemu(dir.path(), &[]));
    command.stdout(Stdio::piped());
    let mut guest = spawn_tied(command).unwrap();
    let console = Console::of(guest.child());
    console.hears("guest: wrote", 3);
    console.hears("guest: read", 3);

    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().unwrap().success());
    let mut daemon = start_daemon(dir.path());
    console.hears("guest: wrote", 3);
    console.hears("guest: read", 3);

    for kill in 0..kills() {
        // One write is held while reads are answered, so that the rings do not tell what is to be done: the
        // region that QEMU keeps does.
        let held = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
            .args(["ctl", "ctl.sock", "window", "hold"])
            .current_dir(dir.path())
            .status();
        assert!(held.unwrap().success());
        console.hears("guest: read", 5);
        daemon.signal(Signal::SIGKILL);
        daemon.wait().unwrap();
        fs::remove_file(dir.path().join("disk.sock")).unwrap();
        daemon = start_daemon(dir.path());
        console.hears("guest: wrote", 3);
        console.hears("guest: read", 3);
        let records = fs::read_to_string(dir.path().join("races.jsonl")).unwrap();
        assert!(!records.contains(r#""type":"broken""#), "kill {kill}: {records}");
        assert!(!records.contains(r#""type":"race""#), "kill {kill} invented a race: {records}");
    }
    console.hears("guest: sound", 3);
    // A stock driver follows an image that grows.
    let image = fs::File::options().write(true).open(dir.path().join("disk.img")).unwrap();
    image.set_len(96 << 20).unwrap();
    console.hears("guest: sectors 196608", 1);
    console.hears("guest: wrote", 1);
    drop(guest);
    drop(daemon);
}
