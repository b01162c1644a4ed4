//! What the drive makes of a fetched write: which blocks raced, whether it is refused, and which
//! tuples are stored.

use super::error::{Cause, TrapError};
use super::evidence::Clue;
use super::sample::Sample;
use super::write::{Held, Write, WriteProtection};
use crate::memory::List;
use crate::pi::{Checks, GuardTag, Mismatch, PiType, Tuple, generate_over, guard};
use crate::record::{OnRace, Phase};

/// The blocks whose guard, computed over the doorbell sample, is not the one that the guest sent.
///
/// Only where the command asks for guards to be checked: what else the guest puts there is its own.
pub fn before_doorbell(write: &Write, doorbell: &Sample, block_bytes: usize) -> Vec<Clue> {
    let checked = write.protection.as_ref().is_some_and(|protection| protection.checks.guard);
    let Some(tuples) = doorbell.tuples.as_ref().filter(|_| checked) else { return Vec::new() };
    let blocks = doorbell.bytes.chunks_exact(block_bytes).zip(tuples.iter()).enumerate();
    let changed = blocks.filter(|(_, (block, tuple))| guard(block) != tuple.guard);
    changed.map(|(index, _)| clue(write, index, Phase::BeforeDoorbell)).collect()
}

/// The blocks in which two samples of a write differ, in data or in tuple.
pub fn differing(
    write: &Write,
    earlier: &Sample,
    later: &Sample,
    block_bytes: usize,
    phase: Phase,
) -> Vec<Clue> {
    if earlier == later {
        return Vec::new();
    }
    let blocks = earlier.bytes.chunks_exact(block_bytes);
    let pairs = blocks.zip(later.bytes.chunks_exact(block_bytes)).enumerate();
    let differ = pairs
        .filter(|(index, (old, new))| old != new || earlier.tuple(*index) != later.tuple(*index));
    differ.map(|(index, _)| clue(write, index, phase)).collect()
}

fn clue(write: &Write, index: usize, phase: Phase) -> Clue {
    Clue { lba: write.lba.offset(index as u64), index, phase }
}

/// Whether the write may be stored.
///
/// The checks run over the fetch sample, as in hardware. With `--on-race fail` every race refuses
/// the write, also one that hides from the guard; with `report` blocks that raced are excused, and
/// tags that are wrong without having changed in flight still fail: that is no race.
pub fn judge(
    held: &Held,
    fetched: &Sample,
    guards: &[GuardTag],
    clues: &[Clue],
    on_race: OnRace,
) -> Result<(), TrapError> {
    let raced = |index: usize| clues.iter().any(|clue| clue.index == index);
    let excused = |index: &usize| on_race == OnRace::Report && raced(*index);
    let failed = failures(held, fetched, guards).find(|(index, _)| !excused(index));
    if let Some((index, mismatch)) = failed {
        let lba = held.write.lba.offset(index as u64);
        let cause = if raced(index) { Cause::Race } else { Cause::Found };
        return Err(TrapError::Protection { lba, mismatch, cause });
    }
    match clues.first() {
        Some(first) if on_race == OnRace::Fail => {
            Err(TrapError::Raced { first: first.lba, races: clues.len() as u64 })
        }
        _ => Ok(()),
    }
}

/// The blocks whose fetched tuple does not pass the command's checks, in order.
fn failures<'a>(
    held: &'a Held,
    fetched: &'a Sample,
    guards: &'a [GuardTag],
) -> impl Iterator<Item = (usize, Mismatch)> + 'a {
    let checks = held.write.protection.as_ref().map(|protection| protection.checks);
    let tuples = fetched.tuples.as_ref().map_or(&[][..], |tuples| tuples.as_slice());
    let blocks = tuples.iter().zip(guards).enumerate();
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
pub fn tuples_to_store(
    kind: PiType,
    write: &Write,
    fetched: &Sample,
    guards: &[GuardTag],
    clues: &[Clue],
) -> List<Tuple> {
    let checks = write.protection.as_ref().map(|protection| protection.checks);
    let mut tuples: List<Tuple> = match &fetched.tuples {
        Some(tuples) => tuples.clone(),
        None => guards
            .iter()
            .zip(0u64..)
            .map(|(guard, index)| generate_over(kind, *guard, write.lba.offset(index)))
            .collect(),
    };
    if fetched.tuples.is_some() {
        for clue in clues {
            mend(&mut tuples, guards, clue, checks);
        }
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
fn mend(tuples: &mut [Tuple], guards: &[GuardTag], clue: &Clue, checks: Option<Checks>) {
    if let (Some(tuple), Some(guard)) = (tuples.get_mut(clue.index), guards.get(clue.index)) {
        let expected = checks.and_then(|checks| checks.expected_reference(clue.index as u64));
        tuple.guard = *guard;
        tuple.reference = expected.unwrap_or(tuple.reference);
    }
}
