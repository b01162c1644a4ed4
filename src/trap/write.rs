//! The one way of every write: sample → (window) → judge → start → conclude.
//!
//! WRITE, WRITE SAME, WRITE AND VERIFY and COMPARE AND WRITE all go it, on every kind of disk. The
//! medium answers a start with "done" or "pending"; what is done is concluded at once.

use std::borrow::Cow;

use super::by_block::runs_without;
use super::error::TrapError;
use super::evidence::Evidence;
use super::faults::Placement;
use super::held::{Fetched, Held, RacedBlock, WriteState};
use super::judge::{delivery_checks, judge as judge_fetched, raced_before_doorbell, raced_between};
use super::payload::WritePayload;
use super::request::Write;
use super::sample::Sample;
use super::tally::Count;
use super::trap::Trap;
use crate::clock::Moment;
use crate::inject::Op;
use crate::media::{Completion, MediaError, Started};
use crate::memory::List;
use crate::record::{Outcome, Phase, RaceId};
use crate::units::BlockCount;

/// What the data of most held requests is for.
pub(super) const WRITTEN: &str = "write";

/// A write that was fetched and may be stored.
#[derive(Debug)]
#[must_use = "a write that was judged has to be started"]
pub struct Judged(Fetched);

/// A write that is on its way to the medium.
#[derive(Debug)]
#[must_use = "a write in flight has to be concluded"]
pub struct WriteInFlight {
    fetched: Fetched,
    placement: Placement,
}

/// A write that was stored, and what was meant to be.
#[derive(Debug)]
pub struct Stored {
    pub(super) fetched: Fetched,
    /// Faults were injected into it on its way.
    pub(super) injected: bool,
}

/// Takes the submit and doorbell samples of a write: its window begins.
pub fn sample(trap: &Trap, write: Write) -> Result<Held, TrapError> {
    trap.check_range(write.lba, write.blocks)?;
    trap.admit(Op::Write, write.lba, write.blocks)?;
    hold(trap, write, trap.ledger.take_request_id(), WRITTEN)
}

/// Takes the samples of data that is for `op`.
pub(super) fn hold(
    trap: &Trap,
    write: Write,
    id: u64,
    op: &'static str,
) -> Result<Held, TrapError> {
    let rung = trap.ledger.now();
    // The medium's memory is prefetched while the window lasts.
    trap.disk.expect_write(write.lba, write.blocks);
    let armed = trap.ledger.arm(&write.data);
    let doorbell = trap.policy.doorbell(&write)?;
    Ok(Held::new(WriteState {
        id,
        op,
        span: trap.ledger.span(),
        raced: raced_before_doorbell(&write, &doorbell, trap.block_bytes()),
        write,
        doorbell,
        rung,
        changed: None,
        guards: List::empty(),
        at: Moment::NEVER,
        armed,
    }))
}

/// Ends a write's window: fetches it, compares the samples, and makes the checks that the command asks
/// for.
///
/// With `--on-race fail` a write of which any block raced is refused whole, so the medium keeps its old
/// bytes; so it is where a check fails.
pub fn judge(trap: &Trap, held: Held) -> Result<Judged, TrapError> {
    let fetched = fetch(trap, held)?;
    count(trap, &fetched);
    match judge_fetched(&fetched, trap.options.on_race) {
        Ok(()) => Ok(Judged(fetched)),
        Err(refusal) => {
            report(trap, &fetched, Outcome::Failed);
            Err(refusal)
        }
    }
}

impl Judged {
    /// Takes the word of who judged it.
    pub(super) fn fit(fetched: Fetched) -> Judged {
        Judged(fetched)
    }
}

/// Takes the fetch sample, the one copy that goes to the medium, and holds it against the others.
pub(super) fn fetch(trap: &Trap, held: Held) -> Result<Fetched, TrapError> {
    held.fetched(|state| {
        state.at = trap.ledger.now();
        let fetched = trap.policy.fetch(state, trap.block_bytes());
        if let Some(armed) = &state.armed {
            armed.fetched();
        }
        fetched
    })
}

pub(super) fn count(trap: &Trap, fetched: &Fetched) {
    let span = &fetched.span;
    trap.ledger.count(span, Count::Writes, 1);
    if !fetched.raced.is_empty() {
        trap.ledger.count(span, Count::RacedWrites, 1);
    }
    if trap.policy.compares() {
        count_blocks(trap, fetched);
        trap.ledger.count_window(span, fetched.window());
    }
}

pub(super) fn count_blocks(trap: &Trap, fetched: &Fetched) {
    trap.ledger.count(&fetched.span, Count::BlocksChecked, fetched.write.blocks.0);
}

/// Starts to store the fetched bytes with their protection information, `copies` times one after the
/// other. The medium may take its time.
///
/// More than one copy is WRITE SAME: the reference tag counts on, guard and application tag stay (SBC-4,
/// WRITE SAME (10)). The data was sampled once, so one block that raced is one race, at its first place.
/// The copies are made in memory: the device says how many it takes at most.
pub fn start(
    trap: &Trap,
    judged: Judged,
    copies: BlockCount,
) -> Result<Started<Stored, WriteInFlight>, TrapError> {
    let Judged(fetched) = judged;
    let queue = fetched.write.arrival.queue;
    let put = |WritePayload { lba, bytes, tuples }: WritePayload<'_>| {
        trap.disk.start_write(queue, lba, &bytes, tuples)
    };
    match send(trap, &fetched, copies, put) {
        Ok((Started::Pending(id, ()), placement)) => {
            Ok(Started::Pending(id, WriteInFlight { fetched, placement }))
        }
        Ok((Started::Done(()), placement)) => {
            Ok(Started::Done(stored(trap, WriteInFlight { fetched, placement })))
        }
        Err(error) => Err(failed(trap, &fetched, error)),
    }
}

