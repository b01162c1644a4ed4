//! QEMU's command line, and QEMU's process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::guest::protocol::PORT_NAME;
use crate::runner::host::accel::Accel;
use crate::runner::host::child::{ChildGuard, spawn_tied};
use crate::runner::host::tools::{ToolError, find_program, is_program};

const PROGRAM: &str = "qemu-system-x86_64";

/// The files of a boot, in its directory. QEMU works in that directory, so that a path of any length
/// will do (a socket's address holds 107 bytes).
pub const CONSOLE: &str = "console.log";
/// The socket of the virtio-serial port.
pub const LINK: &str = "link.sock";
/// The initramfs.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The kernel's image.
pub const KERNEL: &str = "vmlinuz";
/// QEMU's own messages.
pub const MESSAGES: &str = "qemu.log";

/// A disk of the guest, in the order of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// A vhost-user-blk backend that listens on `socket`.
    VhostUserBlk {
        /// Its socket.
        socket: PathBuf,
        /// How many request queues the guest gets; no more than the backend has.
        queues: u16,
    },
    /// A vhost-user-scsi backend that listens on `socket`.
    VhostUserScsi {
        /// Its socket.
        socket: PathBuf,
        /// How many request queues the guest gets; no more than the backend has.
        queues: u16,
        /// Whether the guest may send protection information.
        t10_pi: bool,
    },
    /// QEMU's own virtio-blk over a raw file.
    File {
        /// The file.
        path: PathBuf,
        /// The guest may only read.
        read_only: bool,
    },
}

impl Disk {
    /// Where its back end listens, where it has one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Disk::VhostUserBlk { socket, .. } | Disk::VhostUserScsi { socket, .. } => Some(socket),
            Disk::File { .. } => None,
        }
    }

    /// The same disk of a back end that listens elsewhere.
    #[must_use]
    pub fn listening_on(&self, elsewhere: &Path) -> Disk {
        let mut disk = self.clone();
        if let Disk::VhostUserBlk { socket, .. } | Disk::VhostUserScsi { socket, .. } = &mut disk {
            elsewhere.clone_into(socket);
        }
        disk
    }
}

/// The plugin that watches stores (`plugin/`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The library.
    pub library: PathBuf,
    /// The file that it shares with `dixtrapd --watch`.
    pub shared: PathBuf,
    /// The version of QEMU's interface that it has to be told.
    pub interface: Option<i32>,
}

impl Plugin {
    /// What the library is told the version by.
    const INTERFACE: &str = "DIXTRAP_PLUGIN_API";

    fn words(&self, arguments: &str) -> String {
        format!("{},{arguments}", doubled(&self.library.display().to_string()))
    }

    fn prepare(&self, command: &mut Command) {
        match self.interface {
            Some(version) => command.env(Self::INTERFACE, version.to_string()),
            None => command.env_remove(Self::INTERFACE),
        };
    }

    /// Has it loaded, and do nothing.
    pub fn add_probe_to(&self, command: &mut Command) {
        command.arg("-plugin").arg(self.words("probe=on"));
        self.prepare(command);
    }
}

/// What the command line is made of.
#[derive(Debug, Clone)]
pub struct QemuConfig<'a> {
    /// The program; the one in PATH where there is none.
    pub program: Option<&'a Path>,
    /// The directory that QEMU works in.
    pub dir: &'a Path,
    /// The plugin that watches its stores.
    pub plugin: Option<&'a Plugin>,
    /// What executes the guest's instructions.
    pub accel: Accel,
    /// The guest's memory.
    pub memory_mib: u32,
    /// The guest's CPUs.
    pub cpus: u32,
    /// The guest's disks.
    pub disks: &'a [Disk],
    /// Words added to the kernel's command line.
    pub append: &'a str,
    /// Words behind all others.
    pub more: &'a [String],
    /// A restart in the guest restarts it; otherwise it ends QEMU.
    pub allow_reboot: bool,
}

