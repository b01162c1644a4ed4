//! What all lanes of all connections share: the window and the budget.

use std::sync::{Arc, PoisonError, RwLock};

use super::budget::Budget;
use crate::trap::{Link, WindowPolicy};
use crate::units::{QueueIndex, WindowSpec};

/// The window in force and what is shared between the queues that draw from it.
#[derive(Debug)]
pub struct Pace {
    window: RwLock<WindowSpec>,
    seed: u64,
    link: Arc<Link>,
    pub(super) budget: Budget,
}

impl Pace {
    /// Windows as `window` says, drawn from `seed`.
    pub fn new(window: WindowSpec, seed: u64) -> Self {
        Pace { window: RwLock::new(window), seed, link: Arc::default(), budget: Budget::default() }
    }

    /// The window of writes to come.
    pub fn window(&self) -> WindowSpec {
        *self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the window of writes to come.
    pub fn set_window(&self, window: WindowSpec) {
        *self.window.write().unwrap_or_else(PoisonError::into_inner) = window;
    }

    /// The draws of one queue.
    pub(super) fn policy(&self, queue: QueueIndex) -> WindowPolicy {
        WindowPolicy::new(self.seed, queue, Arc::clone(&self.link))
    }
}
