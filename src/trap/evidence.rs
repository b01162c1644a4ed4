//! What a record says about a race.

use std::time::Duration;

use super::compare::difference;
use super::write::{Held, Write};
use crate::clock::Moment;
use crate::pi::{GuardTag, guard};
use crate::record::{Outcome, Phase, Race, RaceId, RequestInfo};
use crate::units::Lba;

/// A block that raced.
#[derive(Debug, Clone, Copy)]
pub struct Clue {
    /// The block.
    pub lba: Lba,
    /// Its place in the write.
    index: usize,
    /// Its first byte in guest-physical memory.
    gpa: u64,
}

impl Clue {
    /// Block number `index` of `write`, whose blocks are `size` bytes long.
    pub fn new(write: &Write, index: usize, size: usize) -> Self {
        let offset = (index as u64).saturating_mul(size as u64);
        Clue {
            lba: write.lba.offset(index as u64),
            index,
            // A clue is made for a block that was sampled, so its first byte has an address.
            gpa: write.data.address_at(offset).unwrap_or_default(),
        }
    }
}

/// Two samples of a write that differ, and what is known about them.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The write.
    pub held: &'a Held,
    /// The earlier sample's bytes.
    pub earlier: &'a [u8],
    /// The later sample's bytes.
    pub later: &'a [u8],
    /// The guards over the fetch sample.
    pub guards: &'a [GuardTag],
    /// The measured time between the doorbell sample and the later one.
    pub window: Duration,
    /// Between which samples.
    pub phase: Phase,
    /// What became of the blocks.
    pub outcome: Outcome,
    /// The same guest page stands more than once in the chain.
    pub overlap: bool,
}

impl Evidence<'_> {
    /// The record of one block.
    pub fn race(&self, clue: &Clue, id: RaceId, now: Moment, device: &str) -> Race {
        let size = self.earlier.len() / self.guards.len().max(1);
        let (earlier, later) = (block(self.earlier, clue, size), block(self.later, clue, size));
        let difference = difference(earlier, later);
        let fetch_guard = self.guards.get(clue.index).copied().unwrap_or(GuardTag(0));
        Race {
            id,
            t_us: now.micros(),
            label: self.held.span.label().map(str::to_owned),
            device: device.to_owned(),
            queue: self.held.write.queue,
            request: self.request(),
            lba: clue.lba,
            gpa: clue.gpa,
            phase: self.phase,
            window_us: self.window.as_secs_f64() * 1e6,
            doorbell_guard: guard(block(&self.held.doorbell, clue, size)).0,
            fetch_guard: fetch_guard.0,
            submit_guard: None,
            guard_blind: guard(earlier) == guard(later),
            changed: difference.runs,
            changed_bytes: difference.bytes,
            overlap: self.overlap,
            outcome: self.outcome,
            owner: None,
        }
    }

    fn request(&self) -> RequestInfo {
        let write = &self.held.write;
        RequestInfo {
            id: self.held.id,
            op: "write".to_owned(),
            lba: write.lba,
            blocks: write.blocks,
        }
    }
}

/// One block of a sample.
fn block<'a>(sample: &'a [u8], clue: &Clue, size: usize) -> &'a [u8] {
    sample.chunks_exact(size.max(1)).nth(clue.index).unwrap_or_default()
}