/// Why QEMU does not run.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not installed.
    #[error(transparent)]
    Missing(#[from] ToolError),
    /// The one that was asked for is not there.
    #[error("there is no program {}: name QEMU's with --qemu, or leave that out", .0.display())]
    NoSuchProgram(PathBuf),
    /// The one that was asked for is something else.
    #[error("{} is not QEMU: asked for its --version it {said}", .program.display())]
    NotQemu {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        said: String,
    },
    /// Its process or its files cannot be made.
    #[error("cannot start {PROGRAM}")]
    Start(#[from] io::Error),
    /// It ended before the guest's kernel said anything.
    #[error("QEMU would not start ({status}): {message}")]
    WouldNotStart {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
}

/// Finds QEMU: the one that was named, by path or by a name in PATH, else the distribution's.
///
/// # Errors
/// [`QemuError::Missing`], which names the package; [`QemuError::NoSuchProgram`] for one that was named.
pub fn find(named: Option<&Path>) -> Result<PathBuf, QemuError> {
    let Some(named) = named else {
        return find_program(PROGRAM).ok_or_else(|| {
            let (program, package) = (PROGRAM.to_owned(), "qemu-system-x86".to_owned());
            QemuError::Missing(ToolError::Missing { program, package })
        });
    };
    let found = match named.to_str() {
        Some(name) if !name.contains('/') => find_program(name),
        // QEMU works in a directory of its own.
        _ => Some(absolute(named)).filter(|path| is_program(path)),
    };
    found.ok_or_else(|| QemuError::NoSuchProgram(named.to_owned()))
}

/// How long QEMU may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Asks `program` for its version: the first line of what it says.
///
/// # Errors
/// [`QemuError::NotQemu`] where it is something else, or does not answer.
pub fn version(program: &Path) -> Result<String, QemuError> {
    let not = |said: String| QemuError::NotQemu { program: program.to_owned(), said };
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        spawn_tied(command).map_err(|error| not(format!("would not start: {error}")))?;
    let ended = child.wait_at_most(VERSION_LIMIT)?;
    let status =
        ended.ok_or_else(|| not(format!("said nothing for {} s", VERSION_LIMIT.as_secs())))?;
    let mut said = Vec::new();
    if let Some(pipe) = child.child().stdout.take() {
        // It has ended: what it said lies in the pipe.
        pipe.take(4096).read_to_end(&mut said)?;
    }
    let said = String::from_utf8_lossy(&said);
    let line: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
    if line.starts_with("QEMU emulator version ") {
        return Ok(line);
    }
    Err(not(match line.is_empty() {
        true => format!("ended without a word ({status})"),
        false => format!("said '{line}'"),
    }))
}

/// Who talks to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The runner, with the agent in the guest; the console goes to a file.
    Agent,
    /// Somebody at the terminal, which is the guest's console.
    Shell,
}

/// QEMU's arguments. Relative paths in them are relative to the boot's directory.
pub fn arguments(config: &QemuConfig<'_>, front: Front) -> Vec<String> {
    let mut args = Args { words: Vec::new(), dir: config.dir };
    args.add("-machine", "q35,memory-backend=mem");
    for word in config.accel.qemu_arguments() {
        args.words.push((*word).to_owned());
    }
    args.add("-smp", config.cpus);
    args.add("-m", format!("{}M", config.memory_mib));
    // A vhost-user backend sees the guest's memory only where it is shared.
    args.add(
        "-object",
        format!("memory-backend-memfd,id=mem,size={}M,share=on", config.memory_mib),
    );
    args.add("-nodefaults", "");
    args.add("-no-user-config", "");
    args.add("-display", "none");
    if !config.allow_reboot {
        args.add("-no-reboot", "");
    }
    match front {
        Front::Agent => {
            args.agent();
            if let Some(plugin) = config.plugin {
                let shared = doubled(&plugin.shared.display().to_string());
                args.add("-plugin", plugin.words(&format!("shared={shared}")));
            }
        }
        Front::Shell => args.add("-serial", "mon:stdio"),
    }
    args.add("-device", "virtio-rng-pci");
    for (index, disk) in config.disks.iter().enumerate() {
        args.disk(index, disk);
    }
    args.add("-kernel", KERNEL);
    args.add("-initrd", INITRAMFS);
    args.add("-append", kernel_command_line(config.append));
    args.words.extend_from_slice(config.more);
    args.words
}

/// `panic=-1` restarts at once, which ends QEMU; a module missing its hardware must not wait.
/// `no_timer_check`: on a busy machine a guest under TCG gets its ticks so late that the kernel's own
/// check of the timer would panic, and an innocent kernel would count as one that does not boot.
fn kernel_command_line(more: &str) -> String {
    format!("console=ttyS0 panic=-1 no_timer_check {more}").trim_end().to_owned()
}

/// A value inside an option, where a comma alone would end it.
fn doubled(value: &str) -> String {
    value.replace(',', ",,")
}

struct Args<'a> {
    words: Vec<String>,
    dir: &'a Path,
}

