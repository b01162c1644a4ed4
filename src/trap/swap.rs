//! A write that happens only where the stored bytes are those that came with it (COMPARE AND WRITE).

use super::error::TrapError;
use super::trap::Trap;
use super::write::{Held, WRITTEN, Write};
use crate::clock::Moment;
use crate::inject::Op;
use crate::memory::List;
use crate::pi::{Checks, Tuple};
use crate::record::Outcome;
use crate::units::BlockCount;

/// What the records call the half that is compared.
const COMPARED: &str = "compare";

/// Both halves of the data of one request, for the same blocks.
#[derive(Debug)]
pub struct Swap {
    /// What has to be stored there, for the other half to be written.
    pub compared: Write,
    /// What is written.
    pub written: Write,
}

/// A swap inside its window: both halves' doorbell samples are taken.
#[derive(Debug)]
#[must_use = "a held swap has to be fetched"]
pub struct HeldSwap {
    compared: Held,
    written: Held,
}

impl HeldSwap {
    /// When the first doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        self.compared.rung()
    }

    /// The bytes that both halves hold a copy of.
    pub fn bytes(&self) -> u64 {
        self.compared.bytes().saturating_add(self.written.bytes())
    }
}

impl Trap {
    /// Takes the submit and doorbell samples of both halves: one request, whose halves share its
    /// number.
    pub fn doorbell_swap(&self, swap: Swap) -> Result<HeldSwap, TrapError> {
        let Swap { compared, written } = swap;
        self.check_range(written.lba, written.blocks)?;
        self.admit(Op::Write, written.lba, written.blocks)?;
        let id = self.ledger.take_request_id();
        let compared = self.hold(compared, id, COMPARED)?;
        Ok(HeldSwap { compared, written: self.hold(written, id, WRITTEN)? })
    }

    /// Fetches both halves, and stores the second, checked as any write, where the stored bytes are
    /// those of the first. `checks` are those of the stored blocks.
    ///
    /// The caller keeps other writes off the medium meanwhile. A race in either half is a race of its
    /// block; with `--on-race fail` it refuses the request, with `report` the fetched bytes decide. The
    /// order is SBC-4's: what is compared comes before what is checked of the other half.
    pub fn fetch_swap(&self, held: HeldSwap, checks: &Checks) -> Result<(), TrapError> {
        let HeldSwap { compared, written } = held;
        if self.unchecked {
            return self.swap_unchecked(&compared, &written);
        }
        let expected = self.fetch_sample(&compared)?;
        let fetched = self.fetch_sample(&written)?;
        self.count(&written, fetched.window);
        self.count_blocks(&compared);
        let clues = self.compare(&compared, &expected);
        let written_clues = self.compare(&written, &fetched);
        let result = self
            .judge(&compared, &expected, &clues)
            .and_then(|()| {
                self.require_stored(&compared, &expected.sample(&compared).bytes, checks)
            })
            .and_then(|()| self.judge(&written, &fetched, &written_clues));
        // Nothing of the first half is ever stored: that the request goes on is what it came to.
        let outcome = if result.is_ok() { Outcome::Stored } else { Outcome::Failed };
        self.report(&compared, &expected, &clues, outcome);
        match result {
            Ok(()) => self.put(written, fetched, written_clues, BlockCount(1)).map(drop),
            Err(error) => {
                self.report(&written, &fetched, &written_clues, Outcome::Failed);
                Err(error)
            }
        }
    }

    /// Compares stored blocks with bytes.
    pub(super) fn require_stored(
        &self,
        compared: &Held,
        expected: &[u8],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        let mut found = vec![0; expected.len()];
        let blocks = found.len() / self.block_bytes().max(1);
        let mut tuples = List::of(Tuple::ESCAPE, blocks);
        self.read_to_compare(compared.write.lba, &mut found, &mut tuples, checks)?;
        match expected.iter().zip(&found).position(|(sent, stored)| sent != stored) {
            Some(offset) => Err(TrapError::Miscompare { offset: offset as u64 }),
            None => Ok(()),
        }
    }
}
