//! Task management at one queue.

use super::answers::complete;
use super::error::QueueError;
use super::peers::NoPeers;
use super::queue::Queue;
use super::requests::{begin, next};
use super::state::QueueState;
use crate::proto::{Device, TaskManagement};
use crate::queue::Ring;

/// Ends the requests that task management takes: those that came before it are taken from the ring first.
pub(super) fn end_requests<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
    management: &mut dyn TaskManagement<D::Held>,
) -> Result<(), QueueError> {
    while let Some(request) = next(state, ring)? {
        begin(queue, state, ring, request, &NoPeers)?;
    }
    // What is past its fetch is past being ended: it is answered first.
    state.in_flight.wait(queue, ring, &mut state.audits)?;
    let budget = &queue.control.budget;
    let mut outcome = Ok(());
    for taken in state.windows.take_chosen(budget, |held| management.takes(held)) {
        // Also after one that could not be answered: every token has to be answered or given up.
        outcome = outcome.and(complete(ring, taken.token, management.end(taken.request)));
    }
    outcome.and(state.unanswered.end(ring, management))?;
    state.answers.notify(ring)
}
