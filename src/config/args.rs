//! The flags, as QEMU's and libvirt's conventions want them: flat.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::{ConfigError, SocketSpec};
use crate::inject;
use crate::media::DiskSpec;
use crate::pi::PiType;
use crate::record::OnRace;
use crate::units::{BlockSize, ByteSize, SocketMode, WindowSpec, parse_duration};

/// A vhost-user disk that reads guest memory later than the doorbell, as a host adapter does, and
/// reports pages that changed after their protection information was generated. The doorbell's sample is
/// taken when the queue's thread sees the doorbell; what changes before that is not seen.
#[derive(Debug, Clone, Parser)]
#[command(name = "dixtrapd", version)]
pub struct Args {
    /// Where QEMU connects: a Unix socket to create
    #[arg(long, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,

    /// Where QEMU connects: a listening Unix socket that was passed in
    #[arg(long, value_name = "N")]
    pub fd: Option<RawFd>,

    /// Print what this back end can do, as QEMU's vhost-user conventions want it, and exit
    #[arg(long)]
    pub print_capabilities: bool,

    /// What kind of device to be
    #[arg(long, value_enum, default_value_t = DeviceKind::Blk)]
    pub device: DeviceKind,

    /// The disk: a raw file or a block device; a memory disk when left out. With --device scsi it may
    /// be given more than once: each is a logical unit
    #[arg(long, value_name = "PATH")]
    pub blk_file: Vec<PathBuf>,

    /// The disk's size; creates a file that is missing [memory disk: 1G]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<ByteSize>,

    /// Refuse writes
    #[arg(long)]
    pub read_only: bool,

    /// Go past the host's page cache to --blk-file (O_DIRECT), with io_uring and --device blk so that
    /// requests overlap: writes take as long as the device takes. Files and block devices go through
    /// the page cache without it, which is faster while the disk fits into memory. Not for tmpfs;
    /// blocks may not be smaller than the device's sectors
    #[arg(long)]
    pub direct: bool,

    /// Bytes in a logical block: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value = "512")]
    pub block_size: BlockSize,

    /// The number of queues for requests, each with a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub num_queues: u16,

    /// The protection type: 0 (none), 1, 2 or 3
    #[arg(long, value_name = "TYPE", default_value = "1")]
    pub pi_type: PiType,

    /// Where the protection information is kept [default: the disk's name with .pi]
    #[arg(long, value_name = "PATH")]
    pub pi_file: Option<PathBuf>,

    /// How long after the doorbell a write's data is fetched: 0, 250us, uniform:0..5ms, exp:200us,
    /// bandwidth:200us+500MB/s, or hold (until released over the control socket)
    #[arg(long, value_name = "SPEC", default_value = "1ms")]
    pub window: WindowSpec,

    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Watch a queue for this long after its last request before sleeping, 0 to 1s: requests are seen
    /// sooner, for processor time
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = poll_time)]
    pub poll: Duration,

    /// What happens to a write whose data changed in its window
    #[arg(long, value_enum, default_value_t = OnRaceArg::Fail)]
    pub on_race: OnRaceArg,

    /// Look once more, at a write before its completion and at a read one window after it, and record
    /// what changed after the fetch or the delivery; never a failure
    #[arg(long)]
    pub audit: bool,

    /// Write records as JSON lines to this file, or to standard output for -
    #[arg(long, value_name = "PATH")]
    pub races: Option<PathBuf>,

    /// Watch stores to pages that are on their way to the disk, together with the plugin of a QEMU that emulates
    /// its guest's CPUs (docs/by-hand.md): the shared file to make, best in /dev/shm. Who changed the bytes of a race
    /// is written to culprits.jsonl beside --races
    #[arg(long, value_name = "PATH", requires = "races")]
    pub watch: Option<PathBuf>,

    /// Only count races and their like once their file has this size; the first hundred of each label
    /// are written all the same [default: no limit]
    #[arg(long, value_name = "SIZE", requires = "races")]
    pub races_limit: Option<ByteSize>,

    /// Check nothing; for the benchmark, which wants to know what the checks cost
    #[arg(long, hide = true)]
    pub benchmark_without_checks: bool,

    /// Inject a fault: flip=guard,at=medium,lba=100..200 (--help tells the whole language)
    #[arg(long, value_name = "SPEC", long_help = format!("Inject a fault (repeatable): {}", inject::HELP))]
    pub inject: Vec<inject::Spec>,

    /// Answer `dixtrap ctl` on this Unix socket
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Who may connect to the sockets that are created, whatever the umask: 600 (only you), 660 (your group
    /// too), 666 (everybody)
    #[arg(long, value_name = "OCTAL", default_value_t)]
    pub socket_mode: SocketMode,

    /// End when the first front end disconnects
    #[arg(long)]
    pub exit_on_disconnect: bool,

    /// Keep all access to the system. Without this flag, all that is not needed once the files are open is
    /// given up: a guest that broke into dixtrapd would find files, processes and the network closed to it
    #[arg(long, overrides_with = "sandbox")]
    pub no_sandbox: bool,

    /// As it is without `--no-sandbox`: accepted because it was a flag once
    #[arg(long, hide = true, overrides_with = "no_sandbox")]
    pub sandbox: bool,
}

