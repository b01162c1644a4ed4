//! What the drive makes of a fetched write: which blocks raced, whether it is refused, and which
//! tuples are stored.

use super::error::{Cause, TrapError};
use super::held::{RacedBlock, WriteState};
use super::request::{Write, WriteProtection};
use super::sample::Sample;
use crate::memory::List;
use crate::pi::{Checks, GuardTag, Mismatch, PiType, Tuple, generate_over, guard};
use crate::record::{OnRace, Phase};

/// The blocks whose guard, computed over the doorbell sample, is not the one that the guest sent.
///
/// Only where the command asks for guards to be checked: what else the guest puts there is its own.
pub fn raced_before_doorbell(
    write: &Write,
    doorbell: &Sample,
    block_bytes: usize,
) -> Vec<RacedBlock> {
    let checked = write.checks().is_some_and(|checks| checks.guard);
    let Some(tuples) = doorbell.tuples.as_ref().filter(|_| checked) else { return Vec::new() };
    let blocks = doorbell.bytes.chunks_exact(block_bytes).zip(tuples.iter()).enumerate();
    let changed = blocks.filter(|(_, (block, tuple))| guard(block) != tuple.guard);
    changed.map(|(index, _)| raced(write, index, Phase::BeforeDoorbell)).collect()
}

/// The blocks in which two samples of a write differ, in data or in tuple.
pub fn raced_between(
    write: &Write,
    earlier: &Sample,
    later: &Sample,
    block_bytes: usize,
    phase: Phase,
) -> Vec<RacedBlock> {
    if earlier == later {
        return Vec::new();
    }
    let blocks = earlier.bytes.chunks_exact(block_bytes);
    let pairs = blocks.zip(later.bytes.chunks_exact(block_bytes)).enumerate();
    let differ = pairs
        .filter(|(index, (old, new))| old != new || earlier.tuple(*index) != later.tuple(*index));
    differ.map(|(index, _)| raced(write, index, phase)).collect()
}

fn raced(write: &Write, index: usize, phase: Phase) -> RacedBlock {
    RacedBlock { lba: write.lba.offset(index as u64), index, phase }
}

/// Whether the write may be stored.
///
/// The checks run over the fetch sample, as in hardware. With `--on-race fail` every race refuses
/// the write, also one that hides from the guard; with `report` blocks that raced are excused, and
/// tags that are wrong without having changed in flight still fail: that is no race.
pub fn judge(fetched: &WriteState, on_race: OnRace) -> Result<(), TrapError> {
    let raced = |index: usize| fetched.raced.iter().any(|block| block.index == index);
    let excused = |index: &usize| on_race == OnRace::Report && raced(*index);
    let failed = failures(fetched).find(|(index, _)| !excused(index));
    if let Some((index, mismatch)) = failed {
        let lba = fetched.write.lba.offset(index as u64);
        let cause = if raced(index) { Cause::Race } else { Cause::Found };
        return Err(TrapError::Protection { lba, mismatch, cause });
    }
    match fetched.raced.first() {
        Some(first) if on_race == OnRace::Fail => {
            Err(TrapError::Raced { first: first.lba, races: fetched.raced.len() as u64 })
        }
        _ => Ok(()),
    }
}

/// The blocks whose fetched tuple does not pass the command's checks, in order.
fn failures(fetched: &WriteState) -> impl Iterator<Item = (usize, Mismatch)> {
    let checks = fetched.write.checks();
    let tuples = fetched.sample().tuples.as_ref().map_or(&[][..], |tuples| tuples.as_slice());
    let blocks = tuples.iter().zip(fetched.guards.iter()).enumerate();
    blocks.filter_map(move |(index, (tuple, guard))| {
        let failed = checks?.verify(*tuple, *guard, index as u64).err()?;
        Some((index, failed))
    })
}

/// The tuples that go to the medium with the fetched data.
///
/// What the guest sent is kept as it is (SBC-4: the device server preserves it); what it did not
/// send is generated. A block that raced gets a guard made from what is stored, so that no later
/// read is poisoned.
pub fn tuples_to_store(kind: PiType, fetched: &WriteState) -> List<Tuple> {
    let write = &fetched.write;
    let Some(sent) = &fetched.sample().tuples else {
        let guards = fetched.guards.iter().zip(0u64..);
        let generated =
            guards.map(|(guard, index)| generate_over(kind, *guard, write.lba.offset(index)));
        return generated.collect();
    };
    let mut tuples = sent.clone();
    for block in &fetched.raced {
        mend(&mut tuples, &fetched.guards, block, write.checks());
    }
    tuples
}

/// What the drive checks of blocks that arrive: what the command asks for, or, of tuples that were
/// generated on the way, all there is.
pub fn delivery_checks(kind: PiType, write: &Write) -> Checks {
    match &write.protection {
        Some(WriteProtection { tuples: Some(_), checks }) => *checks,
        _ => Checks { escapes: false, ..Checks::of_address(kind, write.lba) },
    }
}

/// Recomputes the tuple of a block that raced.
fn mend(tuples: &mut [Tuple], guards: &[GuardTag], block: &RacedBlock, checks: Option<Checks>) {
    if let (Some(tuple), Some(guard)) = (tuples.get_mut(block.index), guards.get(block.index)) {
        let expected = checks.and_then(|checks| checks.expected_reference(block.index as u64));
        tuple.guard = *guard;
        tuple.reference = expected.unwrap_or(tuple.reference);
    }
}
