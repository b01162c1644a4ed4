//! Reads that are looked at once more after their completion (`--audit`), one window later.

use super::queue::Queue;
use super::schedule::Schedule;
use crate::clock::Moment;
use crate::proto::Device;
use crate::trap::{AuditedRead, Ledger, WindowPolicy, look_after_completion};

/// The most reads that a queue keeps for it, and the most bytes of them. Those that come first are looked
/// at early where there are more: no guest can fill the daemon's memory.
const MOST_READS: usize = 1024;
const MOST_BYTES: u64 = 16 << 20;

/// Reads that were completed and are looked at once more.
#[derive(Debug)]
pub(super) struct Audits {
    waiting: Schedule<AuditedRead>,
    bytes: u64,
    policy: WindowPolicy,
}

impl Audits {
    /// None yet. `policy` draws when they are due; a write's window is none of its draws.
    pub(super) fn new(policy: WindowPolicy) -> Self {
        Audits { waiting: Schedule::new(), bytes: 0, policy }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.waiting.is_due(now)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.next_deadline()
    }

    /// The request in hand was answered, and the answer is in the ring: where it was a read that is
    /// audited, its second look is due in a window's time from now.
    pub(super) fn add_answered<D: Device>(&mut self, queue: &Queue<D>) {
        for read in queue.ledger.take_delivered(queue.index) {
            let (now, bytes) = (queue.ledger.now(), read.bytes());
            let deadline = self.policy.deadline(&queue.control.window(), now, bytes);
            self.bytes = self.bytes.saturating_add(bytes);
            self.waiting.add(deadline, read);
            while self.waiting.len() > MOST_READS || self.bytes > MOST_BYTES {
                let Some(first) = self.take(None) else { break };
                look_after_completion(first, &queue.ledger);
            }
        }
    }

    /// The request in hand was not answered: there is no completion to look at it after.
    pub(super) fn forget_unanswered<D: Device>(&self, queue: &Queue<D>) {
        drop(queue.ledger.take_delivered(queue.index));
    }

    /// Looks at the reads whose time has come.
    pub(super) fn look_at_due(&mut self, ledger: &Ledger) {
        while let Some(read) = self.take(Some(ledger.now())) {
            look_after_completion(read, ledger);
        }
    }

    /// Looks at all of them now.
    pub(super) fn look_at_all(&mut self, ledger: &Ledger) {
        while let Some(read) = self.take(None) {
            look_after_completion(read, ledger);
        }
    }

    /// Looks at none of them any more.
    pub(super) fn forget(&mut self) {
        self.waiting = Schedule::new();
        self.bytes = 0;
    }

    fn take(&mut self, now: Option<Moment>) -> Option<AuditedRead> {
        let taken = match now {
            Some(now) => self.waiting.take_due(now),
            None => self.waiting.take_first(),
        }?;
        self.bytes = self.bytes.saturating_sub(taken.bytes());
        Some(taken)
    }
}
