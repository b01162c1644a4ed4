//! A queue's requests, from its ring into their windows, and from there to their answers.

use std::time::Duration;

use super::answers::complete;
use super::error::QueueError;
use super::event_buffers::EventBuffer;
use super::peers::{NoPeers, PeerQueues};
use super::queue::Queue;
use super::state::QueueState;
use super::windows::Pending;
use crate::media::TransferId;
use crate::proto::{BeginOutcome, Device, DeviceRequest, Finished, InWindow};
use crate::queue::{Request, Ring};
use crate::trap::Arrival;

/// How long a queue takes up requests before others have its lock: a driver can fill its ring as fast as
/// it is emptied.
const TURN: Duration = Duration::from_millis(10);
/// After how many requests the queue looks at the clock for that.
const LOOK_EVERY: u32 = 8;
/// How many bytes are sampled before what is due meanwhile is fetched: both samples of them, and what
/// they are compared with, stay in a core's second-level cache.
const SAMPLED_AT_ONCE: u64 = 128 << 10;
/// What a request in flight costs besides its data and its list of pieces.
const REQUEST_BYTES: u64 = 512;

/// What a request takes from the budget while it is in flight.
fn cost_of(request: &Request) -> u64 {
    let lists = [&request.readable, &request.writable];
    lists.iter().map(|list| list.len().saturating_add(list.list_bytes())).sum::<u64>()
        + REQUEST_BYTES
}

/// Takes requests until the ring is empty, the budget is spent or the turn is over; answers whether
/// the ring is empty. A request that waits is counted once, however often it is looked at.
pub(super) fn take<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    peers: &dyn PeerQueues<D>,
) -> Result<bool, QueueError> {
    let (mut counted, mut sampled) = (state.waiting.is_some(), 0);
    let (began, mut taken) = (state.looked, 0_u32);
    while let Some(request) = next(state, ring)? {
        let cost = cost_of(&request);
        if queue.device.holds(queue.index) && !queue.control.budget.allows(cost) {
            if !counted {
                queue.ledger.note_deferred();
            }
            state.waiting = Some(request);
            return Ok(false);
        }
        begin(queue, state, ring, request, peers)?;
        counted = false;
        state.active = state.looked;
        sampled += cost;
        if sampled >= SAMPLED_AT_ONCE {
            fetch_due(queue, state, ring)?;
            sampled = 0;
        }
        taken = taken.wrapping_add(1);
        if taken.is_multiple_of(LOOK_EVERY) && queue.ledger.now().since(began) >= TURN {
            return Ok(false);
        }
    }
    state.looked = queue.ledger.now();
    Ok(true)
}

/// The next request: the one that waits, or the ring's.
pub(super) fn next<D: Device>(
    state: &mut QueueState<D>,
    ring: &Ring,
) -> Result<Option<Request>, QueueError> {
    match state.waiting.take() {
        Some(request) => Ok(Some(request)),
        None => Ok(ring.pop()?),
    }
}

/// Takes a request up to its answer or into its window.
pub(super) fn begin<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    request: Request,
    peers: &dyn PeerQueues<D>,
) -> Result<(), QueueError> {
    let cost = cost_of(&request);
    let Request { readable, writable, flaw, resubmitted, token } = request;
    if let Some(flaw) = flaw {
        log::warn!("queue {}: {flaw}; the request fails", queue.index);
    }
    let arrival = Arrival { queue: queue.index, resubmitted };
    let request = DeviceRequest { arrival, readable, writable, flawed: flaw.is_some() };
    match queue.device.begin(request) {
        Ok(BeginOutcome::Done(answered)) => {
            ring.complete(token, answered.written)?;
            state.audits.add_answered(queue);
            state.answers.count(ring, cost)
        }
        Ok(BeginOutcome::InFlight(id, request)) => {
            put_in_flight(queue, state, ring, id, Pending { request, token, cost })
        }
        Ok(BeginOutcome::Held(request)) => {
            hold(queue, state, ring, Pending { request, token, cost })
        }
        Ok(BeginOutcome::Unanswered(silence)) => {
            state.audits.forget_unanswered(queue);
            state.unanswered.keep(ring, silence, token)
        }
        Ok(BeginOutcome::EventBuffer(into)) => {
            state.event_buffers.keep(ring, EventBuffer { into, token })
        }
        Ok(BeginOutcome::TaskManagement(mut management)) => {
            peers.end(management.as_mut());
            complete(ring, token, management.conclude())
        }
        Err(unanswerable) => {
            state.audits.forget_unanswered(queue);
            complete(ring, token, Err(unanswerable))
        }
    }
}

/// Opens a request's window.
fn hold<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    pending: Pending<D::Held>,
) -> Result<(), QueueError> {
    // VIRTIO 1.2 §2.7.13.3: a driver has at most as many chains outstanding as descriptors.
    let size = ring.size();
    if state.pending() >= size {
        pending.token.abandon();
        return Err(QueueError::Overfull(size));
    }
    queue.ledger.note_blind(pending.request.rung().since(state.looked));
    state.windows.open(queue, pending);
    Ok(())
}

fn put_in_flight<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    id: TransferId,
    pending: Pending<D::InFlight>,
) -> Result<(), QueueError> {
    let (size, pending_before) = (ring.size(), state.pending());
    // It has its transfer: it is kept in any case, to wait for that.
    state.in_flight.keep(queue, id, pending);
    if pending_before >= size { Err(QueueError::Overfull(size)) } else { Ok(()) }
}

/// Fetches and answers what is due.
pub(super) fn fetch_due<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
) -> Result<(), QueueError> {
    while let Some(due) = state.windows.take_due(queue.ledger.now(), &queue.control.budget) {
        let cost = due.cost;
        finish(queue, state, ring, due)?;
        state.answers.count(ring, cost)?;
    }
    Ok(())
}

fn finish<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    due: Pending<D::Held>,
) -> Result<(), QueueError> {
    let Pending { request, token, cost } = due;
    match queue.device.finish(request) {
        Ok(Finished::Completed(answered)) => complete(ring, token, Ok(answered)),
        Ok(Finished::Unanswered(silence)) => state.unanswered.keep(ring, silence, token),
        Ok(Finished::InFlight(id, request)) => {
            put_in_flight(queue, state, ring, id, Pending { request, token, cost })
        }
        Err(unanswerable) => complete(ring, token, Err(unanswerable)),
    }
}

/// Finishes everything that is held or waiting, whatever its deadline; answers how many were held.
pub(super) fn finish_all<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
) -> Result<u64, QueueError> {
    if let Some(request) = state.waiting.take() {
        begin(queue, state, ring, request, &NoPeers)?;
    }
    let mut finished = 0;
    while let Some(first) = state.windows.take_first(&queue.control.budget) {
        finish(queue, state, ring, first)?;
        finished += 1;
    }
    state.in_flight.wait(queue, ring, &mut state.audits)?;
    state.answers.notify(ring)?;
    state.audits.look_at_all(&queue.ledger);
    Ok(finished)
}
