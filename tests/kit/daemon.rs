//! The daemon under test: the real binary, with a directory of its own.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dixtrap::control::{Client, Reply, Request, Stats};
use dixtrap::record::MarkState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::eventually;
use super::guest::{Guest, Plug};
use super::records::Records;

/// A daemon that hangs is killed after this long, so that the test fails instead of hanging too.
const WATCHDOG: Duration = Duration::from_secs(90);

/// The size of the disk where a test does not say.
pub const DISK_BYTES: u64 = 1 << 20;

/// A running `dixtrapd`.
pub struct Daemon {
    child: Child,
    dir: Arc<TempDir>,
    ended: bool,
    watchdog: Watchdog,
}

impl Daemon {
    /// Starts the daemon on a new disk of 1 MiB with these arguments besides the sockets and files.
    pub fn start(args: &[&str]) -> Daemon {
        Daemon::start_in(Arc::new(TempDir::new().unwrap()), args)
    }

    /// Starts it in a directory that may have been used before.
    pub fn start_in(dir: Arc<TempDir>, args: &[&str]) -> Daemon {
        Daemon::launch(dir, args, WATCHDOG)
    }

    /// As [`Daemon::start`], with another standard error than a file, and what is said there (`RUST_LOG`).
    pub fn start_saying(stderr: impl Into<Stdio>, level: &str, args: &[&str]) -> Daemon {
        Daemon::launch_saying(
            Some((stderr.into(), level)),
            Arc::new(TempDir::new().unwrap()),
            args,
            WATCHDOG,
        )
    }

    /// As [`Daemon::start`], for a test that needs it for longer than usual: real guests boot slowly on
    /// a busy machine.
    pub fn start_for(limit: Duration, args: &[&str]) -> Daemon {
        Daemon::launch(Arc::new(TempDir::new().unwrap()), args, limit)
    }

    fn launch(dir: Arc<TempDir>, args: &[&str], limit: Duration) -> Daemon {
        Daemon::launch_saying(None, dir, args, limit)
    }

    fn launch_saying(
        says: Option<(Stdio, &str)>,
        dir: Arc<TempDir>,
        args: &[&str],
        limit: Duration,
    ) -> Daemon {
        let mut command = command(dir.path(), args);
        let output = |name| File::options().create(true).append(true).open(dir.path().join(name));
        command.stdin(Stdio::null()).stdout(output("stdout").unwrap());
        command.stderr(output("stderr").unwrap());
        if let Some((stderr, level)) = says {
            command.stderr(stderr).env("RUST_LOG", level);
        }
        let child = command.spawn().expect("dixtrapd starts");
        let watchdog = Watchdog::over(Pid::from_raw(child.id() as i32), limit);
        let mut daemon = Daemon { child, dir, ended: false, watchdog };
        daemon.await_sockets();
        daemon
    }

