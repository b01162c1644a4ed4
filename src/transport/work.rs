//! What a lane has in its hands, and how a request leaves them.

use std::collections::{HashMap, VecDeque};

use super::audit::Audits;
use super::parked::Parked;
use super::schedule::Schedule;
use super::silenced::Silenced;
use super::timer::Alarm;
use crate::clock::Moment;
use crate::media::TransferId;
use crate::proto::{Answered, Device, Unanswerable};
use crate::queue::{Request, Ring, RingError, Token};
use crate::trap::WindowPolicy;

/// What a request in flight costs besides its data and its list of pieces.
const REQUEST_BYTES: u64 = 512;

/// What is under way in a lane.
#[derive(Debug)]
pub struct Work<D: Device> {
    pub(super) in_window: Schedule<InFlight<D::Held>>,
    /// Requests whose data is on its way to or from the medium.
    pub(super) under_way: HashMap<TransferId, InFlight<D::UnderWay>>,
    /// A request that waits for room in the budget.
    pub(super) waiting: Option<Request>,
    /// Requests that are not answered, and that a sweep may still end.
    pub(super) silenced: Vec<Silenced<D::Held>>,
    /// What the answers cost that the driver was not told of yet.
    pub(super) untold: u64,
    /// Requests that wait for news of the device.
    pub(super) parked: VecDeque<Parked>,
    pub(super) policy: WindowPolicy,
    /// Reads that were completed and are looked at once more.
    pub(super) audits: Audits,
    pub(super) alarm: Alarm,
    /// When the ring was last seen empty, or the lane woke up.
    pub(super) looked: Moment,
    /// When the ring was last seen not to be.
    pub(super) active: Moment,
    pub(super) broken: bool,
    /// The connection is about to be ended: nothing more is taken.
    pub(super) retired: bool,
}

/// A held request, the token that answers it and what it took from the budget.
#[derive(Debug)]
pub struct InFlight<H> {
    pub(super) held: H,
    pub(super) token: Token,
    pub(super) cost: u64,
}

/// Why a lane stops following its ring.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error("more requests are in flight than its ring has descriptors ({0})")]
    Overfull(usize),
}

/// What a request takes from the budget while it is in flight.
pub fn cost_of(request: &Request) -> u64 {
    let lists = [&request.readable, &request.writable];
    lists.iter().map(|list| list.len().saturating_add(list.list_bytes())).sum::<u64>()
        + REQUEST_BYTES
}

/// Puts an answer into the ring, or gives the request up where there is none.
pub fn complete(
    ring: &Ring,
    token: Token,
    answered: Result<Answered, Unanswerable>,
) -> Result<(), LaneError> {
    match answered {
        Ok(answered) => Ok(ring.complete(token, answered.written)?),
        Err(unanswerable) => {
            token.abandon();
            Err(unanswerable.into())
        }
    }
}
