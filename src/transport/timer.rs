//! A timer that wakes a lane.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// A one-shot timer behind a file descriptor.
#[derive(Debug)]
pub struct Timer {
    fd: TimerFd,
}

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Timer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Timer { fd: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)? })
    }

    /// Wakes its lane once, `delay` from now; a delay of zero at once.
    pub fn arm(&self, delay: Duration) -> io::Result<()> {
        // A time of zero would disarm it.
        let delay = TimeSpec::from_duration(delay.max(Duration::from_nanos(1)));
        Ok(self.fd.set(Expiration::OneShot(delay), TimerSetTimeFlags::empty())?)
    }

    /// Forgets that it fired.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // Nothing to read means that it did not fire, which is as good.
        let _ = nix::unistd::read(self.fd.as_fd(), &mut count);
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}
