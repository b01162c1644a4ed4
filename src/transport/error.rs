//! Why a queue stops following its ring.

use crate::proto::Unanswerable;
use crate::queue::RingError;

/// Why a queue stops following its ring.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error("more requests are in flight than its ring has descriptors ({0})")]
    Overfull(usize),
}
