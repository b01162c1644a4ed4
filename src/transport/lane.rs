//! A lane: one queue's way from doorbell to completion.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pace::Pace;
use super::schedule::Schedule;
use super::timer::Timer;
use crate::memory::{MemoryMap, Segments};
use crate::proto::{Answered, Device, Exchange, InWindow, Step, Sweep, Unanswerable};
use crate::queue::{Request, Ring, RingError, Token};
use crate::trap::WindowPolicy;
use crate::units::QueueIndex;

/// How many rounds of "empty the ring, fetch what is due" a lane makes before it lets others have its
/// lock.
const MAX_ROUNDS: usize = 16;
/// When to look again for room in the budget, which other lanes give back.
const RETRY: Duration = Duration::from_millis(1);

/// One queue of a connection.
#[derive(Debug)]
pub struct Lane<D: Device> {
    index: QueueIndex,
    device: Arc<D>,
    pace: Arc<Pace>,
    timer: Timer,
    work: Mutex<Work<D>>,
}

/// What is under way in a lane.
#[derive(Debug)]
struct Work<D: Device> {
    in_window: Schedule<InFlight<D::Held>>,
    /// A request that waits for room in the budget.
    waiting: Option<Request>,
    /// Requests that wait for news of the device.
    parked: VecDeque<Parked>,
    policy: WindowPolicy,
    broken: bool,
}

/// A request that waits for news, and where they go.
#[derive(Debug)]
struct Parked {
    room: Segments,
    token: Token,
}

/// The other lanes of the device, for a request that acts on all of them.
pub trait Others<D: Device> {
    /// Lets a sweep pass over them.
    fn sweep(&self, sweep: &mut dyn Sweep<D::Held>);
}

/// A held request, the token that answers it and the bytes it took from the budget.
#[derive(Debug)]
struct InFlight<H> {
    held: H,
    token: Token,
    bytes: u64,
}

/// Why a lane stops following its ring.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error("more requests are in flight than its ring has descriptors ({0})")]
    Overfull(usize),
}

/// A ring, and the guest memory it lies in, for the length of one turn.
#[derive(Debug, Clone)]
pub struct Track {
    /// The ring.
    pub ring: Ring,
    /// The memory.
    pub map: MemoryMap,
}

impl<D: Device> Lane<D> {
    /// The lane of queue `index`.
    pub fn new(index: QueueIndex, device: Arc<D>, pace: Arc<Pace>) -> io::Result<Self> {
        let policy = pace.policy(index);
        let work = Work {
            in_window: Schedule::new(),
            waiting: None,
            parked: VecDeque::new(),
            policy,
            broken: false,
        };
        Ok(Lane { index, device, pace, timer: Timer::new()?, work: Mutex::new(work) })
    }

    /// The doorbell rang, or the timer did.
    pub fn turn(&self, track: &Track, others: &dyn Others<D>) {
        self.timer.clear();
        let mut work = self.lock();
        if work.broken || !track.ring.is_ready() {
            return;
        }
        if let Err(error) = self.run(&mut work, track, others) {
            self.break_off(&mut work, &error);
        }
    }

    /// Ends every window now: fetches and answers all that is held. Answers how many that were.
    pub fn drain(&self, track: &Track) -> u64 {
        let mut work = self.lock();
        self.empty(&mut work, track).unwrap_or_else(|error| {
            self.break_off(&mut work, &error);
            0
        })
    }

    /// As [`Lane::drain`], for a ring that stops: the next start finds a clean lane, and parked
    /// requests go back to the driver, who would miss them otherwise.
    pub fn stop(&self, track: &Track) {
        self.drain(track);
        let mut work = self.lock();
        let no_news = self.device.no_news();
        while let Some(parked) = work.parked.pop_front() {
            if let Err(error) = parked.tell(track, &no_news) {
                self.break_off(&mut work, &error);
            }
        }
        work.broken = false;
    }

