//! A write between its steps.
//!
//! What is known of it lies in one place from its doorbell to its end; the steps hand on a pointer, whose
//! type says how far the write is.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::request::Write;
use super::sample::Sample;
use super::tally::Span;
use crate::clock::Moment;
use crate::memory::{List, Pooled, listed};
use crate::pi::GuardTag;
use crate::record::Phase;
use crate::units::Lba;
use crate::watch::Armed;

/// A write inside its window: its doorbell sample is taken, its data is not fetched yet.
#[derive(Debug)]
#[must_use = "a held write has to be fetched"]
pub struct Held(Pooled<WriteState>);

/// A write whose window is over: its one copy that goes to the medium, compared with the samples
/// before it.
#[derive(Debug)]
pub(super) struct Fetched(Pooled<WriteState>);

/// What is known of a write so far.
#[derive(Debug)]
pub(super) struct WriteState {
    /// The number of its request.
    pub(super) id: u64,
    /// What the guest asked for.
    pub(super) write: Write,
    /// What its data is for, as records say it.
    pub(super) op: &'static str,
    /// The label that it counts for.
    pub(super) span: Arc<Span>,
    /// The data as it was at the doorbell; its tuples are the submit sample.
    pub(super) doorbell: Sample,
    /// When the doorbell sample was taken.
    pub(super) rung: Moment,
    /// The fetch sample, where it is not the doorbell's once more.
    pub(super) changed: Option<Sample>,
    /// Computed over exactly the bytes that were fetched.
    pub(super) guards: List<GuardTag>,
    /// When the fetch sample was taken.
    pub(super) at: Moment,
    /// The races in the order of their blocks; a block can have one a phase.
    pub(super) raced: Vec<RacedBlock>,
    /// Its pages, where stores to them are watched.
    pub(super) armed: Option<Arc<Armed>>,
}

listed!(WriteState);

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
    /// A write whose doorbell sample was taken.
    pub(super) fn new(state: WriteState) -> Held {
        Held(Pooled::new(state))
    }

    /// When the doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        self.0.rung
    }

    /// The bytes that the write holds a copy of.
    pub fn bytes(&self) -> u64 {
        self.0.write.sampled_bytes()
    }

    /// Adds what `fetch` finds out of it.
    pub(super) fn fetched<E>(
        mut self,
        fetch: impl FnOnce(&mut WriteState) -> Result<(), E>,
    ) -> Result<Fetched, E> {
        fetch(&mut self.0)?;
        Ok(Fetched(self.0))
    }
}

impl WriteState {
    /// What was fetched: the doorbell's sample where both are the same, bit by bit.
    pub(super) fn sample(&self) -> &Sample {
        self.changed.as_ref().unwrap_or(&self.doorbell)
    }

    /// The measured time between the doorbell sample and the fetch.
    pub(super) fn window(&self) -> Duration {
        self.at.since(self.rung)
    }
}

impl Deref for Fetched {
    type Target = WriteState;

    fn deref(&self) -> &WriteState {
        &self.0
    }
}
