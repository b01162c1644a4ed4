//! A sweep as text.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::micros_words;

use super::fit::Fit;
use super::point::{Point, Repetition};
use super::result::{Estimate, Sweep};
use super::share::{Method, Share};
use crate::report::interval::Interval;

/// The points, the fit, the estimate, and what they do not say.
pub fn sweep_text(sweep: &Sweep) -> String {
    let mut out = format!(
        "{} on Linux {} ({}), {} s a window in {} repetitions\n{}\n",
        sweep.cell,
        sweep.kernel,
        sweep.accel,
        sweep.seconds,
        sweep.repeat,
        table(&sweep.points)
    );
    for point in &sweep.points {
        out.push_str(&trouble_words(point));
    }
    match (&sweep.fit, &sweep.estimate) {
        (Some(fit), Some(estimate)) => {
            out.push_str(&fit_words(fit, sweep.missed(), sweep.points.len()));
            out.push_str(&estimate_words(estimate, sweep.covers(estimate.window_us)));
            out.push_str(&neighbours_words(&sweep.points, estimate.window_us));
            out.push_str(CAVEATS);
        }
        _ => out.push_str("no window counts, so there is nothing to fit\n"),
    }
    out
}

const CAVEATS: &str = "\
What this does not say: the rate is that of these writers on this machine, and a guest that runs
slower or faster than the hardware stores at another rate. Windows count by their median; some were
longer. Intervals take repetitions for independent, not the writes of one; races that come in few of
many repetitions escape them more often than in one of 20 sweeps.
";

/// What does not count.
fn trouble_words(point: &Point) -> String {
    let name = |repetition: &Repetition| {
        let trouble = repetition.trouble.as_ref()?;
        Some(format!("window {}: {} does not count: {trouble}\n", point.asked, repetition.label))
    };
    match &point.trouble {
        Some(trouble) => format!("window {} does not count: {trouble}\n", point.asked),
        None => point.repetitions.iter().filter_map(name).collect(),
    }
}

/// How the interval was made, for a column.
fn method_words(share: &Share) -> String {
    match share.method {
        Method::BetweenRepetitions => {
            format!("{}, as {:.0} writes", share.repetitions, share.effective_writes)
        }
        Method::RepetitionsAsTrials => format!("{}, one trial each", share.repetitions),
    }
}

fn table(points: &[Point]) -> String {
    let mut table = Table::new();
    let headings = [
        "window",
        "measured",
        "writes",
        "raced",
        "chance of a race per write (95 %)",
        "repetitions",
        "blocks raced",
    ];
    table.load_style(presets::NOTHING).set_header(headings);
    for point in points {
        let figures = &point.figures;
        let measured =
            format!("{}, max {}", micros_words(figures.median_us), micros_words(figures.max_us));
        let chance = point.chance.map_or_else(|| "-".to_owned(), |share| share_words(&share));
        let method = point.chance.map_or_else(|| "-".to_owned(), |share| method_words(&share));
        table.add_row([
            point.asked.to_string(),
            measured,
            figures.writes.to_string(),
            figures.raced_writes.to_string(),
            chance,
            method,
            format!("{} of {}", figures.races, figures.blocks_checked),
        ]);
    }
    for column in [2, 3, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn share_words(share: &Share) -> String {
    format!("{} ({})", percent(share.share), range(share.interval))
}

fn fit_words(fit: &Fit, missed: usize, points: usize) -> String {
    let per_ms = |rate: f64| format!("{:.3}", rate * 1_000.0);
    let rate = fit.rate.map_or_else(|| "unknown".to_owned(), per_ms);
    let high = fit.high.map_or_else(|| "no end".to_owned(), per_ms);
    let mut words = format!(
        "fit: chance = 1 - exp(-rate * window), maximum likelihood; rate {rate} a millisecond \
         (95 %, profile likelihood: {} to {high})\n",
        per_ms(fit.low)
    );
    match fit.dispersion {
        Some(dispersion) => words.push_str(&format!(
            "over-dispersion {dispersion:.1}: the interval is widened by what the repetitions differ\n"
        )),
        None => words.push_str("one repetition alone cannot tell whether the curve fits\n"),
    }
    if missed > 0 {
        words.push_str(&format!(
            "the curve misses the intervals of {missed} of {points} windows: what was measured is a better \
             guide than the curve\n"
        ));
    }
    words
}

fn estimate_words(estimate: &Estimate, covered: bool) -> String {
    let window = micros_words(Some(estimate.window_us));
    let chance = estimate.chance.map_or_else(|| "unknown".to_owned(), percent);
    let often = estimate
        .chance
        .filter(|chance| *chance > 0.0)
        .map_or_else(String::new, |chance| format!(", about one write in {:.0}", 1.0 / chance));
    let beyond = if covered { "" } else { "; extrapolated: no measured window is that short" };
    format!(
        "with a fetch {window} after the doorbell: {chance} of such writes (95 %: {}){often}{beyond}\n",
        range(estimate.interval)
    )
}

/// What was measured next to the estimate's window, on either side: true however bad the fit is.
fn neighbours_words(points: &[Point], window_us: f64) -> String {
    let measured: Vec<(f64, String)> = points
        .iter()
        .filter_map(|point| {
            let (at, Share { share, interval, .. }) = (point.figures.median_us?, point.chance?);
            let words =
                format!("{} at {} ({})", percent(share), micros_words(Some(at)), range(interval));
            Some((at, words))
        })
        .collect();
    let by_window = |a: &&(f64, String), b: &&(f64, String)| a.0.total_cmp(&b.0);
    let below = measured.iter().filter(|(at, _)| *at <= window_us).max_by(by_window);
    let above = measured.iter().filter(|(at, _)| *at > window_us).min_by(by_window);
    let words: Vec<&str> =
        [below, above].into_iter().flatten().map(|(_, words)| words.as_str()).collect();
    format!("measured next to it: {}\n", words.join(", "))
}

/// Shares of less than a billionth are told as none.
const TINY_PERCENT: f64 = 1e-7;

/// A proportion in percent, with three digits that count.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < TINY_PERCENT {
        return "0 %".to_owned();
    }
    let digits = (2.0 - percent.abs().log10().floor()).clamp(0.0, 9.0);
    // The digits are a small whole number.
    let places = (0..10_usize).find(|n| f64::from(u8::try_from(*n).unwrap_or(0)) >= digits);
    format!("{percent:.*} %", places.unwrap_or(2))
}

