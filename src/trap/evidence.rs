//! What a record says about a race.

use std::sync::Arc;
use std::time::Duration;

use super::compare::{difference, hex};
use super::held::{RacedBlock, WriteState};
use super::sample::Sample;
use crate::clock::Moment;
use crate::memory::Segments;
use crate::pi::{TUPLE_BYTES, Tuple, guard};
use crate::record::{Outcome, Phase, PiChange, Race, RaceId, RequestInfo};
use crate::watch::{Armed, Suspect};

/// Two samples of a write that differ, and what is known about them.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The write, with its doorbell sample and the guards over its fetch sample.
    pub state: &'a WriteState,
    /// The earlier sample.
    pub earlier: &'a Sample,
    /// The later sample.
    pub later: &'a Sample,
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
    pub fn race(&self, raced: &RacedBlock, id: RaceId, device: &str, lun: Option<u16>) -> Race {
        let size = self.earlier.bytes.len() / self.state.guards.len().max(1);
        let doorbell = bytes_of(&self.state.doorbell, raced, size);
        let (earlier, later) = match raced.phase {
            // The bytes that the guest made its tuple of are gone: only the guards can be compared.
            Phase::BeforeDoorbell => (doorbell, doorbell),
            Phase::InWindow | Phase::AfterFetch | Phase::AfterDelivery => {
                (bytes_of(self.earlier, raced, size), bytes_of(self.later, raced, size))
            }
        };
        let difference = difference(earlier, later);
        Race {
            id,
            t_us: self.at.micros(),
            label: self.state.span.label().map(str::to_owned),
            device: device.to_owned(),
            lun,
            queue: self.state.write.arrival.queue,
            request: self.request(),
            lba: raced.lba,
            gpa: address_of(&self.state.write.data, raced.index, size),
            phase: raced.phase,
            window_us: self.window_us(raced.phase),
            doorbell_guard: Some(guard(doorbell).0),
            fetch_guard: self.state.guards.get(raced.index).map(|guard| guard.0),
            delivered_guard: None,
            look_guard: None,
            submit_guard: self.state.doorbell.tuple(raced.index).map(|tuple| tuple.guard.0),
            pi_changed: self.pi_change(raced),
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

    /// What a watcher needs to find out who did it; nothing where it was not watching between the samples.
    pub fn suspect(&self, raced: &RacedBlock, race: &Race, armed: &Arc<Armed>) -> Option<Suspect> {
        let size = self.earlier.bytes.len() / self.state.guards.len().max(1);
        let data = &self.state.write.data;
        let offset = (raced.index as u64).saturating_mul(size as u64);
        let runs = race.changed.iter().map(|run| run.offset..run.offset.saturating_add(run.len));
        (raced.phase == Phase::InWindow && !race.changed.is_empty()).then(|| Suspect {
            race: race.id,
            armed: Arc::clone(armed),
            memory: Arc::clone(data.memory()),
            pieces: data.pieces(offset, size as u64),
            old: bytes_of(self.earlier, raced, size).to_vec(),
            new: bytes_of(self.later, raced, size).to_vec(),
            runs: runs.collect(),
            page: None,
        })
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
    fn pi_change(&self, raced: &RacedBlock) -> Option<PiChange> {
        let pair = (self.earlier.tuple(raced.index)?, self.later.tuple(raced.index)?);
        let tuples = self.state.write.protection.as_ref()?.tuples.as_ref()?;
        let sampled_twice = raced.phase != Phase::BeforeDoorbell;
        tuple_change(tuples, raced.index, pair).filter(|_| sampled_twice)
    }

    fn request(&self) -> RequestInfo {
        let write = &self.state.write;
        RequestInfo {
            id: self.state.id,
            op: self.state.op.to_owned(),
            lba: write.lba,
            blocks: write.blocks,
            resubmitted: write.arrival.resubmitted,
        }
    }
}

/// One block of a sample.
fn bytes_of<'a>(sample: &'a Sample, raced: &RacedBlock, size: usize) -> &'a [u8] {
    sample.bytes.chunks_exact(size.max(1)).nth(raced.index).unwrap_or_default()
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

/// Where item number `index` of a list begins in guest memory. A race is found in a block that was
/// sampled, so it has an address.
pub(super) fn address_of(list: &Segments, index: usize, size: usize) -> u64 {
    let offset = (index as u64).saturating_mul(size as u64);
    list.address_at(offset).unwrap_or_default()
}
