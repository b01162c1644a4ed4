//! What a sweep found: a point for each window, and the curve through them.

use serde::{Deserialize, Serialize};

use super::fit::{Fit, Sample, fit};
use super::point::Point;
use crate::report::interval::Interval;

/// The version of the schema.
pub const SCHEMA: u32 = 1;

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
    /// How long the scenario wrote with each window, in all repetitions together.
    pub seconds: u32,
    /// In how many repetitions it wrote with each window.
    #[serde(default = "once")]
    pub repeat: u32,
    /// A point for each window, in the order of the sweep.
    pub points: Vec<Point>,
    /// The curve; `None` where no point counts.
    pub fit: Option<Fit>,
    /// What it says of the window asked about.
    pub estimate: Option<Estimate>,
}

/// Before there were repetitions.
fn once() -> u32 {
    1
}

impl Sweep {
    /// Fits the curve and reads it off at `window_us`.
    pub fn conclude(&mut self, window_us: f64) {
        let samples: Vec<Sample> = self.points.iter().flat_map(Point::samples).collect();
        self.fit = fit(&samples);
        self.estimate = self.fit.map(|fit| {
            let (chance, interval) = fit.chance(window_us);
            Estimate { window_us, chance, interval }
        });
    }

    /// The measured windows reach down to the one asked about: no extrapolation.
    pub fn covers(&self, window_us: f64) -> bool {
        let measured = || self.points.iter().filter_map(|point| point.figures.median_us);
        measured().any(|w| w <= window_us) && measured().any(|w| w >= window_us)
    }

    /// How many points the curve misses, by their intervals.
    pub fn missed(&self) -> usize {
        let misses = |point: &&Point| {
            let (Some(fit), Some(at), Some(share)) =
                (&self.fit, point.figures.median_us, point.chance)
            else {
                return false;
            };
            let curve = fit.chance(at).0.unwrap_or(1.0);
            curve < share.interval.low || curve > share.interval.high
        };
        self.points.iter().filter(misses).count()
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::point::{Repetition, tests::repetition};
    use super::*;
    use crate::units::WindowSpec;
    use std::time::Duration;

    /// A sweep with two windows of four repetitions.
    pub fn sweep() -> Sweep {
        let point = |millis, median, raced: [u64; 4]| {
            let asked = WindowSpec::Fixed(Duration::from_millis(millis));
            let label = |number| format!("mmap-rewrite#{millis}{number}");
            let repetition =
                |(number, raced): (usize, &u64)| repetition(&label(number), median, 250, *raced);
            Point::of(asked, raced.iter().enumerate().map(repetition).collect())
        };
        let mut sweep = Sweep {
            schema: SCHEMA,
            version: "0.1.0".into(),
            kernel: "6.1.0".into(),
            cell: "mmap-rewrite/ext4/stable_writes=off".into(),
            accel: "tcg".into(),
            seconds: 4,
            repeat: 4,
            points: vec![
                point(0, 100.0, [20, 27, 24, 24]),
                point(1, 1_100.0, [160, 170, 166, 171]),
            ],
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
        assert_eq!(swept.missed(), 0);
        let lost = |repetition: &Repetition| {
            let trouble = Some("mount failed".into());
            Repetition { trouble, ..repetition.clone() }
        };
        let point = &swept.points[1];
        swept.points[1] = Point::of(point.asked, point.repetitions.iter().map(lost).collect());
        swept.conclude(20.0);
        assert!(swept.estimate.unwrap().interval.high < 0.03, "the first point is left");
        let json = serde_json::to_string(&swept).unwrap();
        let back: Sweep = serde_json::from_str(&json).unwrap();
        assert_eq!((back.points, back.cell), (swept.points, swept.cell));
    }

    #[test]
    fn a_curve_that_misses_its_points_is_known_by_their_intervals() {
        let mut swept = sweep();
        // Ten times the window, the same chance: not this curve.
        let point = &swept.points[0];
        let again = |r: &Repetition| repetition(&r.label, 1_100.0, 250, r.figures.raced_writes);
        swept.points[1] = Point::of(point.asked, point.repetitions.iter().map(again).collect());
        swept.conclude(20.0);
        assert_eq!(swept.missed(), 2);
    }

    #[test]
    fn what_an_earlier_version_wrote_can_still_be_read() {
        let mut old = serde_json::to_value(sweep()).unwrap();
        old.as_object_mut().unwrap().remove("repeat");
        for point in old["points"].as_array_mut().unwrap() {
            let point = point.as_object_mut().unwrap();
            point.remove("chance");
            point.remove("repetitions");
        }
        let back: Sweep = serde_json::from_value(old).unwrap();
        assert_eq!((back.repeat, back.points[0].figures.writes), (1, 1_000));
    }
}
