//! A queue's worker: all that happens between its doorbell and its completions.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::control::WindowControl;
use super::error::QueueError;
use super::management::end_requests;
use super::peers::PeerQueues;
use super::queue::Queue;
use super::requests::{fetch_due, finish_all, take};
use super::state::QueueState;
use super::timer::Timer;
use super::watch::watch;
use crate::media::QueueIo;
use crate::proto::{Device, TaskManagement};
use crate::queue::Ring;
use crate::trap::Ledger;
use crate::units::QueueIndex;

/// How many rounds of "empty the ring, fetch what is due" a worker makes before it lets others have its
/// lock.
const MAX_ROUNDS: usize = 16;
/// How often a turn lets others go first.
const MOST_YIELDS: usize = 1000;
/// When to look again for room in the budget, which other queues give back.
const RETRY: Duration = Duration::from_millis(1);

/// The worker of one queue of a connection.
#[derive(Debug)]
pub(super) struct QueueWorker<D: Device> {
    queue: Queue<D>,
    timer: Timer,
    /// How many wait for the state that are not the queue's own thread.
    callers: AtomicUsize,
    state: Mutex<QueueState<D>>,
}

impl<D: Device> QueueWorker<D> {
    /// The worker of queue `index`.
    pub(super) fn new(
        index: QueueIndex,
        device: Arc<D>,
        ledger: Arc<Ledger>,
        io: QueueIo,
        control: Arc<WindowControl>,
    ) -> io::Result<Self> {
        let queue = Queue { index, device, ledger, io, control };
        let state = Mutex::new(QueueState::new(&queue));
        Ok(QueueWorker { queue, timer: Timer::new()?, callers: AtomicUsize::new(0), state })
    }

    /// The doorbell rang, or the timer did.
    pub(super) fn turn(&self, ring: &Ring, peers: &dyn PeerQueues<D>) {
        // The lock itself is not fair: the thread that has just given it back would mostly get it again.
        // Callers that never end do not keep the ring waiting for ever.
        for _ in 0..MOST_YIELDS {
            if self.callers.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.queue.ledger.now();
        self.timer.clear(&mut state.alarm, now);
        state.looked = now;
        if state.broken || state.retired || !ring.is_running() {
            return;
        }
        let known = ring.require_known().map_err(QueueError::from);
        if let Err(error) = known.and_then(|()| self.run(&mut state, ring, peers)) {
            self.break_off(&mut state, &error);
        }
    }

    /// Ends every window now: fetches and answers all that is held. Answers how many that were.
    pub(super) fn drain(&self, ring: &Ring) -> u64 {
        let mut state = self.lock();
        finish_all(&self.queue, &mut state, ring).unwrap_or_else(|error| {
            self.break_off(&mut state, &error);
            0
        })
    }

    /// As [`QueueWorker::drain`], for a ring that stops: the next start finds nothing in hand, and event
    /// buffers go back to the driver, who would miss them otherwise.
    pub(super) fn stop(&self, ring: &Ring) {
        self.drain(ring);
        let mut state = self.lock();
        self.give_back(&mut state, ring);
        state.broken = false;
    }

    /// As [`QueueWorker::stop`], for a connection that ends: nothing is taken from then on.
    pub(super) fn retire(&self, ring: Option<&Ring>) {
        self.lock().retired = true;
        if let Some(ring) = ring {
            self.drain(ring);
            self.give_back(&mut self.lock(), ring);
        }
    }

    /// Ends the requests of this queue that task management takes.
    pub(super) fn manage(&self, ring: &Ring, management: &mut dyn TaskManagement<D::Held>) {
        let mut state = self.lock();
        if state.broken || state.retired || !ring.is_ready() {
            return;
        }
        if let Err(error) = end_requests(&self.queue, &mut state, ring, management) {
            self.break_off(&mut state, &error);
        }
    }

    /// What becomes readable when the medium is done with something, where it takes its time.
    pub(super) fn completion_fd(&self) -> Option<RawFd> {
        self.queue.io.completion_fd()
    }

    /// How many writes are inside their windows.
    pub(super) fn held(&self) -> u64 {
        self.lock().windows.len() as u64
    }

    /// Gives back what has no answer.
    fn give_back(&self, state: &mut QueueState<D>, ring: &Ring) {
        state.unanswered.forget();
        let no_event = self.queue.device.no_event();
        while let Some(given_back) = state.event_buffers.give_back_one(ring, &no_event) {
            if let Err(error) = given_back {
                self.break_off(state, &error);
            }
        }
        if let Err(error) = ring.notify() {
            self.break_off(state, &error.into());
        }
    }

    /// The state, for anybody but the queue's own thread.
    fn lock(&self) -> MutexGuard<'_, QueueState<D>> {
        self.callers.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.callers.fetch_sub(1, Ordering::Relaxed);
        state
    }

    fn run(
        &self,
        state: &mut QueueState<D>,
        ring: &Ring,
        peers: &dyn PeerQueues<D>,
    ) -> Result<(), QueueError> {
        let queue = &self.queue;
        for _ in 0..MAX_ROUNDS {
            ring.disable_notifications()?;
            let empty = take(queue, state, ring, peers)?;
            fetch_due(queue, state, ring)?;
            state.event_buffers.report(ring, &*queue.device)?;
            state.in_flight.exchange(queue, ring, &mut state.audits)?;
            state.answers.notify(ring)?;
            state.audits.look_at_due(&queue.ledger);
            if state.waiting.is_some() {
                self.sleep(state);
                return Ok(());
            }
            if !empty {
                break;
            }
            if !watch(queue, state, ring)? && !ring.enable_notifications()? {
                self.sleep(state);
                return Ok(());
            }
        }
        self.wake_in(state, Duration::ZERO);
        Ok(())
    }

    /// Marks the ring broken and lets go of its requests; the other rings go on.
    fn break_off(&self, state: &mut QueueState<D>, error: &QueueError) {
        state.broken = true;
        state.abandon(&self.queue);
        let reason = format!("{error}; the ring stands still until the driver resets it");
        self.queue.ledger.note_broken(Some(self.queue.index), reason);
    }

    /// Sleeps until the next deadline, or until the budget may have room again.
    fn sleep(&self, state: &mut QueueState<D>) {
        let now = self.queue.ledger.now();
        let next = state.next_deadline();
        if state.waiting.is_some() && next.is_none_or(|deadline| deadline.since(now) > RETRY) {
            self.wake_in(state, RETRY);
        } else if let Some(deadline) = next {
            self.note_armed(self.timer.wake_for(&mut state.alarm, now, deadline));
        }
    }

    fn wake_in(&self, state: &mut QueueState<D>, delay: Duration) {
        let now = self.queue.ledger.now();
        self.note_armed(self.timer.wake_in(&mut state.alarm, now, delay));
    }

    fn note_armed(&self, armed: io::Result<()>) {
        if let Err(error) = armed {
            log::error!("queue {}: the timer cannot be armed: {error}", self.queue.index);
        }
    }
}

impl<D: Device> AsRawFd for QueueWorker<D> {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

impl<D: Device> Drop for QueueWorker<D> {
    /// A connection that ended without its rings being stopped: nobody is left to answer.
    fn drop(&mut self) {
        self.lock().abandon(&self.queue);
    }
}
