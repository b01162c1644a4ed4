//! The daemon's arguments → one checked [`Config`].

mod args;

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

pub use args::{Args, DeviceKind};

use crate::inject;
use crate::media::DiskSpec;
use crate::record::OnRace;
use crate::units::{ByteSize, SocketMode, WindowSpec};

/// Why the arguments do not make sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nowhere to listen, or two places.
    #[error("give either --socket-path PATH or --fd N, so that QEMU has one place to connect to")]
    Socket,
    /// A block device is one disk.
    #[error("--device blk serves one disk: give --blk-file once, or use --device scsi")]
    OneDisk,
    /// More units than can be numbered.
    #[error("--device scsi serves at most 256 disks: give --blk-file less often")]
    TooManyDisks,
    /// Two units on one file.
    #[error("--blk-file names {} twice: each unit needs a file of its own", .0.display())]
    SameDisk(PathBuf),
    /// Protection information that nobody makes.
    #[error(
        "--benchmark-without-checks makes no protection information: add --pi-type 0, or leave it out to have writes checked"
    )]
    UncheckedButProtected,
    /// A memory disk begins empty.
    #[error("a memory disk cannot be read-only: give --blk-file PATH")]
    ReadOnlyMemory,
    /// A memory disk is on no device.
    #[error("a memory disk is on no device: leave --direct out, or give --blk-file PATH")]
    DirectMemory,
    /// A PI file belongs to a data file.
    #[error(
        "--pi-file belongs to one disk that is a file and has protection: give --blk-file once and --pi-type 1, 2 or 3"
    )]
    StrayPiFile,
    /// What is found out goes into a file beside the records.
    #[error("--watch writes culprits.jsonl beside the records: give --races FILE, not -")]
    WatchWithoutFile,
}

/// Where front ends connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketSpec {
    /// A path of our own.
    Path(PathBuf),
    /// A listening descriptor that the process was started with.
    Fd(RawFd),
}

/// What the daemon was told to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where front ends connect.
    pub socket: SocketSpec,
    /// What kind of device to be.
    pub device: DeviceKind,
    /// The disks: one, or for SCSI one for each logical unit. Never empty.
    pub disks: Vec<DiskSpec>,
    /// The number of queues.
    pub queues: u16,
    /// The window of writes.
    pub window: WindowSpec,
    /// How long a queue is watched after its last request before its thread sleeps.
    pub poll: Duration,
    /// The seed of every random draw.
    pub seed: u64,
    /// What happens to a write that raced.
    pub on_race: OnRace,
    /// Look once more before the completion.
    pub audit: bool,
    /// Check nothing: the yardstick of the benchmark.
    pub unchecked: bool,
    /// Where records go; none are kept without it.
    pub races: Option<PathBuf>,
    /// The file to share with QEMU's plugin, where stores are watched.
    pub watch: Option<PathBuf>,
    /// Where races and their like are only counted any more.
    pub races_limit: Option<ByteSize>,
    /// Faults to inject.
    pub inject: Vec<inject::Spec>,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// Who may connect to the sockets that are made.
    pub socket_mode: SocketMode,
    /// End with the first front end.
    pub exit_on_disconnect: bool,
    /// Give up what is not needed once everything is open.
    pub sandbox: bool,
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let disks = args.disk_specs()?;
        if args.watch.is_some()
            && args.races.as_deref().is_none_or(|races| races.as_os_str() == "-")
        {
            return Err(ConfigError::WatchWithoutFile);
        }
        Ok(Config {
            socket: args.socket()?,
            device: args.device,
            disks,
            queues: args.num_queues,
            window: args.window,
            poll: args.poll,
            seed: args.seed,
            on_race: args.on_race.into(),
            audit: args.audit,
            unchecked: args.benchmark_without_checks,
            races: args.races,
            watch: args.watch,
            races_limit: args.races_limit,
            inject: args.inject,
            control: args.control,
            socket_mode: args.socket_mode,
            exit_on_disconnect: args.exit_on_disconnect,
            sandbox: !args.no_sandbox,
        })
    }
}
