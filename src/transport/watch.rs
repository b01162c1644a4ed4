//! Watching the ring instead of sleeping: for the last stretch of a window, and with `--poll`.

use std::time::Duration;

use super::lane::Lane;
use super::work::{LaneError, Work};
use crate::clock::Moment;
use crate::proto::Device;
use crate::queue::Ring;

/// The longest stretch that is watched before the lane looks around: others may want its lock.
const MAX_STRETCH: Duration = Duration::from_micros(500);

impl<D: Device> Lane<D> {
    /// Watches the ring where that is better than to sleep. `true`: there is something to do, or to
    /// watch on for; `false`: go to sleep.
    pub(super) fn watch(&self, work: &mut Work<D>, ring: &Ring) -> Result<bool, LaneError> {
        let begin = self.ledger.now();
        let stretch = begin.after(MAX_STRETCH);
        loop {
            let now = self.ledger.now();
            if ring.has_requests()? || work.is_due(now) {
                return Ok(true);
            }
            if !work.under_way.is_empty() && self.io.has_landed() {
                return Ok(true);
            }
            if now >= self.watch_until(work, now) {
                return Ok(false);
            }
            if now >= stretch {
                return Ok(true);
            }
            work.looked = now;
            // Once: a hypervisor takes the processor away from who does this in a tight loop.
            std::hint::spin_loop();
        }
    }

    /// Until when it pays to watch: the next deadline, where it is near, or the end of the polling.
    fn watch_until(&self, work: &Work<D>, now: Moment) -> Moment {
        let next = work.next_deadline();
        let near = next.filter(|deadline| work.alarm.is_near(now, *deadline));
        let polling = work.active.after(self.pace.poll());
        near.map_or(polling, |deadline| deadline.max(polling))
    }
}
