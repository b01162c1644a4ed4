//! Requests that act on every lane of the device at once.

use super::lane::Lane;
use super::work::{LaneError, Work, complete};
use crate::proto::{Device, Sweep};
use crate::queue::Ring;

/// The other lanes of the device, for a request that acts on all of them.
pub trait Others<D: Device> {
    /// Lets a sweep pass over them.
    fn sweep(&self, sweep: &mut dyn Sweep<D::Held>);
}

/// A lane that is alone: what comes by it while it drains or is swept acts on nothing.
pub(super) struct Nobody;

impl<D: Device> Others<D> for Nobody {
    fn sweep(&self, _sweep: &mut dyn Sweep<D::Held>) {}
}

impl<D: Device> Lane<D> {
    /// Lets a sweep pass over this lane: requests that came before it are taken from the ring first.
    pub fn sweep(&self, ring: &Ring, sweep: &mut dyn Sweep<D::Held>) {
        let mut work = self.lock();
        if work.broken || work.retired || !ring.is_ready() {
            return;
        }
        if let Err(error) = self.run_sweep(&mut work, ring, sweep) {
            self.break_off(&mut work, &error);
        }
    }

    fn run_sweep(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        sweep: &mut dyn Sweep<D::Held>,
    ) -> Result<(), LaneError> {
        while let Some(request) = self.next_request(work, ring)? {
            self.begin(work, ring, request, &Nobody)?;
        }
        // What is past its fetch is past being ended: it is answered first.
        self.settle(work, ring)?;
        let mut outcome = Ok(());
        for taken in work.in_window.take_chosen(|item| sweep.takes(&item.held)) {
            self.pace.budget.give_back(taken.cost);
            // Also after one that could not be answered: every token has to be settled.
            outcome = outcome.and(complete(ring, taken.token, sweep.end(taken.held)));
        }
        outcome.and(self.sweep_silenced(work, ring, sweep))?;
        Ok(ring.notify()?)
    }
}