fn range(interval: Interval) -> String {
    format!("{} to {}", percent(interval.low), percent(interval.high))
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::sweep;
    use super::*;

    #[test]
    fn percents_keep_three_digits() {
        for (share, words) in [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.5, "50.0 %"),
            (0.012_34, "1.23 %"),
            (1.5e-5, "0.00150 %"),
            (1e-12, "0 %"),
        ] {
            assert_eq!(percent(share), words);
        }
    }

    /// `sweep` with trouble in the first `lost` repetitions of each point.
    fn troubled(lost: usize) -> Sweep {
        let mut sweep = sweep();
        for point in &mut sweep.points {
            let mut repetitions = point.repetitions.clone();
            repetitions.iter_mut().take(lost).for_each(|r| r.trouble = Some("no mount".into()));
            *point = Point::of(point.asked, repetitions);
        }
        sweep.conclude(20.0);
        sweep
    }

    #[test]
    fn a_sweep_tells_points_fit_estimate_and_limits() {
        let text = sweep_text(&sweep());
        for words in [
            "mmap-rewrite/ext4/stable_writes=off on Linux 6.1.0 (tcg), 4 s a window in 4 repetitions",
            "9.50 % (6.94 % to 12.9 %)",
            "4, as 379 writes",
            "1 - exp(-rate * window)",
            "over-dispersion 1.0",
            "with a fetch 20 us after the doorbell: 1.98 % of such writes",
            "extrapolated",
            "measured next to it: 9.50 % at 100 us (6.94 % to 12.9 %)\n",
            "What this does not say",
        ] {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        assert!(!text.contains("misses"), "{text}");
        let mut between = sweep();
        between.conclude(500.0);
        let text = sweep_text(&between);
        assert!(text.contains("next to it: 9.50 % at 100 us (6.94 % to 12.9 %), 66.7 % at 1.1 ms"));
    }

    #[test]
    fn what_does_not_count_is_told() {
        let text = sweep_text(&troubled(1));
        assert!(text.contains("mmap-rewrite#00 does not count: no mount"), "{text}");
        assert!(text.contains("3, as "), "{text}");
        let text = sweep_text(&troubled(4));
        assert!(text.contains("does not count: no mount") && text.contains("nothing to fit"));
        assert!(fit_words(&sweep().fit.unwrap(), 1, 2).contains("misses the intervals of 1 of 2"));
    }
}
