//! What the guests are given, for every command that boots some.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use dixtrap::pi::PiType;
use dixtrap::runner::host::machine::{BOOT_LIMIT, DiskShape, Machine, kernel_words, memory};
use dixtrap::runner::host::qemu;
use dixtrap::units::{BlockSize, ByteSize, parse_limit};

/// The guests' computer and its disk.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// Words for the kernel's command line, behind those that every guest gets (repeatable)
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, value_parser = kernel_words)]
    append: Vec<String>,
    /// The guest's memory; a kernel with KASAN or other checks needs more
    #[arg(long, value_name = "SIZE", default_value = "768M", value_parser = memory)]
    memory: ByteSize,
    /// The guest's CPUs; without it two, or one where each guest has only one core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,
    /// The QEMU to run: a path, or a name in PATH
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// A word for QEMU's command line, behind all others (repeatable)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    qemu_arg: Vec<String>,
    /// Bytes in a logical block of the disk under test: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value = "512")]
    block_size: BlockSize,
    /// The disk's protection type: 0 (none), 1, 2 or 3
    #[arg(long, value_name = "TYPE", default_value = "1")]
    pi_type: PiType,
    /// The disk's size
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    size: ByteSize,
    /// How long a cell may take in all, from mkfs to unmount: 90s, 10m, 2h. Without it two minutes
    /// more than it writes. A kernel has this long to boot as well, and three minutes at least
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    timeout: Option<Duration>,
}

impl MachineArgs {
    /// The computer, once its QEMU has told that it is one.
    pub fn machine(&self) -> anyhow::Result<Machine> {
        let qemu = self.qemu.as_deref().map(|path| qemu::find(Some(path))).transpose()?;
        if let Some(program) = &qemu {
            qemu::version(program)?;
        }
        Ok(Machine {
            qemu,
            qemu_args: self.qemu_arg.clone(),
            append: kernel_words(&self.append.join(" "))
                .map_err(|why| anyhow::anyhow!("--append: {why}"))?,
            memory: self.memory,
            cpus: self.cpus,
            boot_limit: self.timeout.unwrap_or_default().max(BOOT_LIMIT),
        })
    }

    /// The disk.
    pub fn disk(&self) -> anyhow::Result<DiskShape> {
        let (block_size, pi_type, size) = (self.block_size, self.pi_type, self.size);
        ensure!(
            size.0 >= LEAST_DISK.0 && block_size.blocks_in(size.0).is_some(),
            "--size {size} is no disk of {block_size}-byte blocks: use at least {LEAST_DISK}, and whole blocks"
        );
        Ok(DiskShape { block_size, pi_type, size })
    }

    /// How long a cell may take that writes for `seconds`.
    pub fn timeout(&self, seconds: u32) -> anyhow::Result<Option<Duration>> {
        if let Some(limit) = self.timeout {
            ensure!(
                limit > Duration::from_secs(seconds.into()),
                "--timeout {} s is no more than the {seconds} s for which a cell writes: leave time for mkfs and unmount, or lower --seconds",
                limit.as_secs()
            );
        }
        Ok(self.timeout)
    }
}

/// Smaller than any file system's: raw disks may be.
const LEAST_DISK: ByteSize = ByteSize(1 << 20);
