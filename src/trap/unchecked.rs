//! The yardstick of the benchmark: what the same daemon does when it checks nothing.
//!
//! One copy out of guest memory, at the end of the window, goes to the medium. There is no doorbell
//! sample, no guard, no comparison, and the disk has no protection information.

use super::error::TrapError;
use super::sample::{Sample, copy};
use super::tally::Count;
use super::trap::Trap;
use super::write::Held;
use crate::memory::{Buffer, List};
use crate::pi::{Checks, Tuple};

impl Sample {
    /// The sample that is not taken.
    pub(super) fn none() -> Sample {
        Sample { tuples: None, bytes: Buffer::new(0) }
    }
}

impl Trap {
    /// Fetches and stores a held write without a look at it.
    pub(super) fn fetch_unchecked(&self, held: &Held) -> Result<(), TrapError> {
        self.ledger.count(&held.span, Count::Writes, 1);
        let bytes = copy(&held.write.data)?;
        let blocks = bytes.len() / self.block_bytes();
        Ok(self.disk.write(held.write.lba, &bytes, &List::of(Tuple::ESCAPE, blocks))?)
    }

    /// Compares and stores the halves of a swap, each read once.
    pub(super) fn swap_unchecked(&self, compared: &Held, written: &Held) -> Result<(), TrapError> {
        let expected = copy(&compared.write.data)?;
        self.require_stored(compared, &expected, &Checks::none(self.geometry().pi_type))?;
        self.fetch_unchecked(written)
    }
}
