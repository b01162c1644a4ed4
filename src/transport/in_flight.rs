//! Requests whose data is on its way to or from the medium: the queue goes on meanwhile.

use std::collections::HashMap;

use super::answers::complete;
use super::audits::Audits;
use super::error::QueueError;
use super::queue::Queue;
use super::windows::Pending;
use crate::media::{Completion, TransferId};
use crate::proto::Device;
use crate::queue::Ring;

/// The requests of a queue that the medium has.
#[derive(Debug)]
pub(super) struct InFlight<D: Device> {
    requests: HashMap<TransferId, Pending<D::InFlight>>,
}

impl<D: Device> InFlight<D> {
    /// None.
    pub(super) fn new() -> Self {
        InFlight { requests: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Keeps a request until its data has landed.
    pub(super) fn keep(&mut self, queue: &Queue<D>, id: TransferId, request: Pending<D::InFlight>) {
        queue.control.budget.take(request.cost);
        self.requests.insert(id, request);
    }

    /// Sets off what was started, and answers what has landed.
    pub(super) fn exchange(
        &mut self,
        queue: &Queue<D>,
        ring: &Ring,
        audits: &mut Audits,
    ) -> Result<(), QueueError> {
        if self.is_empty() {
            return Ok(());
        }
        queue.io.submit();
        self.answer_landed(queue, ring, audits, false).map(drop)
    }

    /// Waits until nothing is in flight any more.
    pub(super) fn wait(
        &mut self,
        queue: &Queue<D>,
        ring: &Ring,
        audits: &mut Audits,
    ) -> Result<(), QueueError> {
        while !self.is_empty() {
            if !self.answer_landed(queue, ring, audits, true)? {
                self.lose(queue);
            }
        }
        Ok(())
    }

    /// Answers what has landed, if anything has.
    fn answer_landed(
        &mut self,
        queue: &Queue<D>,
        ring: &Ring,
        audits: &mut Audits,
        wait: bool,
    ) -> Result<bool, QueueError> {
        let (mut landed, mut result) = (Vec::new(), Ok(()));
        queue.io.collect(wait, &mut landed);
        let any = !landed.is_empty();
        for (id, completion) in landed {
            let Some(Pending { request, token, cost }) = self.requests.remove(&id) else {
                continue;
            };
            queue.control.budget.give_back(cost);
            let concluded = queue.device.conclude(request, completion);
            // A ring that breaks is no reason to forget what else has landed.
            if result.is_ok() {
                result = complete(ring, token, concluded);
                audits.add_answered(queue);
            } else {
                token.abandon();
                audits.forget_unanswered(queue);
            }
        }
        result.map(|()| any)
    }

    /// Waits for what is in flight and answers none of it: there is no ring any more.
    pub(super) fn abandon(&mut self, queue: &Queue<D>, audits: &Audits) {
        while !self.is_empty() {
            let mut landed = Vec::new();
            queue.io.collect(true, &mut landed);
            if landed.is_empty() {
                self.lose(queue);
            }
            for (id, completion) in landed {
                self.forget(queue, id, completion);
                audits.forget_unanswered(queue);
            }
        }
    }

    /// Nothing lands any more and yet something is waited for: never for ever.
    fn lose(&mut self, queue: &Queue<D>) {
        log::error!("queue {}: the medium lost {} requests", queue.index, self.len());
        for (_, Pending { token, cost, .. }) in self.requests.drain() {
            queue.control.budget.give_back(cost);
            token.abandon();
        }
    }

    fn forget(&mut self, queue: &Queue<D>, id: TransferId, completion: Completion) {
        let Some(Pending { request, token, cost }) = self.requests.remove(&id) else { return };
        queue.control.budget.give_back(cost);
        token.abandon();
        if let Err(unanswerable) = queue.device.conclude(request, completion) {
            log::debug!("queue {}: {unanswerable}", queue.index);
        }
    }
}
