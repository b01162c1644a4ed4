//! Reads that are looked at once more after their completion (`--audit`), one window later.

use super::lane::Lane;
use super::schedule::Schedule;
use super::work::Work;
use crate::clock::Moment;
use crate::proto::Device;
use crate::trap::{Completed, WindowPolicy, look_after_completion};

/// The most reads that a queue keeps for it, and the most bytes of them. Those that come first are looked
/// at early where there are more: no guest can fill the daemon's memory.
const MOST_READS: usize = 1024;
const MOST_BYTES: u64 = 16 << 20;

/// Reads that were completed and are looked at once more.
#[derive(Debug)]
pub struct Audits {
    waiting: Schedule<Completed>,
    bytes: u64,
    policy: WindowPolicy,
}

impl Audits {
    /// None yet. `policy` draws when they are due; a write's window is none of its draws.
    pub fn new(policy: WindowPolicy) -> Self {
        Audits { waiting: Schedule::new(), bytes: 0, policy }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.waiting.is_due(now)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.next_deadline()
    }

    /// Looks at none of them any more.
    pub(super) fn forget(&mut self) {
        self.waiting = Schedule::new();
        self.bytes = 0;
    }

    fn take(&mut self, now: Option<Moment>) -> Option<Completed> {
        let taken = match now {
            Some(now) => self.waiting.take_due(now),
            None => self.waiting.take_first(),
        }?;
        self.bytes = self.bytes.saturating_sub(taken.bytes());
        Some(taken)
    }
}

impl<D: Device> Lane<D> {
    /// The request in hand was answered, and the answer is in the ring: where it was a read that is
    /// audited, its second look is due in a window's time from now.
    pub(super) fn audit_later(&self, work: &mut Work<D>) {
        for read in self.ledger.take_delivered(self.index) {
            let (now, bytes) = (self.ledger.now(), read.bytes());
            let deadline = work.audits.policy.deadline(&self.pace.window(), now, bytes);
            work.audits.bytes = work.audits.bytes.saturating_add(bytes);
            work.audits.waiting.add(deadline, read);
            while work.audits.waiting.len() > MOST_READS || work.audits.bytes > MOST_BYTES {
                let Some(first) = work.audits.take(None) else { break };
                look_after_completion(first, &self.ledger);
            }
        }
    }

    /// The request in hand was not answered: there is no completion to look at it after.
    pub(super) fn audit_never(&self) {
        drop(self.ledger.take_delivered(self.index));
    }

    /// Looks at the reads whose time has come.
    pub(super) fn audit_due(&self, work: &mut Work<D>) {
        while let Some(read) = work.audits.take(Some(self.ledger.now())) {
            look_after_completion(read, &self.ledger);
        }
    }

    /// Looks at all of them now.
    pub(super) fn audit_all(&self, work: &mut Work<D>) {
        while let Some(read) = work.audits.take(None) {
            look_after_completion(read, &self.ledger);
        }
    }
}
