//! A timer that wakes a worker, a little early.
//!
//! A thread that sleeps wakes up late: 50 us and more, on a machine that went idle. So the timer is
//! set ahead of the deadline by as much as it was late before, and the worker watches its ring for the
//! rest. Ahead by no more than [`MAX_LEAD`]: what is spun away is bounded.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock::Moment;

/// The furthest ahead of a deadline that a worker is woken.
const MAX_LEAD: Duration = Duration::from_micros(100);
/// Added to what was measured, for the next one may be a little later.
const MARGIN: Duration = Duration::from_micros(5);

/// A one-shot timer behind a file descriptor.
#[derive(Debug)]
pub struct Timer {
    fd: TimerFd,
}

/// What a worker knows about its timer; it goes with the worker's lock.
#[derive(Debug, Default)]
pub struct Alarm {
    /// When it will fire, or did without having been looked at.
    set_for: Option<Moment>,
    /// It was set ahead of a deadline, so it shows how late the worker wakes up.
    ahead: bool,
    lead: Lead,
}

/// How far ahead a timer has to be set.
#[derive(Debug, Default)]
struct Lead {
    nanos: u64,
}

impl Lead {
    fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Goes up fast and down slowly: a window that is a little too long is worse than a moment's spin.
    fn learn(&mut self, late: Duration) {
        let wanted = late.saturating_add(MARGIN).min(MAX_LEAD);
        let wanted = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = if wanted > self.nanos {
            self.nanos + (wanted - self.nanos) / 2
        } else {
            self.nanos - (self.nanos - wanted) / 16
        };
    }
}

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Timer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Timer { fd: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)? })
    }

    /// Wakes its worker once, `delay` from now; a delay of zero at once.
    pub fn wake_in(&self, alarm: &mut Alarm, now: Moment, delay: Duration) -> io::Result<()> {
        alarm.ahead = false;
        self.set(alarm, now, now.after(delay))
    }

    /// Wakes its worker once, ahead of `deadline`.
    pub fn wake_for(&self, alarm: &mut Alarm, now: Moment, deadline: Moment) -> io::Result<()> {
        alarm.ahead = true;
        self.set(alarm, now, deadline.before(alarm.lead.get()))
    }

    fn set(&self, alarm: &mut Alarm, now: Moment, at: Moment) -> io::Result<()> {
        if alarm.set_for == Some(at) {
            return Ok(());
        }
        alarm.set_for = Some(at);
        // A time of zero would disarm it.
        let delay = TimeSpec::from_duration(at.since(now).max(Duration::from_nanos(1)));
        Ok(self.fd.set(Expiration::OneShot(delay), TimerSetTimeFlags::empty())?)
    }

    /// Forgets that it fired, if it did, and learns how late that was.
    pub fn clear(&self, alarm: &mut Alarm, now: Moment) {
        let Some(at) = alarm.set_for.filter(|at| *at <= now) else { return };
        let mut count = [0; 8];
        if nix::unistd::read(self.fd.as_fd(), &mut count).is_ok() {
            alarm.set_for = None;
            if alarm.ahead {
                alarm.lead.learn(now.since(at));
            }
        }
    }
}

impl Alarm {
    /// Whether `deadline` is so near that sleeping would miss it.
    pub fn is_near(&self, now: Moment, deadline: Moment) -> bool {
        deadline.since(now) <= self.lead.get()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_follows_how_late_it_was_and_stays_bounded() {
        let mut lead = Lead::default();
        for _ in 0..20 {
            lead.learn(Duration::from_micros(40));
        }
        assert!(lead.get() > Duration::from_micros(40) && lead.get() <= Duration::from_micros(45));
        for _ in 0..50 {
            lead.learn(Duration::from_secs(1));
        }
        assert!(lead.get() <= MAX_LEAD);
        for _ in 0..200 {
            lead.learn(Duration::ZERO);
        }
        assert!(lead.get() < Duration::from_micros(7));
    }
}
