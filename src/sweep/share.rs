//! The share of writes that raced with one window, and how well it is known. The writes of one repetition
//! come in bursts and are not independent of each other; repetitions are. So the interval is that of as many
//! independent writes as would vary as the repetitions do: Korn and Graubard, "Confidence intervals for
//! proportions with small expected number of positive counts estimated from survey data", Survey
//! Methodology 24 (1998), with Wilson's interval in place of the exact one.

use serde::{Deserialize, Serialize};

use crate::report::interval::{Interval, Z95, as_real, score, t95};

/// What one repetition counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Writes.
    pub writes: u64,
    /// Those in which at least one block raced.
    pub raced: u64,
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From how much the repetitions differ.
    BetweenRepetitions,
    /// Each repetition as a single trial: nothing raced, or everything did, or there is but one, so that
    /// they tell nothing of how much they differ.
    RepetitionsAsTrials,
}

/// A share of writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Raced writes by writes, over all repetitions.
    pub share: f64,
    /// Its interval at 95 %.
    pub interval: Interval,
    /// How the interval was made.
    pub method: Method,
    /// The repetitions that it rests on.
    pub repetitions: usize,
    /// How many independent writes would tell as much.
    pub effective_writes: f64,
}

/// The share over the repetitions of one window; `None` without a write. A repetition without writes says
/// nothing of their share.
pub fn share(counts: &[Count]) -> Option<Share> {
    let counts: Vec<Count> = counts.iter().filter(|count| count.writes > 0).copied().collect();
    let writes: f64 = counts.iter().map(|count| as_real(count.writes)).sum();
    let raced: f64 = counts.iter().map(|count| as_real(count.raced.min(count.writes))).sum();
    if writes <= 0.0 {
        return None;
    }
    let share = raced / writes;
    let (method, effective) = match between(&counts, share, writes) {
        Some(effective) if share > 0.0 && share < 1.0 => (Method::BetweenRepetitions, effective),
        _ => (Method::RepetitionsAsTrials, real(counts.len())),
    };
    Some(Share {
        share,
        interval: score(share, effective),
        method,
        repetitions: counts.len(),
        effective_writes: effective,
    })
}

/// As many independent writes as have the variance that the repetitions show, or that of all writes where
/// the repetitions differ less than chance alone lets them; fewer by what so few repetitions leave open.
fn between(counts: &[Count], share: f64, writes: f64) -> Option<f64> {
    let freedom = counts.len().checked_sub(1)?;
    let student = t95(freedom)?;
    let square = |count: &Count| {
        let off = as_real(count.raced.min(count.writes)) - share * as_real(count.writes);
        off * off
    };
    let squares: f64 = counts.iter().map(square).sum();
    // The variance of a ratio of two sums, linearised.
    let seen = squares * real(counts.len()) / real(freedom) / (writes * writes);
    let least = share * (1.0 - share) / writes;
    let effective = share * (1.0 - share) / seen.max(least);
    Some(effective * (Z95 / student).powi(2))
}

fn real(count: usize) -> f64 {
    as_real(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "share/tests.rs"]
mod tests;
