//! Why the trap could not do what a request asked.

use crate::media::MediaError;
use crate::memory::MemoryError;
use crate::pi::Mismatch;
use crate::units::{BlockCount, Lba};

/// A request that failed. Devices map it to their own status.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// Samples differ and `--on-race fail` refuses the write.
    #[error("{races} blocks changed in their window, the first at {first}")]
    Raced {
        /// The first block that changed.
        first: Lba,
        /// How many changed.
        races: u64,
    },
    /// The data on the medium does not fit its protection information.
    #[error("the block at {lba} does not match its stored protection information")]
    Corrupt {
        /// The block.
        lba: Lba,
        /// What does not fit.
        mismatch: Mismatch,
    },
    /// The request reaches past the disk's last block.
    #[error("blocks {lba}+{blocks} are past the end of the disk")]
    OutOfRange {
        /// The first block.
        lba: Lba,
        /// How many.
        blocks: BlockCount,
    },
    /// The disk is read-only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// Guest memory could not be copied.
    #[error("guest memory could not be copied")]
    Memory(#[from] MemoryError),
    /// The medium failed.
    #[error("the medium failed")]
    Media(#[from] MediaError),
}