/// The longest that a queue is watched.
const MAX_POLL: Duration = Duration::from_secs(1);

/// Reads `--poll`.
fn poll_time(text: &str) -> Result<Duration, String> {
    let poll = parse_duration(text).map_err(|error| error.to_string())?;
    if poll > MAX_POLL {
        return Err(format!("{text} is more than 1s: a queue need not be watched for longer"));
    }
    Ok(poll)
}

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// virtio-blk: the daemon generates the protection information
    Blk,
    /// virtio-scsi with T10 PI: the guest does
    Scsi,
}

impl DeviceKind {
    /// Its name, in arguments and records.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::Blk => "blk",
            DeviceKind::Scsi => "scsi",
        }
    }

    /// How many disks it can serve: for SCSI, the logical units that one byte can number.
    pub const fn most_disks(self) -> usize {
        match self {
            DeviceKind::Blk => 1,
            DeviceKind::Scsi => 256,
        }
    }
}

/// What happens to a write that raced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnRaceArg {
    /// The write fails and the medium keeps its old bytes, as on hardware
    Fail,
    /// The fetched bytes are stored and the write succeeds
    Report,
}

impl From<OnRaceArg> for OnRace {
    fn from(arg: OnRaceArg) -> OnRace {
        match arg {
            OnRaceArg::Fail => OnRace::Fail,
            OnRaceArg::Report => OnRace::Report,
        }
    }
}

impl Args {
    /// The socket that a front end connects to: a path to bind, or a descriptor that was passed.
    pub(super) fn socket(&self) -> Result<SocketSpec, ConfigError> {
        match (&self.socket_path, self.fd) {
            (Some(path), None) => Ok(SocketSpec::Path(path.clone())),
            (None, Some(fd)) => Ok(SocketSpec::Fd(fd)),
            _ => Err(ConfigError::Socket),
        }
    }

    /// The disks: one, or for SCSI one for each logical unit.
    pub(super) fn disk_specs(&self) -> Result<Vec<DiskSpec>, ConfigError> {
        let most = self.device.most_disks();
        if most == 1 && self.blk_file.len() > most {
            return Err(ConfigError::OneDisk);
        }
        if self.benchmark_without_checks && self.pi_type.is_protected() {
            return Err(ConfigError::UncheckedButProtected);
        }
        if self.blk_file.len() > most {
            return Err(ConfigError::TooManyDisks);
        }
        let mut named = std::collections::BTreeSet::new();
        if let Some(twice) = self.blk_file.iter().find(|file| !named.insert(*file)) {
            return Err(ConfigError::SameDisk(twice.clone()));
        }
        if self.blk_file.is_empty() && self.read_only {
            return Err(ConfigError::ReadOnlyMemory);
        }
        if self.blk_file.is_empty() && self.direct {
            return Err(ConfigError::DirectMemory);
        }
        let one_file = self.blk_file.len() == 1 && self.pi_type.is_protected();
        if self.pi_file.is_some() && !one_file {
            return Err(ConfigError::StrayPiFile);
        }
        Ok(match self.blk_file.as_slice() {
            [] => vec![self.disk_spec(None)],
            files => files.iter().map(|file| self.disk_spec(Some(file.clone()))).collect(),
        })
    }

