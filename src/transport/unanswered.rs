//! Requests that an injected fault left without an answer.

use super::answers::complete;
use super::error::QueueError;
use crate::proto::{LeftUnanswered, TaskManagement};
use crate::queue::{Ring, Token};

/// A request that is not answered, and the token that would answer it.
#[derive(Debug)]
struct Request<H> {
    held: H,
    token: Token,
}

/// Those of a queue that task management may still end.
#[derive(Debug)]
pub(super) struct Unanswered<H> {
    requests: Vec<Request<H>>,
}

impl<H> Unanswered<H> {
    /// None.
    pub(super) fn new() -> Self {
        Unanswered { requests: Vec::new() }
    }

    /// Leaves a request unanswered. It stays where task management finds it until its ring stops.
    pub(super) fn keep(
        &mut self,
        ring: &Ring,
        silence: LeftUnanswered<H>,
        token: Token,
    ) -> Result<(), QueueError> {
        let Some(held) = silence else {
            token.abandon();
            return Ok(());
        };
        let size = ring.size();
        if self.requests.len() >= size {
            token.abandon();
            return Err(QueueError::Overfull(size));
        }
        self.requests.push(Request { held, token });
        Ok(())
    }

    /// Forgets them: their ring is the driver's again.
    pub(super) fn forget(&mut self) {
        self.requests.drain(..).for_each(|request| request.token.abandon());
    }

    /// Ends those that task management takes: they are answered, and the driver has its buffers back.
    pub(super) fn end(
        &mut self,
        ring: &Ring,
        management: &mut dyn TaskManagement<H>,
    ) -> Result<(), QueueError> {
        let all = std::mem::take(&mut self.requests);
        let (taken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|request| management.takes(&request.held));
        self.requests = kept;
        let mut outcome = Ok(());
        for Request { held, token } in taken {
            // Also after one that could not be answered: every token has to be answered or given up.
            outcome = outcome.and(complete(ring, token, management.end(held)));
        }
        outcome
    }
}
