//! A write between its steps: inside its window, and fetched.

use std::sync::Arc;
use std::time::Duration;

use super::request::Write;
use super::sample::Sample;
use super::tally::Span;
use crate::clock::Moment;
use crate::memory::List;
use crate::pi::GuardTag;
use crate::record::Phase;
use crate::units::Lba;

/// A write inside its window: its doorbell sample is taken, its data is not fetched yet.
#[derive(Debug)]
#[must_use = "a held write has to be fetched"]
pub struct Held {
    pub(super) id: u64,
    pub(super) write: Write,
    /// The data as it was at the doorbell; its tuples are the submit sample.
    pub(super) doorbell: Sample,
    /// What had changed by then.
    pub(super) before: Vec<RacedBlock>,
    pub(super) rung: Moment,
    pub(super) span: Arc<Span>,
    /// What its data is for, as records say it.
    pub(super) op: &'static str,
}

/// A write whose window is over: its one copy that goes to the medium, compared with the samples
/// before it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) held: Held,
    /// The fetch sample, where it is not the doorbell's once more.
    pub(super) changed: Option<Sample>,
    /// Computed over exactly the bytes that were fetched.
    pub(super) guards: List<GuardTag>,
    pub(super) at: Moment,
    /// The measured time since the doorbell sample.
    pub(super) window: Duration,
    /// The races in the order of their blocks; a block can have one a phase.
    pub(super) raced: Vec<RacedBlock>,
}

/// A block that raced, and between which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RacedBlock {
    /// The block.
    pub lba: Lba,
    /// Its place in the write.
    pub index: usize,
    /// Between which samples.
    pub phase: Phase,
}

impl Held {
    /// When the doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        self.rung
    }

    /// The bytes that the write holds a copy of.
    pub fn bytes(&self) -> u64 {
        self.write.sampled_bytes()
    }
}

impl Fetched {
    /// What was fetched: the doorbell's sample where both are the same, bit by bit.
    pub(super) fn sample(&self) -> &Sample {
        self.changed.as_ref().unwrap_or(&self.held.doorbell)
    }
}