    fn disk_spec(&self, file: Option<PathBuf>) -> DiskSpec {
        DiskSpec {
            file,
            size: self.size,
            block_size: self.block_size,
            pi_type: self.pi_type,
            pi_file: self.pi_file.clone(),
            read_only: self.read_only,
            direct: self.direct,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(flags: &[&str]) -> Result<Config, String> {
        let args = Args::try_parse_from(std::iter::once(&"dixtrapd").chain(flags))
            .map_err(|error| error.to_string())?;
        Config::try_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = config(&["--socket-path", "/s"]).unwrap();
        assert_eq!(config.socket, SocketSpec::Path("/s".into()));
        assert_eq!((config.queues, config.seed, config.on_race), (1, 0, OnRace::Fail));
        assert_eq!(config.window.to_string(), "1ms");
        assert_eq!(config.socket_mode.to_string(), "600");
        assert_eq!(
            (config.disks[0].block_size, config.disks[0].pi_type),
            (BlockSize::B512, PiType::Type1)
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for flags in [
            &[] as &[&str],
            &["--socket-path", "/s", "--fd", "3"],
            &["--socket-path", "/s", "--read-only"],
            &["--socket-path", "/s", "--direct"],
            &["--socket-path", "/s", "--blk-file", "a", "--blk-file", "b"],
            &["--socket-path", "/s", "--device", "scsi", "--blk-file", "a", "--blk-file", "a"],
            &["--socket-path", "/s", "--pi-file", "p"],
            &["--socket-path", "/s", "--blk-file", "a", "--pi-file", "p", "--pi-type", "0"],
            &["--socket-path", "/s", "--benchmark-without-checks"],
            &["--socket-path", "/s", "--poll", "2s"],
            &["--socket-path", "/s", "--num-queues", "0"],
            &["--socket-path", "/s", "--num-queues", "33"],
            &["--socket-path", "/s", "--window", "soon"],
            &["--socket-path", "/s", "--socket-mode", "rw"],
            &["--socket-path", "/s", "--socket-mode", "1777"],
            &["--socket-path", "/s", "--pi-type", "4"],
            &["--socket-path", "/s", "--block-size", "1024"],
            &["--socket-path", "/s", "--on-race", "ignore"],
            &["--socket-path", "/s", "--inject", "flip=crc"],
        ] {
            assert!(config(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn the_sandbox_is_entered_unless_the_last_word_is_no() {
        for (flags, inside) in [
            (&[] as &[&str], true),
            (&["--sandbox"], true),
            (&["--no-sandbox"], false),
            (&["--no-sandbox", "--sandbox"], true),
            (&["--sandbox", "--no-sandbox"], false),
        ] {
            let config = config(&[&["--socket-path", "/s"], flags].concat()).unwrap();
            assert_eq!(config.sandbox, inside, "{flags:?}");
        }
    }

    #[test]
    fn a_scsi_target_has_a_unit_for_each_file() {
        let scsi = ["--socket-path", "/s", "--device", "scsi", "--blk-file", "a"];
        let two = config(&[&scsi[..], &["--blk-file", "b"]].concat()).unwrap();
        assert_eq!(two.disks.len(), 2);
        assert_eq!(two.disks[1].file, Some("b".into()));
        assert!(config(&[&scsi[..], &["--pi-file", "p"]].concat()).is_ok());
        let stray = [&scsi[..], &["--blk-file", "b", "--pi-file", "p"]].concat();
        assert!(config(&stray).is_err(), "one PI file for two disks");
    }
}
