//! A write that happens only where the stored bytes are those that came with it (COMPARE AND WRITE).

use super::error::TrapError;
use super::held::{Fetched, Held};
use super::judge::judge as judge_fetched;
use super::read;
use super::request::Write;
use super::tally::Count;
use super::trap::Trap;
use super::write::{Judged, WRITTEN, count, count_blocks, fetch, hold, report};
use crate::clock::Moment;
use crate::inject::Op;
use crate::memory::List;
use crate::pi::{Checks, Tuple};
use crate::record::Outcome;

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
#[must_use = "a held swap has to be judged"]
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

/// Takes the submit and doorbell samples of both halves: one request, whose halves share its number.
pub fn sample(trap: &Trap, swap: Swap) -> Result<HeldSwap, TrapError> {
    let Swap { compared, written } = swap;
    trap.check_range(written.lba, written.blocks)?;
    trap.admit(Op::Write, written.lba, written.blocks)?;
    let id = trap.ledger.take_request_id();
    let compared = hold(trap, compared, id, COMPARED)?;
    Ok(HeldSwap { compared, written: hold(trap, written, id, WRITTEN)? })
}

/// Fetches both halves; the second, checked as any write, may be stored where the stored bytes are those
/// of the first. `checks` are those of the stored blocks.
///
/// The caller keeps other writes off the medium from here until it is stored. A race in either half is a
/// race of its block; with `--on-race fail` it refuses the request, with `report` the fetched bytes
/// decide. The order is SBC-4's: what is compared comes before what is checked of the other half.
pub fn judge(trap: &Trap, held: HeldSwap, checks: &Checks) -> Result<Judged, TrapError> {
    let (compared, written) = (fetch(trap, held.compared)?, fetch(trap, held.written)?);
    count(trap, &written);
    if written.raced.is_empty() && !compared.raced.is_empty() {
        trap.ledger.count(&compared.span, Count::RacedWrites, 1);
    }
    if trap.policy.compares() {
        count_blocks(trap, &compared);
    }
    let fit = judge_fetched(&compared, trap.options.on_race)
        .and_then(|()| require_stored(trap, &compared, checks))
        .and_then(|()| judge_fetched(&written, trap.options.on_race));
    // Nothing of the first half is ever stored: that the request goes on is what it came to.
    let outcome = if fit.is_ok() { Outcome::Stored } else { Outcome::Failed };
    report(trap, &compared, outcome);
    match fit {
        Ok(()) => Ok(Judged::fit(written)),
        Err(refusal) => {
            report(trap, &written, Outcome::Failed);
            Err(refusal)
        }
    }
}

/// Compares stored blocks with bytes.
fn require_stored(trap: &Trap, compared: &Fetched, checks: &Checks) -> Result<(), TrapError> {
    let expected = &compared.sample().bytes;
    let mut found = vec![0; expected.len()];
    let blocks = found.len() / trap.block_bytes().max(1);
    let mut tuples = List::of(Tuple::ESCAPE, blocks);
    read::to_compare(trap, compared.write.lba, &mut found, &mut tuples, checks)?;
    match expected.iter().zip(&found).position(|(sent, stored)| sent != stored) {
        Some(offset) => Err(TrapError::Miscompare { offset: offset as u64 }),
        None => Ok(()),
    }
}
