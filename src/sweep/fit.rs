//! The chance of a race against the window: `1 - exp(-rate * window)`, which is what stores that come
//! at a constant rate would give. Fitted by maximum likelihood; the interval is the profile
//! likelihood's, widened by the over-dispersion of the repetitions (McCullagh and Nelder, Generalized
//! Linear Models, §4.5): the writes of one repetition are not independent of each other, repetitions are.

use serde::{Deserialize, Serialize};

use crate::report::interval::{Interval, Z95, as_real, t95};

/// What was seen in one repetition with one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The window in microseconds, as measured; above 0.
    pub window_us: f64,
    /// Writes.
    pub writes: u64,
    /// Writes in which at least one block raced.
    pub raced: u64,
}

/// The curve through the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Races a microsecond of window; `None` where every write raced, so that there is no upper end.
    pub rate: Option<f64>,
    /// Its lower end at 95 %.
    pub low: f64,
    /// Its upper end at 95 %; `None` where there is none.
    pub high: Option<f64>,
    /// How much further the repetitions lie from the curve than independent writes would put them: the
    /// mean squared Pearson residual, at least 1. Where no write raced, or all did, a repetition counts as
    /// one write. `None` for a single repetition, which lies on its curve, and counts as one as well.
    pub dispersion: Option<f64>,
}

impl Fit {
    /// The chance of a race in a window of this length, with its interval.
    pub fn chance(&self, window_us: f64) -> (Option<f64>, Interval) {
        let high = self.high.map_or(1.0, |rate| chance(rate, window_us));
        let interval = Interval { low: chance(self.low, window_us), high };
        (self.rate.map(|rate| chance(rate, window_us)), interval)
    }
}

/// `1 - exp(-rate * window)`, exact for small products too.
fn chance(rate: f64, window_us: f64) -> f64 {
    -(-rate * window_us).exp_m1()
}

/// The rates between which the fit is looked for, a microsecond.
const SLOWEST: f64 = 1e-15;
const FASTEST: f64 = 1e6;
/// Halvings: more than a double has digits.
const HALVINGS: u32 = 200;

/// Fits the curve; `None` without a usable sample.
pub fn fit(samples: &[Sample]) -> Option<Fit> {
    let usable = |s: &&Sample| {
        s.writes > 0 && s.raced <= s.writes && s.window_us.is_finite() && s.window_us > 0.0
    };
    let samples: Vec<Sample> = samples.iter().filter(usable).copied().collect();
    if samples.is_empty() {
        return None;
    }
    let none = samples.iter().all(|s| s.raced == 0);
    let all = samples.iter().all(|s| s.raced == s.writes);
    let best = match (none, all) {
        (true, _) => 0.0,
        (_, true) => f64::INFINITY,
        // The log-likelihood is concave: its slope falls from above 0 to below.
        _ => halve(|rate| slope(&samples, rate) > 0.0),
    };
    let lump = writes_each(&samples);
    let dispersion =
        if none || all { (samples.len() > 1).then_some(lump) } else { dispersion(&samples, best) };
    let wide = t95(samples.len().saturating_sub(1)).filter(|_| !none && !all).unwrap_or(Z95);
    let drop = wide * wide / 2.0 * dispersion.unwrap_or(lump);
    let peak = likelihood(&samples, best);
    let inside = |rate: f64| peak - likelihood(&samples, rate) <= drop;
    let low = if none { 0.0 } else { halve(|rate| rate < best && !inside(rate)) };
    let high = (!all).then(|| halve(|rate| rate <= best || inside(rate)));
    Some(Fit { rate: best.is_finite().then_some(best), low, high, dispersion })
}

/// How many writes a repetition has, on average.
fn writes_each(samples: &[Sample]) -> f64 {
    let writes: f64 = samples.iter().map(|s| as_real(s.writes)).sum();
    (writes / as_real(u64::try_from(samples.len()).unwrap_or(u64::MAX))).max(1.0)
}

/// The rate up to which `holds` is true; it has to be true below and false above.
fn halve(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (SLOWEST.ln(), FASTEST.ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle.exp()) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.exp()
}

/// The log-likelihood of `rate`, without the terms that do not depend on it.
fn likelihood(samples: &[Sample], rate: f64) -> f64 {
    let term = |s: &Sample| {
        let clean = as_real(s.writes.saturating_sub(s.raced));
        // 0 · ln 0 is 0, and so is 0 · infinity.
        let hit =
            if s.raced == 0 { 0.0 } else { as_real(s.raced) * chance(rate, s.window_us).ln() };
        let miss = if clean == 0.0 { 0.0 } else { clean * rate * s.window_us };
        hit - miss
    };
    samples.iter().map(term).sum()
}

/// The derivative of the log-likelihood.
fn slope(samples: &[Sample], rate: f64) -> f64 {
    let term = |s: &Sample| {
        let clean = as_real(s.writes.saturating_sub(s.raced));
        as_real(s.raced) * s.window_us / (rate * s.window_us).exp_m1() - clean * s.window_us
    };
    samples.iter().map(term).sum()
}

