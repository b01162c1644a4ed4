//! Why the trap could not do what a request asked.

use crate::inject::Status;
use crate::media::MediaError;
use crate::memory::MemoryError;
use crate::pi::{Check, Mismatch};
use crate::units::{BlockCount, Lba};

/// Whose doing a failed check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody knows: the device found it.
    Found,
    /// The block raced; the race has its record.
    Race,
    /// A fault that was injected; the injection has its record.
    Injected,
}

/// A request that failed. Devices map it to their own status.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// Samples differ and `--on-race fail` refuses the write.
    #[error("{races} races, the first at block {first}")]
    Raced {
        /// The first block that changed.
        first: Lba,
        /// How many; a block can have one before the doorbell and one in the window.
        races: u64,
    },
    /// A write's protection information fails a check that the command asks for.
    #[error("the block at {lba} fails its {} check on the way to the medium", mismatch.check.name())]
    Protection {
        /// The first block that fails.
        lba: Lba,
        /// What does not fit: `stored` is the tag that the guest sent.
        mismatch: Mismatch,
        /// Whose doing it is.
        cause: Cause,
    },
    /// A write whose protection information is not one tuple a block.
    #[error("{bytes} bytes of protection information do not go with {blocks} blocks")]
    TupleCount {
        /// Bytes of protection information.
        bytes: u64,
        /// How many blocks the command writes.
        blocks: BlockCount,
    },
    /// The data on the medium does not fit its protection information.
    #[error("the block at {lba} does not match its stored protection information")]
    Corrupt {
        /// The block.
        lba: Lba,
        /// What does not fit.
        mismatch: Mismatch,
        /// Whose doing it is.
        cause: Cause,
    },
    /// Blocks that were read back after a write are not what was written.
    #[error("the block at {lba} reads back other than it was written")]
    ReadBack {
        /// The first block that differs.
        lba: Lba,
        /// The field of its tuple; `None` where its data differs.
        check: Option<Check>,
        /// Whose doing it is.
        cause: Cause,
    },
    /// A write that depends on what is stored: something else is.
    #[error("byte {offset} is not the one that was to be compared")]
    Miscompare {
        /// The first byte that differs, counted from the first byte that was compared.
        offset: u64,
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
    /// A fault that was injected is the answer.
    #[error("a fault was injected")]
    Injected {
        /// The answer.
        status: Status,
        /// The block that it is about, where the request has blocks.
        lba: Option<Lba>,
    },
    /// Guest memory could not be copied.
    #[error("guest memory could not be copied")]
    Memory(#[from] MemoryError),
    /// The medium failed.
    #[error("the medium failed")]
    Media(#[from] MediaError),
}

impl TrapError {
    /// What the trap is for, or was injected, has records and counters of its own; all else is an
    /// error of the device.
    pub fn is_counted_elsewhere(&self) -> bool {
        match self {
            TrapError::Raced { .. } | TrapError::Injected { .. } => true,
            // An answer, and no fault.
            TrapError::Miscompare { .. } => true,
            TrapError::Protection { cause, .. }
            | TrapError::Corrupt { cause, .. }
            | TrapError::ReadBack { cause, .. } => *cause != Cause::Found,
            _ => false,
        }
    }
}
