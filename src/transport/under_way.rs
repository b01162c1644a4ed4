//! Requests whose data is on its way to or from the medium: the lane goes on meanwhile.

use super::lane::Lane;
use super::work::{InFlight, LaneError, Work, complete};
use crate::clock::Moment;
use crate::media::{Completion, TransferId};
use crate::proto::Device;
use crate::queue::Ring;

impl<D: Device> Lane<D> {
    /// Keeps a request until its data has landed.
    pub(super) fn keep(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        ticket: TransferId,
        item: InFlight<D::UnderWay>,
    ) -> Result<(), LaneError> {
        let size = ring.size();
        self.pace.budget.take(item.cost);
        let overfull = work.in_flight() >= size;
        work.under_way.insert(ticket, item);
        if overfull { Err(LaneError::Overfull(size)) } else { Ok(()) }
    }

    /// Sets off what was put under way, and answers what has landed.
    pub(super) fn exchange_with_medium(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
    ) -> Result<(), LaneError> {
        if work.under_way.is_empty() {
            return Ok(());
        }
        self.io.submit();
        self.answer_landed(work, ring, false).map(drop)
    }

    /// Waits until nothing is under way any more.
    pub(super) fn settle(&self, work: &mut Work<D>, ring: &Ring) -> Result<(), LaneError> {
        while !work.under_way.is_empty() {
            if !self.answer_landed(work, ring, true)? {
                self.abandon_under_way(work);
            }
        }
        Ok(())
    }

    /// Answers what has landed, if anything has.
    fn answer_landed(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        wait: bool,
    ) -> Result<bool, LaneError> {
        let (mut landed, mut result) = (Vec::new(), Ok(()));
        self.io.collect(wait, &mut landed);
        let any = !landed.is_empty();
        for (ticket, landed) in landed {
            let Some(item) = work.under_way.remove(&ticket) else { continue };
            let InFlight { held, token, cost } = item;
            self.pace.budget.give_back(cost);
            let concluded = self.device.conclude(held, landed);
            // A ring that breaks is no reason to forget what else has landed.
            if result.is_ok() {
                result = complete(ring, token, concluded);
                self.audit_later(work);
            } else {
                token.abandon();
                self.audit_never();
            }
        }
        result.map(|()| any)
    }

    /// Waits for what is under way and answers none of it: there is no ring any more.
    pub(super) fn let_land(&self, work: &mut Work<D>) {
        while !work.under_way.is_empty() {
            let mut landed = Vec::new();
            self.io.collect(true, &mut landed);
            if landed.is_empty() {
                self.abandon_under_way(work);
            }
            for (ticket, landed) in landed {
                self.forget(work, ticket, landed);
            }
        }
    }

    /// Nothing lands any more and yet something is waited for: never for ever.
    fn abandon_under_way(&self, work: &mut Work<D>) {
        log::error!("queue {}: the medium lost {} requests", self.index, work.under_way.len());
        for (_, InFlight { token, cost, .. }) in work.under_way.drain() {
            self.pace.budget.give_back(cost);
            token.abandon();
        }
    }

    fn forget(&self, work: &mut Work<D>, ticket: TransferId, landed: Completion) {
        let Some(InFlight { held, token, cost }) = work.under_way.remove(&ticket) else { return };
        self.pace.budget.give_back(cost);
        token.abandon();
        if let Err(unanswerable) = self.device.conclude(held, landed) {
            log::debug!("queue {}: {unanswerable}", self.index);
        }
        self.audit_never();
    }
}

impl<D: Device> Work<D> {
    /// Whether the time of a held write or of an audited read has come.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.in_window.is_due(now) || self.audits.is_due(now)
    }

    /// When that of the next one comes.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let (writes, reads) = (self.in_window.next_deadline(), self.audits.next_deadline());
        writes.into_iter().chain(reads).min()
    }

    /// How many requests are held or under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_window.len().saturating_add(self.under_way.len())
    }
}