impl Args<'_> {
    fn add(&mut self, option: &str, value: impl ToString) {
        self.words.push(option.to_owned());
        let value = value.to_string();
        if !value.is_empty() {
            self.words.push(value);
        }
    }

    fn agent(&mut self) {
        self.add("-chardev", format!("file,id=console,path={CONSOLE}"));
        self.add("-serial", "chardev:console");
        self.add("-device", "virtio-serial-pci");
        self.add("-chardev", format!("socket,id=link,path={LINK},server=on,wait=off"));
        self.add("-device", format!("virtserialport,chardev=link,name={PORT_NAME}"));
    }

    fn disk(&mut self, index: usize, disk: &Disk) {
        match disk {
            Disk::VhostUserBlk { socket, queues } => {
                self.chardev(index, socket);
                // Left out, QEMU asks for a queue per CPU and refuses a backend with fewer.
                self.add(
                    "-device",
                    format!("vhost-user-blk-pci,chardev=disk{index},num-queues={queues}"),
                );
            }
            Disk::VhostUserScsi { socket, queues, t10_pi } => {
                let t10_pi = if *t10_pi { "on" } else { "off" };
                self.chardev(index, socket);
                self.add(
                    "-device",
                    format!(
                        "vhost-user-scsi-pci,id=hba{index},chardev=disk{index},num_queues={queues},t10_pi={t10_pi}"
                    ),
                );
            }
            Disk::File { path, read_only } => {
                let (path, read_only) = (self.path(path), if *read_only { "on" } else { "off" });
                self.add(
                    "-drive",
                    format!("if=none,id=disk{index},format=raw,read-only={read_only},file={path}"),
                );
                self.add("-device", format!("virtio-blk-pci,drive=disk{index}"));
            }
        }
    }

    /// A path inside an option, where a comma would end the value; as short as it can be.
    fn path(&self, path: &Path) -> String {
        // QEMU works in the boot's directory: what is relative already means a file of it.
        let path = if path.is_relative() { self.dir.join(path) } else { path.to_owned() };
        let path = absolute(&path);
        let short = path.strip_prefix(absolute(self.dir)).unwrap_or(&path);
        doubled(&short.display().to_string())
    }

    fn chardev(&mut self, index: usize, socket: &Path) {
        self.add("-chardev", format!("socket,id=disk{index},path={}", self.path(socket)));
    }
}

/// QEMU works in a directory of its own, where our relative paths mean nothing.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// QEMU, running; killed when dropped.
#[derive(Debug)]
pub struct Qemu {
    process: ChildGuard,
    messages: PathBuf,
}

impl Qemu {
    /// Starts QEMU in `dir`, where the kernel and the initramfs lie already.
    ///
    /// # Errors
    /// When QEMU is not installed, its files cannot be written or its process not be made.
    pub fn start(dir: &Path, config: &QemuConfig<'_>) -> Result<Qemu, QemuError> {
        let program = find(config.program)?;
        let args = arguments(config, Front::Agent);
        let messages = dir.join(MESSAGES);
        // Files of an earlier boot would be taken for this one's.
        for name in [CONSOLE, LINK] {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let log = File::create(&messages)?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(plugin) = config.plugin {
            plugin.prepare(&mut command);
        }
        Ok(Qemu { process: spawn_tied(command)?, messages })
    }

    /// QEMU's process.
    pub fn process(&mut self) -> &mut ChildGuard {
        &mut self.process
    }

    /// What QEMU said so far.
    pub fn messages(&self) -> String {
        let bytes = fs::read(&self.messages).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small guest under TCG.
    pub(crate) fn config<'a>(dir: &'a Path, disks: &'a [Disk], append: &'a str) -> QemuConfig<'a> {
        QemuConfig {
            program: None,
            dir,
            plugin: None,
            accel: Accel::Tcg,
            memory_mib: 512,
            cpus: 2,
            disks,
            append,
            more: &[],
            allow_reboot: false,
        }
    }

    #[test]
    fn a_plugin_is_the_agents_guests_alone() {
        let plugin = Plugin { library: "/a,b/lib.so".into(), shared: "/s".into(), interface: None };
        let config = QemuConfig { plugin: Some(&plugin), ..config(Path::new("/out"), &[], "") };
        let line = |front| arguments(&config, front).join(" ");
        assert!(line(Front::Agent).contains("-plugin /a,,b/lib.so,shared=/s"));
        assert!(!line(Front::Shell).contains("-plugin"));
    }

    #[test]
    fn memory_is_shared_and_queues_are_named() {
        let disks = [
            Disk::VhostUserBlk { socket: "/run/a,b".into(), queues: 3 },
            Disk::VhostUserScsi { socket: "/out/1/s".into(), queues: 2, t10_pi: true },
        ];
        let line = arguments(&config(Path::new("/out/1"), &disks, "x=1"), Front::Agent).join(" ");
        for part in [
            "memory-backend-memfd,id=mem,size=512M,share=on",
            "-accel tcg,thread=multi -cpu max",
            "-chardev socket,id=disk0,path=/run/a,,b",
            "vhost-user-blk-pci,chardev=disk0,num-queues=3",
            "-chardev socket,id=disk1,path=s ",
            "vhost-user-scsi-pci,id=hba1,chardev=disk1,num_queues=2,t10_pi=on",
            "-no-reboot",
            "panic=-1 no_timer_check x=1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}
