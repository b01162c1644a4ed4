//! Confidence intervals of a proportion.

use serde::{Deserialize, Serialize};

/// The two-sided 95 % point of the normal distribution.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A range that covers the true value in 95 of 100 repetitions of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Wilson's score interval for `hits` of `trials`, at 95 %. It holds near 0 and 1, where a plain
/// normal approximation does not. Without a trial nothing is known: 0 to 1.
pub fn wilson(hits: u64, trials: u64) -> Interval {
    let (hits, trials) = (as_real(hits), as_real(trials));
    if trials <= 0.0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let square = Z95 * Z95;
    let chance = hits / trials;
    let scale = 1.0 + square / trials;
    let middle = (chance + square / (2.0 * trials)) / scale;
    let spread = chance * (1.0 - chance) / trials + square / (4.0 * trials * trials);
    let half = Z95 / scale * spread.max(0.0).sqrt();
    let low = if hits <= 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if hits >= trials { 1.0 } else { (middle + half).min(1.0) };
    Interval { low, high }
}

/// A count as a real number; exact up to 2^53, far beyond any number of writes.
pub fn as_real(count: u64) -> f64 {
    // There is no lossless conversion in the standard library: two exact halves.
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0);
    let high = u32::try_from(count >> 32).unwrap_or(0);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wilson_agrees_with_the_literature() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        for (hits, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson(hits, trials);
            assert!((interval.low - low).abs() < 6e-5, "{hits}/{trials}: {interval:?}");
            assert!((interval.high - high).abs() < 6e-5, "{hits}/{trials}: {interval:?}");
        }
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn counts_convert_exactly() {
        assert_eq!(as_real(0), 0.0);
        assert_eq!(as_real(u64::from(u32::MAX) + 2), 4_294_967_297.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_proportion(trials in 1_u64..1_000_000, share in 0.0..=1.0_f64) {
            let hits = (as_real(trials) * share) as u64;
            let interval = wilson(hits, trials);
            let chance = as_real(hits) / as_real(trials);
            prop_assert!(0.0 <= interval.low && interval.low <= chance + 1e-12);
            prop_assert!(chance <= interval.high + 1e-12 && interval.high <= 1.0);
        }
    }
}
