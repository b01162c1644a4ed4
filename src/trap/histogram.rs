//! Measured windows, in buckets narrow enough for an honest median.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::record::WindowStats;

/// Buckets an octave: a bucket is at most 1/32 of its value wide.
const PER_OCTAVE_BITS: u32 = 5;
const PER_OCTAVE: usize = 1 << PER_OCTAVE_BITS;
/// 2^42 ns is more than an hour, the longest window there is.
const OCTAVES: usize = 42;

/// A histogram of durations that many threads may feed.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max_ns: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        let buckets = (0..OCTAVES * PER_OCTAVE).map(|_| AtomicU64::new(0)).collect();
        Histogram { buckets, max_ns: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // Looked at first: a maximum is seldom a new one, and a look locks nothing.
        if nanos > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(nanos, Ordering::Relaxed);
        }
        let index = bucket_of(nanos).min(self.buckets.len() - 1);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Median (to within 1/32 of its value) and exact maximum; `None` while empty.
    pub fn stats(&self) -> Option<WindowStats> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let mut seen = 0;
        let median = counts.iter().position(|count| {
            seen += count;
            seen * 2 >= total
        });
        let max = micros(self.max_ns.load(Ordering::Relaxed));
        let median = micros(middle_of(median.unwrap_or_default())).min(max);
        Some(WindowStats { median, max })
    }
}

/// Nanoseconds as microseconds, to three places.
fn micros(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// The bucket that holds `nanos`: exact below 2^5, then 32 buckets an octave.
fn bucket_of(nanos: u64) -> usize {
    let octave = nanos.checked_ilog2().unwrap_or(0).saturating_sub(PER_OCTAVE_BITS);
    let index = u64::from(octave) * PER_OCTAVE as u64 + (nanos >> octave);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The middle of a bucket's values.
fn middle_of(bucket: usize) -> u64 {
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    let low = ((bucket - octave * PER_OCTAVE) as u64) << octave;
    low + ((1u64 << octave) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Histogram::new().stats(), None);
    }

    #[test]
    fn median_and_maximum() {
        let histogram = Histogram::new();
        for us in [100, 200, 300, 400, 50_000] {
            histogram.add(Duration::from_micros(us));
        }
        let stats = histogram.stats().unwrap();
        assert!((290.0..=310.0).contains(&stats.median), "{}", stats.median);
        assert!((stats.max - 50_000.0).abs() < 0.001);
    }

    proptest! {
        #[test]
        fn a_bucket_is_near_its_values(nanos in 0u64..(1 << 41)) {
            let middle = middle_of(bucket_of(nanos));
            prop_assert!(middle.abs_diff(nanos) <= nanos / 32 + 1, "{} for {}", middle, nanos);
        }
    }
}
