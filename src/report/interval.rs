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

/// Wilson's score interval for `hits` of `trials` that are independent, at 95 %. It holds near 0 and 1,
/// where a plain normal approximation does not. Without a trial nothing is known: 0 to 1.
pub fn wilson(hits: u64, trials: u64) -> Interval {
    let (hits, trials) = (as_real(hits), as_real(trials));
    if trials <= 0.0 { Interval { low: 0.0, high: 1.0 } } else { score(hits / trials, trials) }
}

/// The same for a share, seen in so many trials; they need not be whole.
pub fn score(share: f64, trials: f64) -> Interval {
    let square = Z95 * Z95;
    let scale = 1.0 + square / trials;
    let middle = (share + square / (2.0 * trials)) / scale;
    let spread = share * (1.0 - share) / trials + square / (4.0 * trials * trials);
    let half = Z95 / scale * spread.max(0.0).sqrt();
    let low = if share <= 0.0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if share >= 1.0 { 1.0 } else { (middle + half).min(1.0) };
    Interval { low, high }
}

/// Two-sided 95 % points of Student's distribution, by degrees of freedom from 1 (Abramowitz and Stegun,
/// Handbook of Mathematical Functions, table 26.10).
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The two-sided 95 % point of Student's distribution; without a degree of freedom there is none.
pub fn t95(freedom: usize) -> Option<f64> {
    let listed = T95.get(freedom.checked_sub(1)?);
    // Beyond the table: the expansion about the normal point, ibid. 26.7.5.
    Some(listed.copied().unwrap_or_else(|| {
        let f = as_real(u64::try_from(freedom).unwrap_or(u64::MAX));
        let cube = Z95.powi(3);
        let second = (5.0 * Z95.powi(5) + 16.0 * cube + 3.0 * Z95) / (96.0 * f * f);
        Z95 + (cube + Z95) / (4.0 * f) + second
    }))
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
    fn students_points_go_on_smoothly_beyond_the_table() {
        assert_eq!((t95(0), t95(1), t95(7)), (None, Some(12.706), Some(2.365)));
        // Ibid., table 26.10.
        for (freedom, point) in [(40, 2.021), (60, 2.000), (120, 1.980)] {
            assert!((t95(freedom).unwrap() - point).abs() < 6e-4, "{freedom}");
        }
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
