//! When a writer stops: at its time, at a signal, or at an error that it was told not to outlive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::clock::{Clock, Moment};

/// The bounds of a writer's loops.
#[derive(Debug)]
pub struct Bounds<'a> {
    clock: &'a dyn Clock,
    until: Moment,
    stop: Arc<AtomicBool>,
}

impl<'a> Bounds<'a> {
    /// Bounds that end after `time`, counted from now, or when [`Bounds::stop`] is called.
    pub fn new(clock: &'a dyn Clock, time: Duration) -> Bounds<'a> {
        Bounds { clock, until: clock.now().after(time), stop: Arc::default() }
    }

    /// Ends on SIGINT, SIGTERM and SIGHUP as well, as if the time were over.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&self.stop))?;
        }
        Ok(())
    }

    /// Whether to go on.
    pub fn go(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.clock.now() < self.until
    }

    /// Ends all loops.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn ends_at_its_time_or_when_told() {
        let clock = ManualClock::default();
        let bounds = Bounds::new(&clock, Duration::from_secs(2));
        clock.advance(Duration::from_millis(1_999));
        assert!(bounds.go());
        clock.advance(Duration::from_millis(1));
        assert!(!bounds.go());
        let bounds = Bounds::new(&clock, Duration::from_secs(2));
        bounds.stop();
        assert!(!bounds.go());
    }
}
