//! What all queues of all connections share: the window and the budget.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::budget::Budget;
use crate::trap::{Link, WindowPolicy};
use crate::units::{QueueIndex, WindowSpec};

/// The window in force and what is shared between the queues that draw from it.
#[derive(Debug)]
pub struct WindowControl {
    window: RwLock<WindowSpec>,
    poll: Duration,
    seed: u64,
    link: Arc<Link>,
    pub(super) budget: Budget,
}

impl WindowControl {
    /// Windows as `window` says, drawn from `seed`; queues watch their rings for `poll` after the last
    /// request before they go to sleep.
    pub fn new(window: WindowSpec, seed: u64, poll: Duration) -> Self {
        let (link, budget) = (Arc::default(), Budget::default());
        WindowControl { window: RwLock::new(window), poll, seed, link, budget }
    }

    /// How long an idle queue watches its ring.
    pub(super) fn poll(&self) -> Duration {
        self.poll
    }

    /// The window of writes to come.
    pub fn window(&self) -> WindowSpec {
        *self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the window of writes to come.
    pub fn set_window(&self, window: WindowSpec) {
        *self.window.write().unwrap_or_else(PoisonError::into_inner) = window;
    }

    /// The draws for one queue's reads after their completion: from the same seed, but neither they nor
    /// the link that they are given take anything from the windows of writes.
    pub(super) fn audit_policy(&self, queue: QueueIndex) -> WindowPolicy {
        WindowPolicy::new(self.seed, queue, Arc::default())
    }

    /// The draws of one queue.
    pub(super) fn policy(&self, queue: QueueIndex) -> WindowPolicy {
        WindowPolicy::new(self.seed, queue, Arc::clone(&self.link))
    }
}
