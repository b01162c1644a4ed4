//! A write as the guest asked for it.

use crate::memory::Segments;
use crate::pi::Checks;
use crate::units::{BlockCount, Lba, QueueIndex};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The ring it came by.
    pub queue: QueueIndex,
    /// A daemon before this one took it and was killed: its doorbell rang long before its doorbell sample.
    pub resubmitted: bool,
}

impl From<QueueIndex> for Arrival {
    /// A request that was just made.
    fn from(queue: QueueIndex) -> Arrival {
        Arrival { queue, resubmitted: false }
    }
}

/// A write as the guest asked for it.
#[derive(Debug)]
pub struct Write {
    /// Where it comes from.
    pub arrival: Arrival,
    /// The first block.
    pub lba: Lba,
    /// How many blocks; the length of `data` in blocks.
    pub blocks: BlockCount,
    /// Where the data is.
    pub data: Segments,
    /// What the command says about protection information; `None` where commands carry none (blk):
    /// the drive generates it from what it fetched.
    pub protection: Option<WriteProtection>,
}

/// What a write command says about protection information.
#[derive(Debug)]
pub struct WriteProtection {
    /// Where the guest's tuples are, eight bytes a block; `None` where the command brings none and the
    /// drive generates them.
    pub tuples: Option<Segments>,
    /// What is checked of them.
    pub checks: Checks,
}

impl Write {
    /// Where the guest's tuples are, where the command carries them.
    pub(super) fn tuples(&self) -> Option<&Segments> {
        self.protection.as_ref()?.tuples.as_ref()
    }

    /// What the command asks to be checked.
    pub(super) fn checks(&self) -> Option<Checks> {
        self.protection.as_ref().map(|protection| protection.checks)
    }

    /// How many bytes of guest memory a sample of it copies.
    pub(super) fn sampled_bytes(&self) -> u64 {
        self.data.len().saturating_add(self.tuples().map_or(0, Segments::len))
    }
}
