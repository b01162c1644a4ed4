//! `dixtrap-guest work …`: the writers. Each runs for a bounded time, changes what it writes on
//! every pass, has it written back continually, and says at the end what it did.

mod aio;
mod bounds;
mod churn;
mod holes;
mod memory;
mod rewrite;
mod shared;
mod storm;
mod tally;
mod target;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::clock::Clock;
use crate::units::ByteSize;

use bounds::Bounds;
use rewrite::Shape;
use tally::Tally;
pub use tally::{Failure, Summary};

/// Which writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Changes a shared mapping of a file or disk
    Mmap,
    /// Overwrites a file or disk through the page cache
    Buffered,
    /// Writes a buffer with `O_DIRECT` while another thread changes it
    Direct,
    /// Keeps several writes of a changing buffer in flight, with `O_DIRECT` and io_uring
    Aio,
    /// Changes a shared mapping and has its writeback begun with `sync_file_range`
    Ranges,
    /// Truncates a file and punches holes into it while it is changed and written back
    Holes,
    /// Overwrites the same few files from all threads, each write followed by an fsync
    Storm,
    /// Changes more memory than it is given, so that it is swapped out; the target is not touched
    Memory,
    /// Creates, renames, truncates and removes files and directories
    Churn,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Mmap => "mmap",
            Kind::Buffered => "buffered",
            Kind::Direct => "direct",
            Kind::Churn => "churn",
            Kind::Aio => "aio",
            Kind::Ranges => "ranges",
            Kind::Holes => "holes",
            Kind::Storm => "storm",
            Kind::Memory => "memory",
        }
    }
}

/// Arguments of `dixtrap-guest work`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The writer
    kind: Kind,
    /// What it writes to: a file or disk, for churn and storm a directory
    target: PathBuf,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many threads change things; one more has them written back
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How much of the target is written; rounded down to whole 64 KiB
    #[arg(long, default_value = "4M")]
    size: ByteSize,
    /// Counts errors and goes on, instead of ending at the first one
    #[arg(long)]
    keep_going: bool,
}

impl Args {
    /// Errors are counted, and the writer goes on.
    pub fn keep_going(&self) -> bool {
        self.keep_going
    }
}

/// Why a writer did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The target is of the wrong kind.
    #[error("{0} is not a directory: churn and storm work in one")]
    NotADirectory(PathBuf),
    /// Too small, or more than this machine can map.
    #[error("size {0} cannot be written: use 64K up to 1G")]
    Size(ByteSize),
    /// The target could not be prepared.
    #[error("cannot prepare {0}")]
    Prepare(PathBuf, #[source] io::Error),
    /// The kernel has no io_uring, or lets nobody use it.
    #[error("io_uring cannot be used")]
    NoRing(#[source] io::Error),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
}

impl WorkError {
    /// This kernel cannot do what the writer needs; nothing went wrong.
    pub fn is_lack(&self) -> bool {
        matches!(self, WorkError::NoRing(_))
    }
}

/// The unit of `--size`: what one direct write covers.
const SIZE_UNIT: usize = 64 << 10;
/// The largest `--size`.
const SIZE_MAX: usize = 1 << 30;

fn whole_units(size: ByteSize) -> Result<NonZeroUsize, WorkError> {
    let bytes = usize::try_from(size.0).ok().filter(|bytes| *bytes <= SIZE_MAX);
    bytes
        .map(|bytes| bytes - bytes % SIZE_UNIT)
        .and_then(NonZeroUsize::new)
        .ok_or(WorkError::Size(size))
}

/// Works until the time is over, a signal comes or an operation fails, and tells what was done.
/// Operations that failed are in the summary; an error is a writer that could not begin.
pub fn run(args: &Args, clock: &dyn Clock) -> Result<Summary, WorkError> {
    let shape = Shape { bytes: whole_units(args.size)?, threads: args.threads.clamp(1, 64) };
    let in_directory = matches!(args.kind, Kind::Churn | Kind::Storm);
    if in_directory && !target::is_directory(&args.target) {
        return Err(WorkError::NotADirectory(args.target.clone()));
    }
    let bounds = Bounds::new(clock, Duration::from_secs(args.seconds));
    bounds.stop_on_signals().map_err(WorkError::Signals)?;
    let tally = Tally::new(&bounds, args.keep_going);
    match args.kind {
        Kind::Mmap => rewrite::mmap(&args.target, shape, &tally),
        Kind::Buffered => rewrite::buffered(&args.target, shape, &tally),
        Kind::Direct => rewrite::direct(&args.target, shape, &tally),
        Kind::Churn => churn::churn(&args.target, shape.threads, &tally),
        Kind::Aio => {
            let ring = aio::open_ring().map_err(WorkError::NoRing)?;
            aio::aio(&args.target, shape, ring, &tally)
        }
        Kind::Ranges => rewrite::ranges(&args.target, shape, &tally),
        Kind::Holes => holes::holes(&args.target, shape, &tally),
        Kind::Storm => storm::storm(&args.target, shape.threads, &tally),
        Kind::Memory => memory::memory(shape, &tally),
    }
    .map_err(|error| WorkError::Prepare(args.target.clone(), error))?;
    Ok(tally.summary(args.kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_units_within_reason() {
        assert_eq!(whole_units(ByteSize(130 << 10)).unwrap().get(), 128 << 10);
        assert!(whole_units(ByteSize(4096)).is_err());
        assert!(whole_units(ByteSize(u64::MAX)).is_err());
    }
}
