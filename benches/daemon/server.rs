//! The servers that are held against each other: each on a file of its own with the same contents.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// The peer that everybody has: in Debian's qemu-utils and its dependencies.
const STORAGE_DAEMON: &str = "qemu-storage-daemon";

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// dixtrapd, window 0, everything checked.
    Checked,
    /// dixtrapd with its checks switched off: no samples, no guards, no protection information.
    Unchecked,
    /// dixtrapd past the page cache, everything checked.
    Direct,
    /// qemu-storage-daemon past the page cache, with a pool of threads.
    DirectThreads,
    /// qemu-storage-daemon past the page cache, with io_uring.
    DirectUring,
    /// qemu-storage-daemon with a pool of threads.
    Threads,
    /// qemu-storage-daemon with io_uring.
    Uring,
}

impl Kind {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Checked => "dixtrapd",
            Kind::Unchecked => "dixtrapd-unchecked",
            Kind::Direct => "dixtrapd-direct",
            Kind::DirectThreads => "qsd-threads-direct",
            Kind::DirectUring => "qsd-io_uring-direct",
            Kind::Threads => "qsd-threads",
            Kind::Uring => "qsd-io_uring",
        }
    }

    const fn is_ours(self) -> bool {
        matches!(self, Kind::Checked | Kind::Unchecked | Kind::Direct)
    }

    /// Whether it can be started here; says so where it cannot.
    pub fn is_installed(self) -> bool {
        if self.is_ours() {
            return true;
        }
        let version = Command::new(STORAGE_DAEMON).arg("--version").stdout(Stdio::null()).status();
        let installed = version.is_ok_and(|status| status.success());
        if !installed {
            println!("{STORAGE_DAEMON} is not installed: {} is left out", self.name());
        }
        installed
    }
}

/// A running server; its file and sockets lie in a folder of their own.
pub struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts a server over a new file of `disk_bytes`.
    pub fn start(kind: Kind, parent: &Path, disk_bytes: u64) -> anyhow::Result<Server> {
        let window: &[&str] = if kind.is_ours() { &["--window", "0"] } else { &[] };
        Server::start_with(kind, parent, disk_bytes, window)
    }

    /// Starts it with more arguments.
    pub fn start_with(
        kind: Kind,
        parent: &Path,
        disk_bytes: u64,
        more: &[&str],
    ) -> anyhow::Result<Server> {
        let folder = tempfile::Builder::new().prefix(kind.name()).tempdir_in(parent)?.keep();
        let mut command = match kind {
            Kind::Checked => dixtrapd(&folder, disk_bytes, &[]),
            Kind::Unchecked => {
                dixtrapd(&folder, disk_bytes, &["--benchmark-without-checks", "--pi-type=0"])
            }
            Kind::Direct => dixtrapd(&folder, disk_bytes, &["--direct"]),
            Kind::Threads => storage_daemon(&folder, disk_bytes, "threads")?,
            Kind::Uring => storage_daemon(&folder, disk_bytes, "io_uring")?,
            Kind::DirectThreads => storage_daemon(&folder, disk_bytes, "threads,cache.direct=on")?,
            Kind::DirectUring => storage_daemon(&folder, disk_bytes, "io_uring,cache.direct=on")?,
        };
        let child = command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {}", kind.name()))?;
        let mut server = Server { child, folder };
        server.await_socket()?;
        Ok(server)
    }

    fn await_socket(&mut self) -> anyhow::Result<()> {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !self.socket().exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once ({status})");
            }
            if Instant::now() > give_up {
                bail!("the server does not listen");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Its control socket, if it is dixtrapd.
    pub fn control(&self) -> PathBuf {
        self.folder.join("control")
    }

    /// The processor time that it has used, all threads together.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let clock: ClockId = clock_getcpuclockid(self.pid())?;
        Ok(Duration::from(nix::time::clock_gettime(clock)?))
    }

    /// Bytes of memory that are its own: neither shared with the client nor part of a file.
    pub fn private_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no RssAnon")?;
        Ok(kib.parse::<u64>()? << 10)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn dixtrapd(folder: &Path, disk_bytes: u64, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dixtrapd"));
    command.arg("--socket-path").arg(folder.join("socket"));
    command.arg("--control").arg(folder.join("control"));
    command.arg("--blk-file").arg(folder.join("disk.raw"));
    command.args(["--size", &disk_bytes.to_string()]).args(more);
    command
}

fn storage_daemon(folder: &Path, disk_bytes: u64, aio: &str) -> anyhow::Result<Command> {
    let disk = folder.join("disk.raw");
    File::create(&disk)?.set_len(disk_bytes)?;
    let mut command = Command::new(STORAGE_DAEMON);
    let (disk, socket) = (disk.display(), folder.join("socket"));
    command.arg("--blockdev").arg(format!("driver=file,node-name=disk,filename={disk},aio={aio}"));
    command.arg("--export").arg(format!(
        "type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues=1,\
         addr.type=unix,addr.path={}",
        socket.display()
    ));
    Ok(command)
}
