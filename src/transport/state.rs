//! What a queue has in hand.

use super::answers::Answers;
use super::audits::Audits;
use super::event_buffers::EventBuffers;
use super::in_flight::InFlight;
use super::queue::Queue;
use super::timer::Alarm;
use super::unanswered::Unanswered;
use super::windows::Windows;
use crate::clock::Moment;
use crate::proto::Device;
use crate::queue::Request;

/// What a queue has in hand; it goes with the worker's lock.
#[derive(Debug)]
pub(super) struct QueueState<D: Device> {
    pub(super) windows: Windows<D::Held>,
    pub(super) in_flight: InFlight<D>,
    /// A request that waits for room in the budget.
    pub(super) waiting: Option<Request>,
    /// Requests that are not answered, and that task management may still end.
    pub(super) unanswered: Unanswered<D::Held>,
    pub(super) event_buffers: EventBuffers,
    pub(super) answers: Answers,
    /// Reads that were completed and are looked at once more.
    pub(super) audits: Audits,
    pub(super) alarm: Alarm,
    /// When the ring was last seen empty, or the worker woke up.
    pub(super) looked: Moment,
    /// When the ring was last seen not to be.
    pub(super) active: Moment,
    pub(super) broken: bool,
    /// The connection is about to be ended: nothing more is taken.
    pub(super) retired: bool,
}

impl<D: Device> QueueState<D> {
    /// Nothing in hand yet.
    pub(super) fn new(queue: &Queue<D>) -> Self {
        QueueState {
            windows: Windows::new(queue.control.policy(queue.index)),
            in_flight: InFlight::new(),
            waiting: None,
            unanswered: Unanswered::new(),
            event_buffers: EventBuffers::default(),
            answers: Answers::default(),
            audits: Audits::new(queue.control.audit_policy(queue.index)),
            alarm: Alarm::default(),
            looked: queue.ledger.now(),
            active: Moment(0),
            broken: false,
            retired: false,
        }
    }

    /// Whether the time of a held write or of an audited read has come.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.windows.is_due(now) || self.audits.is_due(now)
    }

    /// When that of the next one comes.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let (writes, reads) = (self.windows.next_deadline(), self.audits.next_deadline());
        writes.into_iter().chain(reads).min()
    }

    /// How many requests are held or in flight.
    pub(super) fn pending(&self) -> usize {
        self.windows.len().saturating_add(self.in_flight.len())
    }

    /// Lets go of every request without an answer.
    pub(super) fn abandon(&mut self, queue: &Queue<D>) {
        self.in_flight.abandon(queue, &self.audits);
        self.audits.forget();
        if let Some(request) = self.waiting.take() {
            request.token.abandon();
        }
        self.windows.abandon(&queue.control.budget);
        self.unanswered.forget();
        self.event_buffers.abandon();
    }
}
