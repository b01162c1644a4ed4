//! When a write's data is fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::units::{QueueIndex, WindowSpec};

/// The link that `bandwidth:` models: all queues share it.
#[derive(Debug, Default)]
pub struct Link {
    free_at: AtomicU64,
}

impl Link {
    /// The moment at which a transfer that may begin at `earliest` and takes `busy` is over; the link
    /// is taken until then.
    fn reserve(&self, earliest: Moment, busy: Duration) -> Moment {
        let end = |free_at: u64| Moment(free_at.max(earliest.0)).after(busy);
        let before = self
            .free_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free_at| Some(end(free_at).0))
            .unwrap_or_else(|unchanged| unchanged);
        end(before)
    }
}

/// Draws the windows of one queue. The draws depend on the seed and the queue alone.
#[derive(Debug)]
pub struct WindowPolicy {
    random: fastrand::Rng,
    link: Arc<Link>,
}

impl WindowPolicy {
    /// A policy for `queue`.
    pub fn new(seed: u64, queue: QueueIndex, link: Arc<Link>) -> Self {
        // An odd multiplier keeps the queues' sequences apart for every seed.
        let seed = seed.wrapping_add(u64::from(queue.0).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        WindowPolicy { random: fastrand::Rng::with_seed(seed), link }
    }

    /// When to fetch a write of `bytes` bytes whose doorbell rang at `doorbell`.
    pub fn deadline(&mut self, spec: &WindowSpec, doorbell: Moment, bytes: u64) -> Moment {
        match *spec {
            WindowSpec::Fixed(window) => doorbell.after(window),
            WindowSpec::Uniform { low, high } => {
                doorbell.after(low + (high - low).mul_f64(self.random.f64()))
            }
            WindowSpec::Exponential { mean } => doorbell.after(self.exponential(mean)),
            WindowSpec::Bandwidth { latency, bytes_per_second } => {
                let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
                let busy = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                self.link.reserve(doorbell.after(latency), busy)
            }
            WindowSpec::Hold => Moment::NEVER,
        }
    }

    /// By inversion; `1 - f64()` is in (0, 1], so the logarithm is finite.
    fn exponential(&mut self, mean: Duration) -> Duration {
        let factor = -(1.0 - self.random.f64()).ln();
        mean.mul_f64(factor.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(seed: u64, queue: u16) -> WindowPolicy {
        WindowPolicy::new(seed, QueueIndex(queue), Arc::default())
    }

    fn draws(seed: u64, queue: u16, spec: &str) -> Vec<u64> {
        let spec = spec.parse().unwrap();
        let mut policy = policy(seed, queue);
        (0..2000).map(|_| policy.deadline(&spec, Moment(0), 4096).0).collect()
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(draws(7, 0, "uniform:0..5ms"), draws(7, 0, "uniform:0..5ms"));
        assert_ne!(draws(7, 0, "uniform:0..5ms"), draws(8, 0, "uniform:0..5ms"));
        assert_ne!(draws(7, 0, "uniform:0..5ms"), draws(7, 1, "uniform:0..5ms"));
    }

    #[test]
    fn uniform_stays_inside_its_bounds_and_uses_them() {
        let draws = draws(1, 0, "uniform:1ms..5ms");
        assert!(draws.iter().all(|d| (1_000_000..=5_000_000).contains(d)));
        assert!(draws.iter().any(|d| *d < 1_400_000) && draws.iter().any(|d| *d > 4_600_000));
    }

    #[test]
    fn exponential_has_its_mean() {
        let draws = draws(1, 0, "exp:200us");
        let mean = draws.iter().sum::<u64>() / draws.len() as u64;
        assert!((180_000..220_000).contains(&mean), "{mean}");
    }

    #[test]
    fn fixed_and_hold() {
        assert_eq!(draws(1, 0, "250us")[0], 250_000);
        assert_eq!(draws(1, 0, "hold")[0], Moment::NEVER.0);
    }

    #[test]
    fn a_link_is_shared_and_takes_turns() {
        let link = Arc::new(Link::default());
        let spec: WindowSpec = "bandwidth:100us+1MB/s".parse().unwrap();
        let mut first = WindowPolicy::new(1, QueueIndex(0), Arc::clone(&link));
        let mut second = WindowPolicy::new(1, QueueIndex(1), link);
        assert_eq!(first.deadline(&spec, Moment(0), 1000), Moment(1_100_000));
        assert_eq!(second.deadline(&spec, Moment(0), 1000), Moment(2_100_000));
        assert_eq!(first.deadline(&spec, Moment(10_000_000), 1000), Moment(11_100_000));
    }
}
