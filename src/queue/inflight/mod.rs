//! Which requests of a queue were taken and not answered, in memory that outlives this process.
//!
//! The front end keeps the file (vhost-user, "Inflight I/O tracking"). After a kill the next process
//! finds in it what the rings alone cannot tell: which requests are still to be done. The order of the
//! stores is what makes every moment of a kill one of two things, not taken or in flight, answered or
//! in flight:
//!
//! - taken: counter, then "in flight";
//! - answered: head of the last batch, used element, `used.idx`, "not in flight", used index. Where the
//!   last of these is not `used.idx`, the answer of that head has landed and its mark has not gone.
//!
//! A kill loses no store that was executed, so the compiler's order is all that is needed.

mod region;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use region::{InFlightFileError, InFlightShape, Region};

/// The version of the layout.
const LAYOUT: u16 = 1;

/// Why a region does not say how a ring goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InFlightError {
    /// It is of another layout.
    #[error("the in-flight region has version {0}, and this device knows version {LAYOUT}")]
    Version(u16),
    /// It is another ring's.
    #[error("the in-flight region is of a ring of {region} descriptors, and this one has {ring}")]
    Size {
        /// What the region says.
        region: u16,
        /// What the ring has.
        ring: u16,
    },
    /// More is in flight than the driver made available.
    #[error(
        "the in-flight region tells of {in_flight} requests under way at {used} answered, and the \
         driver made {available} available: it is of another ring, or was written over"
    )]
    Contradiction {
        /// How many the region says to be in flight.
        in_flight: u16,
        /// `used.idx`.
        used: u16,
        /// `avail.idx`.
        available: u16,
    },
}

/// The indexes of a ring that is about to be worked on, as they lie in guest memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexes {
    pub(super) size: u16,
    pub(super) used: u16,
    pub(super) available: u16,
}

/// The requests in flight of one queue. Cheap to clone; all clones are one. Without a region it
/// remembers nothing.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Shared>);

/// The two in front are there to be looked at without the lock: mostly there is nothing to do again, and
/// without a region nothing to note.
#[derive(Debug, Default)]
struct Shared {
    is_kept: AtomicBool,
    unanswered: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    region: Option<Region>,
    /// Goes up with every request: the order in which they were taken.
    counter: u64,
    /// What another process took and did not answer, in that order.
    unanswered: VecDeque<u16>,
}

impl InFlight {
    /// From here on `region` is kept; what was to be done again is known only once the ring starts.
    pub fn adopt(&self, region: Option<Region>) {
        let mut state = self.lock();
        self.0.is_kept.store(region.is_some(), Ordering::Relaxed);
        *state = State { region, ..State::default() };
        self.note_unanswered(&state);
    }

    /// Nothing is in flight any more: the device was reset.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.unanswered.clear();
        self.note_unanswered(&state);
        if let Some(region) = &state.region {
            (0..region.ring_size()).for_each(|head| region.set_in_flight(head, false));
            region.set_version(0);
        }
    }

    /// Looks how a ring goes on, before anything is taken from it: answers the entry of the available
    /// ring that comes next, or `None` where there is no region, or a new one, which is begun.
    pub(super) fn recover(&self, ring: Indexes) -> Result<Option<u16>, InFlightError> {
        let mut state = self.lock();
        state.unanswered.clear();
        self.note_unanswered(&state);
        let Some(region) = state.region.clone() else { return Ok(None) };
        if region.version() == 0 {
            begin(&region, ring);
            state.counter = 0;
            return Ok(None);
        }
        require(&region, ring)?;
        if region.used_idx() != ring.used {
            region.set_in_flight(region.last_head(), false);
            region.set_used_idx(ring.used);
        }
        let (unanswered, counter) = in_order(&region);
        let next = next_entry(ring, unanswered.len())?;
        (state.unanswered, state.counter) = (unanswered, counter);
        self.note_unanswered(&state);
        Ok(Some(next))
    }

    /// The next request that was taken before and not answered.
    pub(super) fn next_unanswered(&self) -> Option<u16> {
        if !self.has_unanswered() {
            return None;
        }
        let mut state = self.lock();
        let head = state.unanswered.pop_front();
        self.note_unanswered(&state);
        head
    }

    /// Whether there is one.
    pub(super) fn has_unanswered(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed) > 0
    }

    /// A request leaves its ring.
    pub(super) fn take(&self, head: u16) {
        if !self.0.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        state.counter = state.counter.wrapping_add(1);
        if let Some(region) = &state.region {
            region.set_counter(head, state.counter);
            region.set_in_flight(head, true);
        }
    }

    /// A request's answer goes into the used ring, which `put` does.
    pub(super) fn answer<E>(
        &self,
        head: u16,
        put: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.0.is_kept.load(Ordering::Relaxed) {
            return put();
        }
        let state = self.lock();
        let Some(region) = &state.region else { return put() };
        region.set_last_head(head);
        put()?;
        region.set_in_flight(head, false);
        region.set_used_idx(region.used_idx().wrapping_add(1));
        Ok(())
    }

    fn note_unanswered(&self, state: &State) {
        self.0.unanswered.store(state.unanswered.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a region that is all zeros. Its version comes last: before, it is as good as new.
fn begin(region: &Region, ring: Indexes) {
    (0..region.ring_size()).for_each(|head| region.set_in_flight(head, false));
    region.set_descriptors(ring.size);
    region.set_used_idx(ring.used);
    region.set_version(LAYOUT);
}

/// Refuses a region that is not of this ring.
fn require(region: &Region, ring: Indexes) -> Result<(), InFlightError> {
    let (version, size) = (region.version(), region.descriptors());
    if version != LAYOUT {
        return Err(InFlightError::Version(version));
    }
    if size != ring.size || ring.size > region.ring_size() {
        return Err(InFlightError::Size { region: size, ring: ring.size });
    }
    Ok(())
}

/// What is in flight in the order in which it was taken, and the last counter.
fn in_order(region: &Region) -> (VecDeque<u16>, u64) {
    let heads = (0..region.ring_size()).filter(|head| region.is_in_flight(*head));
    let mut taken: Vec<_> = heads.map(|head| (region.counter(head), head)).collect();
    taken.sort_unstable();
    let counter = taken.last().map_or(0, |(counter, _)| *counter);
    (taken.into_iter().map(|(_, head)| head).collect(), counter)
}

/// The entry behind all that were taken: answered ones and those in flight.
fn next_entry(ring: Indexes, in_flight: usize) -> Result<u16, InFlightError> {
    let Indexes { size, used, available } = ring;
    // No more than the ring's descriptors, of which a `u16` counts.
    let in_flight = u16::try_from(in_flight).unwrap_or(u16::MAX);
    let next = used.wrapping_add(in_flight);
    let outstanding = available.wrapping_sub(used);
    if outstanding > size || in_flight > outstanding {
        return Err(InFlightError::Contradiction { in_flight, used, available });
    }
    Ok(next)
}

#[cfg(test)]
mod tests;
