//! How a request leaves its queue: its answer goes into the ring, and the driver is notified of it.

use super::error::QueueError;
use crate::proto::{Completed, Unanswerable};
use crate::queue::{Ring, Token};

/// The driver is notified of answers to so many bytes at the latest: early enough for it to take them up,
/// and to ask for more, while the rest is still being worked on; and late enough to pay for waking it.
const BYTES_A_NOTIFICATION: u64 = 512 << 10;
/// What a short request counts for, so that the driver is notified of it with seven others.
const LEAST_A_NOTIFICATION: u64 = BYTES_A_NOTIFICATION / 8;

/// The answers that the driver was not notified of yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What they cost.
    bytes: u64,
}

/// Puts an answer into the ring, or gives the request up where there is none.
pub(super) fn complete(
    ring: &Ring,
    token: Token,
    answered: Result<Completed, Unanswerable>,
) -> Result<(), QueueError> {
    match answered {
        Ok(answered) => Ok(ring.complete(token, answered.written)?),
        Err(unanswerable) => {
            token.abandon();
            Err(unanswerable.into())
        }
    }
}

impl Answers {
    /// Counts an answer, and notifies the driver of it and those before it where there were enough.
    pub(super) fn count(&mut self, ring: &Ring, cost: u64) -> Result<(), QueueError> {
        self.bytes = self.bytes.saturating_add(cost.max(LEAST_A_NOTIFICATION));
        if self.bytes >= BYTES_A_NOTIFICATION { self.notify(ring) } else { Ok(()) }
    }

    /// Notifies the driver of all of them.
    pub(super) fn notify(&mut self, ring: &Ring) -> Result<(), QueueError> {
        self.bytes = 0;
        Ok(ring.notify()?)
    }
}