/// Pearson's chi-squared a degree of freedom, at least 1.
fn dispersion(samples: &[Sample], rate: f64) -> Option<f64> {
    let freedom = u64::try_from(samples.len()).ok()?.checked_sub(1).filter(|left| *left > 0)?;
    let term = |s: &Sample| {
        let expected = chance(rate, s.window_us);
        let variance = as_real(s.writes) * expected * (1.0 - expected);
        let off = as_real(s.raced) - as_real(s.writes) * expected;
        if variance > 0.0 { off * off / variance } else { 0.0 }
    };
    let squares: f64 = samples.iter().map(term).sum();
    Some((squares / as_real(freedom)).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(window_us: f64, raced: u64, writes: u64) -> Sample {
        Sample { window_us, writes, raced }
    }

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-6
    }

    #[test]
    fn one_window_has_a_solution_on_paper() {
        let fit = fit(&[sample(100.0, 15, 100); 31]).unwrap();
        // The rate that gives exactly 15/100.
        assert!(close(fit.rate.unwrap(), -(0.85_f64.ln()) / 100.0), "{fit:?}");
        assert_eq!(fit.dispersion, Some(1.0));
        let (chance, interval) = fit.chance(100.0);
        assert!(close(chance.unwrap(), 0.15));
        // The likelihood interval of a proportion is the set of p with G² ≤ t².
        let g = |p: f64| 31.0 * 2.0 * (15.0 * (0.15 / p).ln() + 85.0 * (0.85 / (1.0 - p)).ln());
        for end in [interval.low, interval.high] {
            assert!((g(end) - 2.042 * 2.042).abs() < 1e-6, "{interval:?}");
        }
        assert!(interval.low < 0.15 && 0.15 < interval.high);
    }

    #[test]
    fn no_race_still_bounds_the_rate() {
        // -2 n ln(1 - p) = 3.8415 gives p = 0.0916 for n = 20 (Newcombe 1998, table I, likelihood).
        let fit = fit(&[sample(50.0, 0, 1); 20]).unwrap();
        assert_eq!((fit.rate, fit.low), (Some(0.0), 0.0));
        let (_, interval) = fit.chance(50.0);
        assert!((interval.high - 0.0916).abs() < 6e-5, "{interval:?}");
    }

    #[test]
    fn all_raced_has_no_upper_end() {
        let fit = fit(&[sample(50.0, 1, 1); 20]).unwrap();
        assert_eq!((fit.rate, fit.high), (None, None));
        let (chance, interval) = fit.chance(50.0);
        assert_eq!((chance, interval.high), (None, 1.0));
        assert!((interval.low - (1.0 - 0.0916)).abs() < 6e-5, "{interval:?}");
    }

    #[test]
    fn writes_of_a_repetition_add_nothing_where_all_were_alike() {
        for raced in [0, 1] {
            let short = fit(&[sample(50.0, raced, 1); 20]).unwrap();
            let long = fit(&[sample(50.0, raced * 900, 900); 20]).unwrap();
            assert!((short.chance(50.0).1.low - long.chance(50.0).1.low).abs() < 1e-9);
            assert!((short.chance(50.0).1.high - long.chance(50.0).1.high).abs() < 1e-9);
            // One repetition is one trial, however many writes it has.
            let (_, alone) = fit(&[sample(50.0, raced * 900, 900)]).unwrap().chance(50.0);
            assert!(alone.high - alone.low > 0.8, "{alone:?}");
        }
    }

    #[test]
    fn points_off_the_curve_widen_the_interval() {
        // Ten times the window, the same chance: not this curve.
        let near = fit(&[sample(10.0, 100, 1000), sample(20.0, 190, 1000)]).unwrap();
        let far = fit(&[sample(10.0, 100, 1000), sample(100.0, 100, 1000)]).unwrap();
        assert_eq!(near.dispersion, Some(1.0));
        assert!(far.dispersion.unwrap() > 50.0, "{far:?}");
        assert!(far.high.unwrap() / far.low.max(1e-9) > 3.0 * near.high.unwrap() / near.low);
    }

    #[test]
    fn nothing_usable_is_no_fit() {
        let unusable = [sample(0.0, 1, 2), sample(f64::NAN, 1, 2), sample(1.0, 0, 0)];
        assert_eq!(fit(&unusable), None);
        assert_eq!(fit(&[]), None);
    }

    proptest! {
        #[test]
        fn exact_data_gives_the_rate_back(
            rate in 1e-7..1e-3_f64,
            windows in proptest::collection::vec(1.0..5_000.0_f64, 1..6),
        ) {
            let writes = 1_000_000_000;
            let samples: Vec<Sample> = windows
                .iter()
                .map(|w| sample(*w, (1e9 * chance(rate, *w)).round() as u64, writes))
                .collect();
            let fit = fit(&samples).unwrap();
            prop_assert!((fit.rate.unwrap() / rate - 1.0).abs() < 1e-2, "{fit:?}");
            prop_assert!(fit.low <= fit.rate.unwrap() && fit.rate.unwrap() <= fit.high.unwrap());
        }

        #[test]
        fn no_sample_breaks_it(
            points in proptest::collection::vec((any::<f64>(), 0_u64..2000, 0_u64..1000), 0..6),
        ) {
            let samples: Vec<Sample> = points.iter().map(|(w, n, k)| sample(*w, *k, *n)).collect();
            if let Some(fit) = fit(&samples) {
                let (_, interval) = fit.chance(20.0);
                prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0, "{fit:?}");
            }
        }
    }
}