/// As [`start`], of one copy that is stored when this returns: nothing else comes in between.
pub fn store(trap: &Trap, judged: Judged) -> Result<Stored, TrapError> {
    let Judged(fetched) = judged;
    let put =
        |payload: WritePayload<'_>| trap.disk.write(payload.lba, &payload.bytes, &payload.tuples);
    match send(trap, &fetched, BlockCount(1), put) {
        Ok(((), placement)) => Ok(stored(trap, WriteInFlight { fetched, placement })),
        Err(error) => Err(failed(trap, &fetched, error)),
    }
}

/// Makes what goes to the medium, lets faults happen to it, and puts it there.
fn send<R>(
    trap: &Trap,
    fetched: &Fetched,
    copies: BlockCount,
    put: impl FnOnce(WritePayload<'_>) -> Result<R, MediaError>,
) -> Result<(R, Placement), TrapError> {
    let (write, kind) = (&fetched.write, trap.geometry().pi_type);
    let (bytes, tuples) = (Cow::from(&*fetched.sample().bytes), trap.policy.tuples(kind, fetched));
    let mut payload = WritePayload { lba: write.lba, bytes, tuples };
    if copies > BlockCount(1) {
        let blocks = payload.blocks().0.saturating_mul(copies.0);
        trap.check_range(payload.lba, BlockCount(blocks))?;
        payload = payload.repeated(kind, copies);
    }
    let site = trap.site(Op::Write, payload.lba, payload.blocks());
    let checks = || delivery_checks(kind, write);
    let placement = trap.faults.apply(&fetched.span, &site, checks, &mut payload)?;
    Ok((put(payload)?, placement))
}

/// Ends a write whose data has landed, or failed to: records its races, and heals what it covers.
pub fn conclude(
    trap: &Trap,
    in_flight: WriteInFlight,
    completion: Completion,
) -> Result<Stored, TrapError> {
    match completion {
        Ok(_) => Ok(stored(trap, in_flight)),
        Err(error) => Err(failed(trap, &in_flight.fetched, error.into())),
    }
}

fn failed(trap: &Trap, fetched: &Fetched, error: TrapError) -> TrapError {
    report(trap, fetched, Outcome::Failed);
    error
}

fn stored(trap: &Trap, in_flight: WriteInFlight) -> Stored {
    let WriteInFlight { fetched, placement } = in_flight;
    report(trap, &fetched, Outcome::Stored);
    trap.faults.stored(&placement);
    let raced = fetched.raced.iter().map(|block| block.lba);
    for run in runs_without(placement.in_place(), raced) {
        trap.ledger.heal(trap.place(run.first), run.count);
    }
    audit(trap, &fetched);
    Stored { fetched, injected: placement.injected }
}

/// Counts, records and remembers the races of a write.
pub(super) fn report(trap: &Trap, fetched: &Fetched, outcome: Outcome) {
    if fetched.raced.is_empty() {
        return;
    }
    let evidence = Evidence {
        state: fetched,
        earlier: &fetched.doorbell,
        later: fetched.sample(),
        at: fetched.at,
        window: fetched.window(),
        outcome,
        overlap: fetched.write.data.has_repeated_page(),
    };
    for block in &fetched.raced {
        let race = record_race(trap, &evidence, block);
        trap.ledger.stand(trap.place(block.lba), race, fetched.at, &fetched.span);
    }
}

fn record_race(trap: &Trap, evidence: &Evidence<'_>, block: &RacedBlock) -> RaceId {
    let id = trap.ledger.take_race_id();
    let unit = trap.ledger.name_of(trap.options.unit);
    let race = evidence.race(block, id, trap.ledger.device(), unit);
    let state = evidence.state;
    let suspect = state.armed.as_ref().and_then(|armed| evidence.suspect(block, &race, armed));
    trap.ledger.note_race(&state.span, state.write.data.memory(), race, suspect);
    id
}

/// Looks once more before the completion, when asked to. Hardware cannot see this, so it never fails a
/// write.
fn audit(trap: &Trap, fetched: &Fetched) {
    if !trap.options.audit {
        return;
    }
    let at = trap.ledger.now();
    let Ok(last) = Sample::take(&fetched.write) else { return };
    let (sample, size) = (fetched.sample(), trap.block_bytes());
    let raced = raced_between(&fetched.write, sample, &last, size, Phase::AfterFetch);
    let evidence = Evidence {
        state: fetched,
        earlier: sample,
        later: &last,
        at,
        window: at.since(fetched.rung),
        outcome: Outcome::Stored,
        overlap: fetched.write.data.has_repeated_page(),
    };
    for block in &raced {
        record_race(trap, &evidence, block);
    }
}
