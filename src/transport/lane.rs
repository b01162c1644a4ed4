//! A lane: one queue's way from doorbell to completion.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::audit::Audits;
use super::pace::Pace;
use super::parked::Parked;
use super::schedule::Schedule;
use super::sweep::{Nobody, Others};
use super::timer::{Alarm, Timer};
use super::work::{InFlight, LaneError, Work, complete, cost_of};
use crate::clock::Moment;
use crate::media::QueueIo;
use crate::proto::{Device, Exchange, Finished, InWindow, Step};
use crate::queue::{Request, Ring};
use crate::trap::{Arrival, Ledger};
use crate::units::QueueIndex;

/// How many rounds of "empty the ring, fetch what is due" a lane makes before it lets others have its
/// lock.
const MAX_ROUNDS: usize = 16;
/// How long a lane takes up requests before others have its lock: a driver can fill its ring as fast as
/// it is emptied.
const TURN: Duration = Duration::from_millis(10);
/// How often a turn lets others go first.
const MOST_YIELDS: usize = 1000;
/// After how many requests the lane looks at the clock for that.
const LOOK_EVERY: u32 = 8;
/// The driver is told of answers to so many bytes at the latest: early enough for it to take them up,
/// and to ask for more, while the rest is still being worked on; and late enough to pay for waking it.
const BYTES_A_NOTIFICATION: u64 = 512 << 10;
/// What a short request counts for, so that it is told of with seven others.
const LEAST_A_NOTIFICATION: u64 = BYTES_A_NOTIFICATION / 8;
/// How many bytes are sampled before what is due meanwhile is fetched: both samples of them, and what
/// they are compared with, stay in a core's second-level cache.
const SAMPLED_AT_ONCE: u64 = 128 << 10;
/// When to look again for room in the budget, which other lanes give back.
const RETRY: Duration = Duration::from_millis(1);

/// One queue of a connection.
#[derive(Debug)]
pub struct Lane<D: Device> {
    pub(super) index: QueueIndex,
    pub(super) device: Arc<D>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) io: QueueIo,
    pub(super) pace: Arc<Pace>,
    timer: Timer,
    /// How many wait for `work` that are not the queue's own thread.
    callers: AtomicUsize,
    work: Mutex<Work<D>>,
}

impl<D: Device> Lane<D> {
    /// The lane of queue `index`.
    pub fn new(
        index: QueueIndex,
        device: Arc<D>,
        ledger: Arc<Ledger>,
        io: QueueIo,
        pace: Arc<Pace>,
    ) -> io::Result<Self> {
        let (policy, audits) = (pace.policy(index), Audits::new(pace.audit_policy(index)));
        let work = Work {
            in_window: Schedule::new(),
            under_way: HashMap::new(),
            waiting: None,
            silenced: Vec::new(),
            untold: 0,
            parked: VecDeque::new(),
            policy,
            audits,
            alarm: Alarm::default(),
            looked: ledger.now(),
            active: Moment(0),
            broken: false,
            retired: false,
        };
        let (callers, work) = (AtomicUsize::new(0), Mutex::new(work));
        Ok(Lane { index, device, ledger, io, pace, timer: Timer::new()?, callers, work })
    }

    /// The doorbell rang, or the timer did.
    pub fn turn(&self, ring: &Ring, others: &dyn Others<D>) {
        // The lock itself is not fair: the thread that has just given it back would mostly get it again.
        // Callers that never end do not keep the ring waiting for ever.
        for _ in 0..MOST_YIELDS {
            if self.callers.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.ledger.now();
        self.timer.clear(&mut work.alarm, now);
        work.looked = now;
        if work.broken || work.retired || !ring.is_running() {
            return;
        }
        let known = ring.require_known().map_err(LaneError::from);
        if let Err(error) = known.and_then(|()| self.run(&mut work, ring, others)) {
            self.break_off(&mut work, &error);
        }
    }

    /// Ends every window now: fetches and answers all that is held. Answers how many that were.
    pub fn drain(&self, ring: &Ring) -> u64 {
        let mut work = self.lock();
        self.empty(&mut work, ring).unwrap_or_else(|error| {
            self.break_off(&mut work, &error);
            0
        })
    }

    /// As [`Lane::drain`], for a ring that stops: the next start finds a clean lane, and parked
    /// requests go back to the driver, who would miss them otherwise.
    pub fn stop(&self, ring: &Ring) {
        self.drain(ring);
        let mut work = self.lock();
        self.give_back(&mut work, ring);
        work.broken = false;
    }

    /// As [`Lane::stop`], for a connection that ends: nothing is taken from then on.
    pub fn retire(&self, ring: Option<&Ring>) {
        self.lock().retired = true;
        if let Some(ring) = ring {
            self.drain(ring);
            self.give_back(&mut self.lock(), ring);
        }
    }

    /// Gives back what has no answer.
    fn give_back(&self, work: &mut Work<D>, ring: &Ring) {
        self.forget_silenced(work);
        let no_news = self.device.no_news();
        while let Some(parked) = work.parked.pop_front() {
            if let Err(error) = parked.tell(ring, &no_news) {
                self.break_off(work, &error);
            }
        }
        if let Err(error) = ring.notify() {
            self.break_off(work, &error.into());
        }
    }

    /// What becomes readable when the medium is done with something, where it takes its time.
    pub fn completion_fd(&self) -> Option<RawFd> {
        self.io.completion_fd()
    }

    /// How many writes are inside their windows.
    pub fn held(&self) -> u64 {
        self.lock().in_window.len() as u64
    }

    /// The work, for anybody but the queue's own thread.
    pub(super) fn lock(&self) -> MutexGuard<'_, Work<D>> {
        self.callers.fetch_add(1, Ordering::Relaxed);
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        self.callers.fetch_sub(1, Ordering::Relaxed);
        work
    }