    /// How many writes are inside their windows.
    pub fn held(&self) -> u64 {
        self.lock().in_window.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Work<D>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(
        &self,
        work: &mut Work<D>,
        track: &Track,
        others: &dyn Others<D>,
    ) -> Result<(), LaneError> {
        for _ in 0..MAX_ROUNDS {
            track.ring.hush()?;
            self.take_requests(work, track, others)?;
            self.fetch_due(work, track)?;
            self.tell(work, track)?;
            track.ring.notify(&track.map)?;
            if work.waiting.is_some() || !track.ring.listen()? {
                return self.sleep(work);
            }
        }
        self.wake_in(Duration::ZERO)
    }

    /// Takes requests until the ring is empty or the budget is spent. A request that waits is counted
    /// once, however often it is looked at.
    fn take_requests(
        &self,
        work: &mut Work<D>,
        track: &Track,
        others: &dyn Others<D>,
    ) -> Result<(), LaneError> {
        let mut counted = work.waiting.is_some();
        while let Some(request) = self.next_request(work, track)? {
            let bytes = request.readable.len().saturating_add(request.writable.len());
            if self.device.holds(self.index) && !self.pace.budget.allows(bytes) {
                if !counted {
                    self.device.note_deferred();
                }
                work.waiting = Some(request);
                return Ok(());
            }
            self.begin(work, track, request, others)?;
            counted = false;
        }
        Ok(())
    }

    fn next_request(
        &self,
        work: &mut Work<D>,
        track: &Track,
    ) -> Result<Option<Request>, LaneError> {
        if let Some(request) = work.waiting.take() {
            return Ok(Some(request));
        }
        Ok(track.ring.pop(&track.map)?)
    }

    /// Takes a request up to its answer or into its window.
    fn begin(
        &self,
        work: &mut Work<D>,
        track: &Track,
        request: Request,
        others: &dyn Others<D>,
    ) -> Result<(), LaneError> {
        let Request { readable, writable, flaw, token } = request;
        if let Some(flaw) = flaw {
            log::warn!("queue {}: {flaw}; the request fails", self.index);
        }
        let exchange = Exchange { queue: self.index, readable, writable, flawed: flaw.is_some() };
        match self.device.begin(exchange) {
            Ok(Step::Done(answered)) => Ok(track.ring.complete(token, answered.written)?),
            Ok(Step::Held(held)) => self.hold(work, track, held, token),
            Ok(Step::Silent) => {
                token.abandon();
                Ok(())
            }
            Ok(Step::Parked(room)) => self.park(work, track, Parked { room, token }),
            Ok(Step::Sweep(mut sweep)) => {
                others.sweep(sweep.as_mut());
                complete(track, token, sweep.conclude())
            }
            Err(unanswerable) => complete(track, token, Err(unanswerable)),
        }
    }

    /// Keeps a request for news of the device.
    fn park(&self, work: &mut Work<D>, track: &Track, parked: Parked) -> Result<(), LaneError> {
        let size = track.ring.size();
        if work.parked.len() >= size {
            parked.token.abandon();
            return Err(LaneError::Overfull(size));
        }
        work.parked.push_back(parked);
        Ok(())
    }

    /// Tells the device's news to parked requests, for as long as there are both.
    fn tell(&self, work: &mut Work<D>, track: &Track) -> Result<(), LaneError> {
        while !work.parked.is_empty()
            && let Some(news) = self.device.news()
            && let Some(parked) = work.parked.pop_front()
        {
            parked.tell(track, &news)?;
        }
        Ok(())
    }

    /// Lets a sweep pass over this lane: requests that came before it are taken from the ring first.
    pub fn sweep(&self, track: &Track, sweep: &mut dyn Sweep<D::Held>) {
        let mut work = self.lock();
        if work.broken || !track.ring.is_ready() {
            return;
        }
        if let Err(error) = self.run_sweep(&mut work, track, sweep) {
            self.break_off(&mut work, &error);
        }
    }

    fn run_sweep(
        &self,
        work: &mut Work<D>,
        track: &Track,
        sweep: &mut dyn Sweep<D::Held>,
    ) -> Result<(), LaneError> {
        while let Some(request) = self.next_request(work, track)? {
            self.begin(work, track, request, &Nobody)?;
        }
        for taken in work.in_window.take_chosen(|item| sweep.takes(&item.held)) {
            self.pace.budget.give_back(taken.bytes);
            complete(track, taken.token, sweep.end(taken.held))?;
        }
        Ok(track.ring.notify(&track.map)?)
    }

    fn hold(
        &self,
        work: &mut Work<D>,
        track: &Track,
        held: D::Held,
        token: Token,
    ) -> Result<(), LaneError> {
        // VIRTIO 1.2 §2.7.13.3: a driver has at most as many chains outstanding as descriptors.
        let size = track.ring.size();
        if work.in_window.len() >= size {
            token.abandon();
            return Err(LaneError::Overfull(size));
        }
        let bytes = held.bytes();
        self.pace.budget.take(bytes);
        let deadline = work.policy.deadline(&self.pace.window(), held.rung(), bytes);
        work.in_window.add(deadline, InFlight { held, token, bytes });
        Ok(())
    }

    fn fetch_due(&self, work: &mut Work<D>, track: &Track) -> Result<(), LaneError> {
        while let Some(due) = work.in_window.take_due(self.device.now()) {
            self.finish(due, track)?;
        }
        Ok(())
    }

    fn finish(&self, due: InFlight<D::Held>, track: &Track) -> Result<(), LaneError> {
        let InFlight { held, token, bytes } = due;
        self.pace.budget.give_back(bytes);
        complete(track, token, self.device.finish(held))
    }

    /// Finishes everything that is held or waiting, whatever its deadline.
    fn empty(&self, work: &mut Work<D>, track: &Track) -> Result<u64, LaneError> {
        if let Some(request) = work.waiting.take() {
            self.begin(work, track, request, &Nobody)?;
        }
        let mut finished = 0;
        while let Some(first) = work.in_window.take_first() {
            self.finish(first, track)?;
            finished += 1;
        }
        track.ring.notify(&track.map)?;
        Ok(finished)
    }

    /// Lets go of every request without an answer.
    fn abandon(&self, work: &mut Work<D>) {
        if let Some(request) = work.waiting.take() {
            request.token.abandon();
        }
        while let Some(item) = work.in_window.take_first() {
            self.pace.budget.give_back(item.bytes);
            item.token.abandon();
        }
        while let Some(parked) = work.parked.pop_front() {
            parked.token.abandon();
        }
    }

    /// Marks the ring broken and lets go of its requests; the other rings go on.
    fn break_off(&self, work: &mut Work<D>, error: &LaneError) {
        work.broken = true;
        self.abandon(work);
        let reason = format!("{error}; the ring stands still until the driver resets it");
        self.device.note_broken(Some(self.index), reason);
    }

    /// Sleeps until the next deadline, or until the budget may have room again.
    fn sleep(&self, work: &Work<D>) -> Result<(), LaneError> {
        let now = self.device.now();
        let next = work.in_window.next_deadline().map(|deadline| deadline.since(now));
        let retry = work.waiting.as_ref().map(|_| RETRY);
        match next.into_iter().chain(retry).min() {
            Some(delay) => self.wake_in(delay),
            None => Ok(()),
        }
    }

    fn wake_in(&self, delay: Duration) -> Result<(), LaneError> {
        if let Err(error) = self.timer.arm(delay) {
            log::error!("queue {}: the timer cannot be armed: {error}", self.index);
        }
        Ok(())
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

impl Parked {
    /// Answers with as much of the news as there is room for.
    fn tell(self, track: &Track, news: &[u8]) -> Result<(), LaneError> {
        let room = usize::try_from(self.room.len()).unwrap_or(usize::MAX).min(news.len());
        let told = self.room.copy_in(0, news.get(..room).unwrap_or_default());
        let answered = told
            .map(|()| Answered { written: u32::try_from(room).unwrap_or(0) })
            .map_err(|error| Unanswerable(error.to_string()));
        complete(track, self.token, answered)
    }
}

/// A lane that is alone: what comes by it while it drains or is swept acts on nothing.
struct Nobody;

impl<D: Device> Others<D> for Nobody {
    fn sweep(&self, _sweep: &mut dyn Sweep<D::Held>) {}
}

/// Puts an answer into the ring, or gives the request up where there is none.
fn complete(
    track: &Track,
    token: Token,
    answered: Result<Answered, Unanswerable>,
) -> Result<(), LaneError> {
    match answered {
        Ok(answered) => Ok(track.ring.complete(token, answered.written)?),
        Err(unanswerable) => {
            token.abandon();
            Err(unanswerable.into())
        }
    }
}
