//! Requests that an injected fault left without an answer.

use super::lane::Lane;
use super::work::{LaneError, Work, complete};
use crate::proto::{Device, Silence, Sweep};
use crate::queue::{Ring, Token};

/// A request that was silenced, and the token that would answer it.
#[derive(Debug)]
pub(super) struct Silenced<H> {
    held: H,
    token: Token,
}

impl<D: Device> Lane<D> {
    /// Leaves a request unanswered. It stays where a sweep finds it until its ring stops.
    pub(super) fn silence(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        silence: Silence<D::Held>,
        token: Token,
    ) -> Result<(), LaneError> {
        let Some(held) = silence else {
            token.abandon();
            return Ok(());
        };
        let size = ring.size();
        if work.silenced.len() >= size {
            token.abandon();
            return Err(LaneError::Overfull(size));
        }
        work.silenced.push(Silenced { held, token });
        Ok(())
    }

    /// Forgets the requests that were never answered: their ring is the driver's again.
    pub(super) fn forget_silenced(&self, work: &mut Work<D>) {
        for silenced in work.silenced.drain(..) {
            silenced.token.abandon();
        }
    }

    /// Lets a sweep pass over them: those that it takes are answered, and the driver has its buffers
    /// back.
    pub(super) fn sweep_silenced(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        sweep: &mut dyn Sweep<D::Held>,
    ) -> Result<(), LaneError> {
        let all = std::mem::take(&mut work.silenced);
        let (taken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|silenced| sweep.takes(&silenced.held));
        work.silenced = kept;
        let mut outcome = Ok(());
        for Silenced { held, token } in taken {
            // Also after one that could not be answered: every token has to be settled.
            outcome = outcome.and(complete(ring, token, sweep.end(held)));
        }
        outcome
    }
}
