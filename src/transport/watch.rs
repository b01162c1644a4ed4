//! Watching the ring instead of sleeping: for the last stretch of a window, and with `--poll`.

use std::time::Duration;

use super::error::QueueError;
use super::queue::Queue;
use super::state::QueueState;
use crate::clock::Moment;
use crate::proto::Device;
use crate::queue::Ring;

/// The longest stretch that is watched before the worker looks around: others may want its lock.
const MAX_STRETCH: Duration = Duration::from_micros(500);

/// Watches the ring where that is better than to sleep. `true`: there is something to do, or to
/// watch on for; `false`: go to sleep.
pub(super) fn watch<D: Device>(
    queue: &Queue<D>,
    state: &mut QueueState<D>,
    ring: &Ring,
) -> Result<bool, QueueError> {
    let begin = queue.ledger.now();
    let stretch = begin.after(MAX_STRETCH);
    loop {
        let now = queue.ledger.now();
        if ring.has_requests()? || state.is_due(now) {
            return Ok(true);
        }
        if !state.in_flight.is_empty() && queue.io.has_landed() {
            return Ok(true);
        }
        if now >= watch_until(queue, state, now) {
            return Ok(false);
        }
        if now >= stretch {
            return Ok(true);
        }
        state.looked = now;
        // Once: a hypervisor takes the processor away from who does this in a tight loop.
        std::hint::spin_loop();
    }
}

/// Until when it pays to watch: the next deadline, where it is near, or the end of the polling.
fn watch_until<D: Device>(queue: &Queue<D>, state: &QueueState<D>, now: Moment) -> Moment {
    let next = state.next_deadline();
    let near = next.filter(|deadline| state.alarm.is_near(now, *deadline));
    let polling = state.active.after(queue.control.poll());
    near.map_or(polling, |deadline| deadline.max(polling))
}
