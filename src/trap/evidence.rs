//! What a record says about a race.

use std::time::Duration;

use super::compare::{difference, hex};
use super::held::{Held, RacedBlock};
use super::sample::Sample;
use crate::clock::Moment;
use crate::memory::Segments;
use crate::pi::{GuardTag, TUPLE_BYTES, Tuple, guard};
use crate::record::{Outcome, Phase, PiChange, Race, RaceId, RequestInfo};

/// Two samples of a write that differ, and what is known about them.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The write, with its doorbell sample.
    pub held: &'a Held,
    /// The earlier sample.
    pub earlier: &'a Sample,
    /// The later sample.
    pub later: &'a Sample,
    /// The guards over the fetch sample.
    pub guards: &'a [GuardTag],
    /// When the later sample was taken.
    pub at: Moment,
    /// The measured time between the doorbell sample and the later one.
    pub window: Duration,
    /// What became of the blocks.
    pub outcome: Outcome,
    /// The same guest page stands more than once in the chain.
    pub overlap: bool,
}

impl Evidence<'_> {
    /// The record of one block.
    pub fn race(&self, clue: &RacedBlock, id: RaceId, device: &str, lun: Option<u16>) -> Race {
        let size = self.earlier.bytes.len() / self.guards.len().max(1);
        let doorbell = block(&self.held.doorbell, clue, size);
        let (earlier, later) = match clue.phase {
            // The bytes that the guest made its tuple of are gone: only the guards can be compared.
            Phase::BeforeDoorbell => (doorbell, doorbell),
            Phase::InWindow | Phase::AfterFetch | Phase::AfterDelivery => {
                (block(self.earlier, clue, size), block(self.later, clue, size))
            }
        };
        let difference = difference(earlier, later);
        Race {
            id,
            t_us: self.at.micros(),
            label: self.held.span.label().map(str::to_owned),
            device: device.to_owned(),
            lun,
            queue: self.held.write.queue,
            request: self.request(),
            lba: clue.lba,
            gpa: address_of(&self.held.write.data, clue.index, size),
            phase: clue.phase,
            window_us: self.window_us(clue.phase),
            doorbell_guard: Some(guard(doorbell).0),
            fetch_guard: self.guards.get(clue.index).map(|guard| guard.0),
            delivered_guard: None,
            look_guard: None,
            submit_guard: self.held.doorbell.tuple(clue.index).map(|tuple| tuple.guard.0),
            pi_changed: self.pi_change(clue),
            guard_blind: difference.bytes > 0 && guard(earlier) == guard(later),
            changed: difference.runs,
            changed_bytes: difference.bytes,
            overlap: self.overlap,
            after_completion: false,
            outcome: self.outcome,
            page: None,
            owner: None,
        }
    }

    fn window_us(&self, phase: Phase) -> f64 {
        match phase {
            Phase::BeforeDoorbell => 0.0,
            Phase::InWindow | Phase::AfterFetch | Phase::AfterDelivery => {
                self.window.as_secs_f64() * 1e6
            }
        }
    }

    /// The tuple's change between the two samples; the tuples of a command are sampled twice, at the
    /// doorbell and with the fetch.
    fn pi_change(&self, clue: &RacedBlock) -> Option<PiChange> {
        let pair = (self.earlier.tuple(clue.index)?, self.later.tuple(clue.index)?);
        let tuples = self.held.write.protection.as_ref()?.tuples.as_ref()?;
        let sampled_twice = clue.phase != Phase::BeforeDoorbell;
        tuple_change(tuples, clue.index, pair).filter(|_| sampled_twice)
    }

    fn request(&self) -> RequestInfo {
        let write = &self.held.write;
        RequestInfo {
            id: self.held.id,
            op: self.held.op.to_owned(),
            lba: write.lba,
            blocks: write.blocks,
        }
    }
}

/// One block of a sample.
fn block<'a>(sample: &'a Sample, clue: &RacedBlock, size: usize) -> &'a [u8] {
    sample.bytes.chunks_exact(size.max(1)).nth(clue.index).unwrap_or_default()
}

/// A tuple in `tuples` that was one thing and then another.
pub(super) fn tuple_change(
    tuples: &Segments,
    index: usize,
    (old, new): (Tuple, Tuple),
) -> Option<PiChange> {
    let spell = |tuple: Tuple| hex(&tuple.to_bytes());
    (old != new).then(|| PiChange {
        gpa: address_of(tuples, index, TUPLE_BYTES),
        old: spell(old),
        new: spell(new),
    })
}

/// Where item number `index` of a list begins in guest memory. A clue is made for a block that was
/// sampled, so it has an address.
pub(super) fn address_of(list: &Segments, index: usize, size: usize) -> u64 {
    let offset = (index as u64).saturating_mul(size as u64);
    list.address_at(offset).unwrap_or_default()
}
