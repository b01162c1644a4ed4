//! A `dixtrapd` of our own: started for one boot, asked over its control socket, gone with us.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::control::{Client, ClientError, NONE, Request, Stats};
use crate::record::{Counters, MarkState};
use crate::runner::host::again;
use crate::runner::host::child::{ChildGuard, spawn_tied};
use crate::runner::host::device::Device;
use crate::runner::host::machine::DiskShape;
use crate::units::{ByteSize, WindowSpec};

/// The program's name, beside ours.
const PROGRAM: &str = "dixtrapd";
/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to write its last record.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked at while it starts.
const LOOK: Duration = Duration::from_millis(20);

/// How large the records of a boot become unless another limit is asked for: a few hundred thousand races.
pub const RACES_LIMIT: ByteSize = ByteSize(512 << 20);

/// The records of a boot, in the boot's directory.
pub const RECORDS: &str = "races.jsonl";
/// The daemon's own messages.
pub const MESSAGES: &str = "dixtrapd.log";

/// What went wrong with the daemon. All of it is ours or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It is not there.
    #[error("{PROGRAM} is not beside {}: build the whole package, or name it in DIXTRAPD", .0.display())]
    Missing(PathBuf),
    /// The system will not start it.
    #[error("cannot start {}", .0.display())]
    Start(PathBuf, #[source] std::io::Error),
    /// A directory or file of its cannot be made.
    #[error("cannot make files for {PROGRAM} in {}", .0.display())]
    Files(PathBuf, #[source] std::io::Error),
    /// It ended unasked.
    #[error("{PROGRAM} ended unasked ({status}): {message}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its last line.
        message: String,
    },
    /// It is there and does not listen.
    #[error("{PROGRAM} does not listen after {} s", START_LIMIT.as_secs())]
    Deaf(#[source] ClientError),
    /// It does not answer as it should.
    #[error("{PROGRAM} cannot be asked")]
    Control(#[from] ClientError),
    /// It was told to end and does not.
    #[error("{PROGRAM} still runs {} s after it was told to end: was the disk of its records too slow?", STOP_LIMIT.as_secs())]
    Slow,
    /// It answers without what was asked for.
    #[error("{PROGRAM} answered '{0}' with nothing: are both programs of one version?")]
    Empty(&'static str),
}

/// How the daemon is to behave.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// `--device`.
    pub device: Device,
    /// `--window`.
    pub window: WindowSpec,
    /// `--block-size`, `--pi-type` and `--size` of the memory disk.
    pub disk: DiskShape,
    /// `--num-queues`.
    pub queues: u16,
    /// `--seed`.
    pub seed: u64,
    /// `--races-limit`.
    pub races_limit: ByteSize,
    /// `--watch`.
    pub watch: Option<PathBuf>,
}

/// A daemon that runs. Dropped, it is killed; it also dies with the thread that started it.
#[derive(Debug)]
pub struct Daemon {
    child: ChildGuard,
    client: Client,
    sockets: TempDir,
    directory: PathBuf,
    again: Vec<String>,
}

impl Daemon {
    /// Starts a daemon over a disk in memory, with its records and messages in `directory`, and
    /// waits until it listens.
    pub fn start(directory: &Path, options: &DaemonOptions) -> Result<Daemon, DaemonError> {
        let program = find()?;
        let files = |error| DaemonError::Files(directory.to_owned(), error);
        // Not in `directory`: a socket's path holds 107 bytes.
        let sockets = tempfile::Builder::new().prefix("dixtrap-").tempdir().map_err(files)?;
        let log = File::create(directory.join(MESSAGES)).map_err(files)?;
        let files_of_ours = Files {
            socket: sockets.path().join(SOCKET),
            control: sockets.path().join(CONTROL),
            records: directory.join(RECORDS),
        };
        let mut again = vec![program.display().to_string()];
        // By hand nobody has the plugin loaded.
        let alone = DaemonOptions { watch: None, ..options.clone() };
        let words = arguments(&Files::again(), &alone);
        again.extend(words.iter().map(|word| word.to_string_lossy().into_owned()));
        again.push("--exit-on-disconnect".to_owned());
        let mut command = Command::new(&program);
        command
            .args(arguments(&files_of_ours, options))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C on the terminal is for us to pass on.
            .process_group(0);
        let mut child = spawn_tied(command).map_err(|error| DaemonError::Start(program, error))?;
        let client = wait_until_it_listens(&mut child, sockets.path(), directory)?;
        let mut daemon = Daemon { child, client, sockets, directory: directory.to_owned(), again };
        // It listens before its disk and the file of its records are open; it answers afterwards.
        daemon.stats()?;
        Ok(daemon)
    }

    /// The vhost-user socket.
    pub fn socket(&self) -> PathBuf {
        self.sockets.path().join(SOCKET)
    }

    /// A command line that starts such a daemon once more in the directory of the boot, by hand.
    pub fn command_line(&self) -> Vec<String> {
        self.again.clone()
    }

    /// The file of the records.
    pub fn records(&self) -> PathBuf {
        self.directory.join(RECORDS)
    }

    /// The counters so far.
    pub fn stats(&mut self) -> Result<Stats, DaemonError> {
        let reply = self.ask(&Request::Stats)?;
        reply.stats.map(|stats| *stats).ok_or(DaemonError::Empty("stats"))
    }

    /// Adds a fault.
    pub fn inject(&mut self, spec: &str) -> Result<(), DaemonError> {
        self.ask(&Request::Inject { spec: spec.to_owned() }).map(|_| ())
    }

    /// Takes away all faults that are still to come, and tells them.
    pub fn disarm(&mut self) -> Result<Vec<String>, DaemonError> {
        let reply = self.ask(&Request::Inject { spec: NONE.to_owned() })?;
        reply.disarmed.ok_or(DaemonError::Empty("inject none"))
    }

    /// Opens `label`.
    pub fn begin(&mut self, label: &str) -> Result<(), DaemonError> {
        self.mark(label, MarkState::Begin).map(|_| ())
    }

    /// Closes `label` and tells what was counted under it.
    pub fn end(&mut self, label: &str) -> Result<Counters, DaemonError> {
        self.mark(label, MarkState::End)?.ok_or(DaemonError::Empty("mark"))
    }

    /// Sets the window of writes to come.
    pub fn set_window(&mut self, spec: WindowSpec) -> Result<(), DaemonError> {
        self.ask(&Request::Window { spec }).map(|_| ())
    }

    fn mark(&mut self, label: &str, state: MarkState) -> Result<Option<Counters>, DaemonError> {
        let reply = self.ask(&Request::Mark { label: label.to_owned(), state })?;
        Ok(reply.counters.map(|counters| *counters))
    }

    /// Asks; where no answer comes because the daemon has ended, the error says how it ended.
    fn ask(&mut self, request: &Request) -> Result<crate::control::Reply, DaemonError> {
        self.client.ask(request).map_err(|error| {
            match self.child.wait_at_most(Duration::from_millis(200)) {
                Ok(Some(status)) => ended(status, &self.directory),
                _ => DaemonError::Control(error),
            }
        })
    }

    /// Ends the daemon and waits until its last record is written.
    pub fn stop(mut self) -> Result<(), DaemonError> {
        self.ask(&Request::Quit)?;
        match self.child.wait_at_most(STOP_LIMIT) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(ended(status, &self.directory)),
            Ok(None) => Err(DaemonError::Slow),
            Err(error) => Err(DaemonError::Files(self.directory.clone(), error)),
        }
    }
}

const SOCKET: &str = "disk.sock";
const CONTROL: &str = "control.sock";

/// `$DIXTRAPD`, else the program beside ours.
fn find() -> Result<PathBuf, DaemonError> {
    if let Some(named) = std::env::var_os("DIXTRAPD").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let ours = std::env::current_exe().unwrap_or_default();
    // A test program lies one directory below the programs that it tests.
    let near = ours.ancestors().skip(1).take(2).map(|directory| directory.join(PROGRAM));
    near.into_iter().find(|path| path.is_file()).ok_or(DaemonError::Missing(ours))
}

/// Where a daemon's files are.
struct Files {
    socket: PathBuf,
    control: PathBuf,
    records: PathBuf,
}

impl Files {
    /// Those of a daemon that is started by hand, in the directory of the boot.
    fn again() -> Files {
        Files {
            socket: again::SOCKET.into(),
            control: again::CONTROL.into(),
            records: again::RECORDS.into(),
        }
    }
}

fn arguments(files: &Files, options: &DaemonOptions) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: &dyn AsRef<OsStr>| {
        words.push(flag.into());
        words.push(value.as_ref().to_owned());
    };
    add("--socket-path", &files.socket);
    add("--control", &files.control);
    add("--device", &options.device.name());
    add("--races", &files.records);
    add("--on-race", &"report");
    add("--window", &options.window.to_string());
    add("--size", &options.disk.size.to_string());
    add("--block-size", &options.disk.block_size.to_string());
    add("--pi-type", &options.disk.pi_type.to_string());
    add("--num-queues", &options.queues.to_string());
    add("--seed", &options.seed.to_string());
    add("--races-limit", &options.races_limit.to_string());
    if let Some(shared) = &options.watch {
        add("--watch", shared);
    }
    words
}

fn wait_until_it_listens(
    child: &mut ChildGuard,
    sockets: &Path,
    directory: &Path,
) -> Result<Client, DaemonError> {
    let started = Instant::now();
    loop {
        let refused = match Client::connect(&sockets.join(CONTROL)) {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ended(status, directory));
        }
        if started.elapsed() > START_LIMIT {
            return Err(DaemonError::Deaf(refused));
        }
        std::thread::sleep(LOOK);
    }
}

fn ended(status: ExitStatus, directory: &Path) -> DaemonError {
    let log = std::fs::read_to_string(directory.join(MESSAGES)).unwrap_or_default();
    let message = log.lines().last().unwrap_or("it left no message").to_owned();
    DaemonError::Ended { status, message }
}
