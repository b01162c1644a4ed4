//! Requests inside their windows.

use super::budget::Budget;
use super::queue::Queue;
use super::schedule::Schedule;
use crate::clock::Moment;
use crate::proto::{Device, InWindow};
use crate::queue::Token;
use crate::trap::WindowPolicy;

/// A request that was taken up and is not answered, the token that answers it, and what it took from the
/// budget.
#[derive(Debug)]
pub(super) struct Pending<R> {
    pub(super) request: R,
    pub(super) token: Token,
    pub(super) cost: u64,
}

/// Those of a queue, by deadline.
#[derive(Debug)]
pub(super) struct Windows<H> {
    held: Schedule<Pending<H>>,
    /// Draws the deadlines.
    policy: WindowPolicy,
}

impl<H: InWindow> Windows<H> {
    /// None yet.
    pub(super) fn new(policy: WindowPolicy) -> Self {
        Windows { held: Schedule::new(), policy }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.held.is_due(now)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.held.next_deadline()
    }

    /// Opens a request's window.
    pub(super) fn open<D: Device<Held = H>>(&mut self, queue: &Queue<D>, pending: Pending<H>) {
        queue.control.budget.take(pending.cost);
        let held = &pending.request;
        let deadline = self.policy.deadline(&queue.control.window(), held.rung(), held.bytes());
        self.held.add(deadline, pending);
    }

    /// Takes the first request whose window is over at `now`.
    pub(super) fn take_due(&mut self, now: Moment, budget: &Budget) -> Option<Pending<H>> {
        give_back(self.held.take_due(now), budget)
    }

    /// Takes the first request, whatever its deadline.
    pub(super) fn take_first(&mut self, budget: &Budget) -> Option<Pending<H>> {
        give_back(self.held.take_first(), budget)
    }

    /// Takes those that `chosen` names.
    pub(super) fn take_chosen(
        &mut self,
        budget: &Budget,
        mut chosen: impl FnMut(&H) -> bool,
    ) -> Vec<Pending<H>> {
        let taken = self.held.take_chosen(|pending| chosen(&pending.request));
        taken.iter().for_each(|pending| budget.give_back(pending.cost));
        taken
    }

    /// Lets go of all of them without an answer.
    pub(super) fn abandon(&mut self, budget: &Budget) {
        while let Some(pending) = self.take_first(budget) {
            pending.token.abandon();
        }
    }
}

fn give_back<H>(taken: Option<Pending<H>>, budget: &Budget) -> Option<Pending<H>> {
    taken.inspect(|pending| budget.give_back(pending.cost))
}