    fn run(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        others: &dyn Others<D>,
    ) -> Result<(), LaneError> {
        for _ in 0..MAX_ROUNDS {
            ring.hush()?;
            let empty = self.take_requests(work, ring, others)?;
            self.fetch_due(work, ring)?;
            self.tell(work, ring)?;
            self.exchange_with_medium(work, ring)?;
            work.untold = 0;
            ring.notify()?;
            self.audit_due(work);
            if work.waiting.is_some() {
                return self.sleep(work);
            }
            if !empty {
                break;
            }
            if !self.watch(work, ring)? && !ring.listen()? {
                return self.sleep(work);
            }
        }
        self.wake_in(work, Duration::ZERO)
    }

    /// Takes requests until the ring is empty, the budget is spent or the turn is over; answers whether
    /// the ring is empty. A request that waits is counted once, however often it is looked at.
    fn take_requests(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        others: &dyn Others<D>,
    ) -> Result<bool, LaneError> {
        let (mut counted, mut sampled) = (work.waiting.is_some(), 0);
        let (began, mut taken) = (work.looked, 0_u32);
        while let Some(request) = self.next_request(work, ring)? {
            let cost = cost_of(&request);
            if self.device.holds(self.index) && !self.pace.budget.allows(cost) {
                if !counted {
                    self.ledger.note_deferred();
                }
                work.waiting = Some(request);
                return Ok(false);
            }
            self.begin(work, ring, request, others)?;
            counted = false;
            work.active = work.looked;
            sampled += cost;
            if sampled >= SAMPLED_AT_ONCE {
                self.fetch_due(work, ring)?;
                sampled = 0;
            }
            taken = taken.wrapping_add(1);
            if taken.is_multiple_of(LOOK_EVERY) && self.ledger.now().since(began) >= TURN {
                return Ok(false);
            }
        }
        work.looked = self.ledger.now();
        Ok(true)
    }

    pub(super) fn next_request(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
    ) -> Result<Option<Request>, LaneError> {
        if let Some(request) = work.waiting.take() {
            return Ok(Some(request));
        }
        Ok(ring.pop()?)
    }

    /// Takes a request up to its answer or into its window.
    pub(super) fn begin(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        request: Request,
        others: &dyn Others<D>,
    ) -> Result<(), LaneError> {
        let cost = cost_of(&request);
        let Request { readable, writable, flaw, resubmitted, token } = request;
        if let Some(flaw) = flaw {
            log::warn!("queue {}: {flaw}; the request fails", self.index);
        }
        let arrival = Arrival { queue: self.index, resubmitted };
        let exchange = Exchange { arrival, readable, writable, flawed: flaw.is_some() };
        match self.device.begin(exchange) {
            Ok(Step::Done(answered)) => {
                ring.complete(token, answered.written)?;
                self.audit_later(work);
                self.note_answer(work, ring, cost)
            }
            Ok(Step::UnderWay(ticket, held)) => {
                self.keep(work, ring, ticket, InFlight { held, token, cost })
            }
            Ok(Step::Held(held)) => self.hold(work, ring, InFlight { held, token, cost }),
            Ok(Step::Silent(silence)) => {
                self.audit_never();
                self.silence(work, ring, silence, token)
            }
            Ok(Step::Parked(room)) => self.park(work, ring, Parked { room, token }),
            Ok(Step::Sweep(mut sweep)) => {
                others.sweep(sweep.as_mut());
                complete(ring, token, sweep.conclude())
            }
            Err(unanswerable) => {
                self.audit_never();
                complete(ring, token, Err(unanswerable))
            }
        }
    }