    fn await_sockets(&mut self) {
        eventually("the daemon's sockets", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                panic!("dixtrapd ended at once ({status}): {}", self.stderr());
            }
            let up = self.socket().exists() && Client::connect(&self.control_path()).is_ok();
            up.then_some(())
        });
    }

    /// The directory with everything of this daemon.
    pub fn dir(&self) -> Arc<TempDir> {
        Arc::clone(&self.dir)
    }

    /// A file of this daemon's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The vhost-user socket.
    pub fn socket(&self) -> PathBuf {
        self.file("blk.sock")
    }

    /// The control socket.
    pub fn control_path(&self) -> PathBuf {
        self.file("control.sock")
    }

    /// The image.
    pub fn disk(&self) -> PathBuf {
        self.file("disk.img")
    }

    /// The image's bytes as they are now.
    pub fn disk_bytes(&self) -> Vec<u8> {
        fs::read(self.disk()).unwrap()
    }

    /// What the daemon said on stderr.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap_or_default()
    }

    /// The records written so far.
    pub fn records(&self) -> Records {
        Records::read(&self.file("races.jsonl"))
    }

    /// A new guest with one ring and every feature offered.
    pub fn guest(&self) -> Guest {
        Guest::plug(&self.socket(), Plug::default())
    }

    /// A new guest, put together another way.
    pub fn plug(&self, plug: Plug) -> Guest {
        Guest::plug(&self.socket(), plug)
    }

    /// A new client of the control socket.
    pub fn control(&self) -> Client {
        Client::connect(&self.control_path()).unwrap()
    }

    /// One request over the control socket that has to succeed.
    pub fn ask(&self, request: Request) -> Reply {
        self.control().ask(&request).unwrap()
    }

    /// The counters and the state.
    pub fn stats(&self) -> Stats {
        *self.ask(Request::Stats).stats.expect("stats answers with stats")
    }

    /// Opens a label.
    pub fn mark(&self, label: &str) -> Reply {
        self.ask(Request::Mark { label: label.to_owned(), state: MarkState::Begin })
    }

    /// Closes a label.
    pub fn unmark(&self, label: &str) -> Reply {
        self.ask(Request::Mark { label: label.to_owned(), state: MarkState::End })
    }

    /// Waits until exactly `count` writes are in their window.
    pub fn await_held(&self, count: u64) {
        eventually(&format!("{count} held writes"), || (self.stats().held == count).then_some(()));
    }

    /// Lets every held write go; answers how many.
    pub fn release(&self) -> u64 {
        self.ask(Request::Release).released.expect("release answers with a number")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end, however it comes about.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the daemon's end", || self.child.try_wait().unwrap());
        self.ended = true;
        status
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends the daemon with SIGTERM: it has to drain, write its last record and exit with 0.
    pub fn stop(mut self) -> Records {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "SIGTERM ended with {status}: {}", self.stderr());
        self.records()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ended {
            if let Ok(Some(status)) = self.child.try_wait() {
                eprintln!("--- dixtrapd had ended before: {status}");
            }
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let stderr = self.stderr();
        if std::thread::panicking() {
            eprintln!("--- dixtrapd said:\n{stderr}---");
            return;
        }
        assert!(!self.watchdog.barked(), "dixtrapd hung: it ran for too long:\n{stderr}");
        assert!(!stderr.contains("panicked"), "dixtrapd panicked:\n{stderr}");
    }
}

/// The command line: what every daemon here gets, and what the test adds. A test that names its
/// own disk, records or socket replaces the usual one.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dixtrapd"));
    command.current_dir(dir).env("RUST_LOG", "info").env("RUST_BACKTRACE", "0");
    let usual = [
        ("--socket-path", "blk.sock"),
        ("--control", "control.sock"),
        ("--races", "races.jsonl"),
        ("--blk-file", "disk.img"),
    ];
    for (flag, value) in usual {
        let in_memory = flag == "--blk-file" && args.contains(&"--memory");
        if !in_memory && !args.contains(&flag) {
            command.args([flag, value]);
        }
    }
    if !args.contains(&"--size") && !args.contains(&"--no-size") && !dir.join("disk.img").exists() {
        command.args(["--size", &DISK_BYTES.to_string()]);
    }
    // Words to this harness, not flags of the daemon.
    command.args(args.iter().filter(|arg| !["--memory", "--no-size"].contains(arg)));
    command
}

/// `dixtrap image check` finds nothing wrong with this image.
pub fn image_is_sound(image: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["image", "check"])
        .arg(image)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How a daemon ended that should not have started.
pub struct Refusal {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Refusal {
    /// Runs the daemon in `dir`; it has to end by itself.
    pub fn of(dir: &Path, args: &[&str]) -> Refusal {
        let mut child = command(dir, args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let watchdog = Watchdog::over(Pid::from_raw(child.id() as i32), WATCHDOG);
        let mut stderr = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        let status = child.wait().unwrap();
        assert!(!watchdog.barked(), "dixtrapd did not refuse {args:?}");
        Refusal { status, stderr }
    }

    /// Not 0, not a signal, and one line on stderr that contains all of `words`.
    pub fn says(&self, words: &[&str]) {
        assert!(!self.status.success() && self.status.signal().is_none(), "{}", self.status);
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "one line, not:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' in: {}", self.stderr);
        }
    }
}

/// Kills one process after a while unless dropped before.
struct Watchdog {
    barked: Arc<AtomicBool>,
    _leash: mpsc::Sender<()>,
}

impl Watchdog {
    fn over(pid: Pid, limit: Duration) -> Watchdog {
        let barked = Arc::new(AtomicBool::new(false));
        let (leash, pulled) = mpsc::channel::<()>();
        let bark = Arc::clone(&barked);
        std::thread::spawn(move || {
            if pulled.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                bark.store(true, Ordering::SeqCst);
                // It may have ended in the meantime.
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        Watchdog { barked, _leash: leash }
    }

    fn barked(&self) -> bool {
        self.barked.load(Ordering::SeqCst)
    }
}
