//! What a sweep found: a point for each window, and the curve through them.

use serde::{Deserialize, Serialize};

use crate::units::WindowSpec;

use super::fit::{Fit, Sample, fit};
use super::interval::{Interval, wilson};

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// One window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The window asked for.
    pub asked: WindowSpec,
    /// The measured median in microseconds.
    pub median_us: Option<f64>,
    /// The longest window measured, in microseconds.
    pub max_us: Option<f64>,
    /// Write requests.
    pub writes: u64,
    /// Those in which at least one block raced.
    pub raced_writes: u64,
    /// Blocks that were checked.
    pub blocks_checked: u64,
    /// Blocks that raced.
    pub races: u64,
    /// What went wrong in the guest; such a point does not count.
    pub trouble: Option<String>,
}

impl Point {
    /// The share of writes that raced, with Wilson's interval; `None` without a write.
    pub fn chance(&self) -> Option<(f64, Interval)> {
        let share =
            super::interval::as_real(self.raced_writes) / super::interval::as_real(self.writes);
        (self.writes > 0).then(|| (share, wilson(self.raced_writes, self.writes)))
    }

    fn sample(&self) -> Option<Sample> {
        let window_us = self.median_us.filter(|_| self.trouble.is_none())?;
        Some(Sample { window_us, writes: self.writes, raced: self.raced_writes })
    }
}

/// The chance that the curve gives for a window that nobody measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The window in microseconds.
    pub window_us: f64,
    /// The chance of a race per write; `None` where the rate has no estimate.
    pub chance: Option<f64>,
    /// Its interval at 95 %.
    pub interval: Interval,
}

/// A sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// dixtrap's version.
    pub version: String,
    /// The guest's `uname -r`.
    pub kernel: String,
    /// The cell: scenario, file system and setting.
    pub cell: String,
    /// KVM or TCG.
    pub accel: String,
    /// How long the scenario wrote with each window.
    pub seconds: u32,
    /// A point for each window, in the order of the sweep.
    pub points: Vec<Point>,
    /// The curve; `None` where no point counts.
    pub fit: Option<Fit>,
    /// What it says of the window asked about.
    pub estimate: Option<Estimate>,
}

impl Sweep {
    /// Fits the curve and reads it off at `window_us`.
    pub fn conclude(&mut self, window_us: f64) {
        let samples: Vec<Sample> = self.points.iter().filter_map(Point::sample).collect();
        self.fit = fit(&samples);
        self.estimate = self.fit.map(|fit| {
            let (chance, interval) = fit.chance(window_us);
            Estimate { window_us, chance, interval }
        });
    }

    /// The measured windows reach down to the one asked about: no extrapolation.
    pub fn covers(&self, window_us: f64) -> bool {
        let measured = || self.points.iter().filter_map(|point| point.median_us);
        measured().any(|w| w <= window_us) && measured().any(|w| w >= window_us)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::time::Duration;

    /// A sweep with two windows.
    pub fn sweep() -> Sweep {
        let point = |millis, median, raced| Point {
            asked: WindowSpec::Fixed(Duration::from_millis(millis)),
            median_us: Some(median),
            max_us: Some(median * 10.0),
            writes: 1_000,
            raced_writes: raced,
            blocks_checked: 8_000,
            races: raced * 2,
            trouble: None,
        };
        let mut sweep = Sweep {
            schema: SCHEMA,
            version: "0.1.0".into(),
            kernel: "6.1.0".into(),
            cell: "mmap-rewrite/ext4/stable_writes=off".into(),
            accel: "tcg".into(),
            seconds: 5,
            points: vec![point(0, 100.0, 95), point(1, 1_100.0, 667)],
            fit: None,
            estimate: None,
        };
        sweep.conclude(20.0);
        sweep
    }

    #[test]
    fn points_with_trouble_do_not_count_and_nothing_is_extrapolated_unsaid() {
        let mut swept = sweep();
        assert!(!swept.covers(20.0) && swept.covers(500.0));
        let whole = swept.estimate.unwrap().chance.unwrap();
        assert!((whole - 0.0198).abs() < 5e-4, "{whole}");
        swept.points[1].trouble = Some("mount failed".into());
        swept.conclude(20.0);
        assert_eq!(swept.fit.unwrap().dispersion, None, "one point is left");
        let json = serde_json::to_string(&swept).unwrap();
        let back: Sweep = serde_json::from_str(&json).unwrap();
        assert_eq!((back.points, back.cell), (swept.points, swept.cell));
    }
}