    fn hold(
        &self,
        work: &mut Work<D>,
        ring: &Ring,
        item: InFlight<D::Held>,
    ) -> Result<(), LaneError> {
        // VIRTIO 1.2 §2.7.13.3: a driver has at most as many chains outstanding as descriptors.
        let size = ring.size();
        if work.in_flight() >= size {
            item.token.abandon();
            return Err(LaneError::Overfull(size));
        }
        self.pace.budget.take(item.cost);
        let rung = item.held.rung();
        self.ledger.note_blind(rung.since(work.looked));
        let deadline = work.policy.deadline(&self.pace.window(), rung, item.held.bytes());
        work.in_window.add(deadline, item);
        Ok(())
    }

    fn fetch_due(&self, work: &mut Work<D>, ring: &Ring) -> Result<(), LaneError> {
        while let Some(due) = work.in_window.take_due(self.ledger.now()) {
            let cost = due.cost;
            self.finish(work, due, ring)?;
            self.note_answer(work, ring, cost)?;
        }
        Ok(())
    }

    /// Counts an answer, and tells the driver of it and those before it where there were enough.
    fn note_answer(&self, work: &mut Work<D>, ring: &Ring, cost: u64) -> Result<(), LaneError> {
        work.untold = work.untold.saturating_add(cost.max(LEAST_A_NOTIFICATION));
        if work.untold >= BYTES_A_NOTIFICATION {
            work.untold = 0;
            ring.notify()?;
        }
        Ok(())
    }

    fn finish(
        &self,
        work: &mut Work<D>,
        due: InFlight<D::Held>,
        ring: &Ring,
    ) -> Result<(), LaneError> {
        let InFlight { held, token, cost } = due;
        self.pace.budget.give_back(cost);
        match self.device.finish(held) {
            Ok(Finished::Answered(answered)) => complete(ring, token, Ok(answered)),
            Ok(Finished::Silent(silence)) => self.silence(work, ring, silence, token),
            Ok(Finished::UnderWay(ticket, held)) => {
                self.keep(work, ring, ticket, InFlight { held, token, cost })
            }
            Err(unanswerable) => complete(ring, token, Err(unanswerable)),
        }
    }

    /// Finishes everything that is held or waiting, whatever its deadline.
    fn empty(&self, work: &mut Work<D>, ring: &Ring) -> Result<u64, LaneError> {
        if let Some(request) = work.waiting.take() {
            self.begin(work, ring, request, &Nobody)?;
        }
        let mut finished = 0;
        while let Some(first) = work.in_window.take_first() {
            self.finish(work, first, ring)?;
            finished += 1;
        }
        self.settle(work, ring)?;
        ring.notify()?;
        self.audit_all(work);
        Ok(finished)
    }

    /// Lets go of every request without an answer.
    fn abandon(&self, work: &mut Work<D>) {
        self.let_land(work);
        work.audits.forget();
        if let Some(request) = work.waiting.take() {
            request.token.abandon();
        }
        while let Some(item) = work.in_window.take_first() {
            self.pace.budget.give_back(item.cost);
            item.token.abandon();
        }
        self.forget_silenced(work);
        while let Some(parked) = work.parked.pop_front() {
            parked.token.abandon();
        }
    }

    /// Marks the ring broken and lets go of its requests; the other rings go on.
    pub(super) fn break_off(&self, work: &mut Work<D>, error: &LaneError) {
        work.broken = true;
        self.abandon(work);
        let reason = format!("{error}; the ring stands still until the driver resets it");
        self.ledger.note_broken(Some(self.index), reason);
    }

    /// Sleeps until the next deadline, or until the budget may have room again.
    fn sleep(&self, work: &mut Work<D>) -> Result<(), LaneError> {
        let now = self.ledger.now();
        let next = work.next_deadline();
        if work.waiting.is_some() && next.is_none_or(|deadline| deadline.since(now) > RETRY) {
            return self.wake_in(work, RETRY);
        }
        if let Some(deadline) = next {
            self.note_armed(self.timer.wake_for(&mut work.alarm, now, deadline));
        }
        Ok(())
    }

    fn wake_in(&self, work: &mut Work<D>, delay: Duration) -> Result<(), LaneError> {
        let now = self.ledger.now();
        self.note_armed(self.timer.wake_in(&mut work.alarm, now, delay));
        Ok(())
    }

    fn note_armed(&self, armed: io::Result<()>) {
        if let Err(error) = armed {
            log::error!("queue {}: the timer cannot be armed: {error}", self.index);
        }
    }
}

impl<D: Device> AsRawFd for Lane<D> {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

impl<D: Device> Drop for Lane<D> {
    /// A connection that ended without its rings being stopped: nobody is left to answer.
    fn drop(&mut self) {
        self.abandon(&mut self.lock());
    }
}
