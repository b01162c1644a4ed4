//! What was measured with one window: its repetitions, and what they say together.

use serde::{Deserialize, Serialize};

use crate::units::WindowSpec;

use super::fit::Sample;
use super::share::{Count, Share, share};
use crate::report::interval::as_real;

/// What was counted, in one repetition or in several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The measured median in microseconds; of several repetitions that of their medians.
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
}

impl Figures {
    /// Those of all these repetitions.
    fn over(each: &[&Figures]) -> Figures {
        let sum = |figure: fn(&Figures) -> u64| {
            each.iter().fold(0_u64, |sum, figures| sum.saturating_add(figure(figures)))
        };
        Figures {
            median_us: median(each.iter().filter_map(|figures| figures.median_us).collect()),
            max_us: each.iter().filter_map(|figures| figures.max_us).reduce(f64::max),
            writes: sum(|f| f.writes),
            raced_writes: sum(|f| f.raced_writes),
            blocks_checked: sum(|f| f.blocks_checked),
            races: sum(|f| f.races),
        }
    }
}

/// One run of the cell with one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The label of its records.
    pub label: String,
    /// What was counted.
    #[serde(flatten)]
    pub figures: Figures,
    /// What went wrong in the guest; such a repetition does not count.
    pub trouble: Option<String>,
}

impl Repetition {
    fn sample(&self) -> Option<Sample> {
        let Figures { median_us, writes, raced_writes, .. } = self.figures;
        Some(Sample { window_us: median_us?, writes, raced: raced_writes })
    }
}

/// One window. Its figures are those of all repetitions that count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The window asked for.
    pub asked: WindowSpec,
    /// What was counted, in all repetitions that count.
    #[serde(flatten)]
    pub figures: Figures,
    /// The share of writes that raced, its interval, and how it was made; `None` without a write.
    #[serde(default)]
    pub chance: Option<Share>,
    /// The repetitions, in their order.
    #[serde(default)]
    pub repetitions: Vec<Repetition>,
    /// What went wrong in the guest where no repetition counts; such a point does not count.
    pub trouble: Option<String>,
}

impl Point {
    /// The point that `repetitions` make.
    pub fn of(asked: WindowSpec, repetitions: Vec<Repetition>) -> Point {
        let each: Vec<&Figures> = sound(&repetitions).map(|r| &r.figures).collect();
        let counts: Vec<Count> =
            each.iter().map(|f| Count { writes: f.writes, raced: f.raced_writes }).collect();
        let trouble = repetitions.iter().find_map(|repetition| repetition.trouble.clone());
        Point {
            asked,
            figures: Figures::over(&each),
            chance: share(&counts),
            trouble: trouble.filter(|_| each.is_empty()),
            repetitions,
        }
    }

    /// What the curve is fitted to: each repetition that counts.
    pub fn samples(&self) -> Vec<Sample> {
        sound(&self.repetitions).filter_map(Repetition::sample).collect()
    }

    /// Where each repetition that counts lies: its window in microseconds, and its share of writes.
    pub fn spread(&self) -> Vec<(f64, f64)> {
        let place = |sample: Sample| {
            (sample.writes > 0)
                .then(|| (sample.window_us, as_real(sample.raced) / as_real(sample.writes)))
        };
        self.samples().into_iter().filter_map(place).collect()
    }
}

fn sound(repetitions: &[Repetition]) -> impl Iterator<Item = &Repetition> {
    repetitions.iter().filter(|repetition| repetition.trouble.is_none())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
pub mod tests {
    use super::super::share::Method;
    use super::*;

    /// A repetition.
    pub fn repetition(label: &str, median: f64, writes: u64, raced: u64) -> Repetition {
        Repetition {
            label: label.to_owned(),
            figures: Figures {
                median_us: Some(median),
                max_us: Some(median * 10.0),
                writes,
                raced_writes: raced,
                blocks_checked: writes * 8,
                races: raced * 2,
            },
            trouble: None,
        }
    }

    #[test]
    fn repetitions_with_trouble_do_not_count_and_all_others_do() {
        let mut repetitions = vec![
            repetition("a#1", 30.0, 100, 10),
            repetition("a#4", 10.0, 300, 20),
            repetition("a#5", 20.0, 100, 20),
            repetition("a#9", 15.0, 100, 100),
        ];
        repetitions[3].trouble = Some("no mount".into());
        let point = Point::of(WindowSpec::Hold, repetitions.clone());
        let all = &point.figures;
        assert_eq!((all.writes, all.raced_writes, all.races), (500, 50, 100));
        assert_eq!((all.median_us, all.max_us), (Some(20.0), Some(300.0)));
        let share = point.chance.unwrap();
        assert_eq!((share.share, share.repetitions), (0.1, 3));
        assert_eq!(share.method, Method::BetweenRepetitions);
        assert_eq!((point.samples().len(), point.spread()[0]), (3, (30.0, 0.1)));
        assert_eq!(point.trouble, None);
        repetitions.iter_mut().for_each(|r| r.trouble = Some(format!("{} failed", r.label)));
        let lost = Point::of(WindowSpec::Hold, repetitions);
        assert_eq!((lost.trouble.as_deref(), lost.chance), (Some("a#1 failed"), None));
        assert_eq!(median(vec![1.0, 9.0, 3.0, 5.0]), Some(4.0));
    }
}
