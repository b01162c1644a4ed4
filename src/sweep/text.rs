//! A sweep as text.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::micros_words;

use super::fit::Fit;
use super::interval::Interval;
use super::result::{Estimate, Point, Sweep};

/// Beyond this the points do not lie on the curve by chance.
const FAR_OFF: f64 = 3.0;

/// The points, the fit, the estimate, and what they do not say.
pub fn sweep_text(sweep: &Sweep) -> String {
    let mut out = format!(
        "{} on Linux {} ({}), {} s a window\n{}\n",
        sweep.cell,
        sweep.kernel,
        sweep.accel,
        sweep.seconds,
        table(&sweep.points)
    );
    for point in &sweep.points {
        if let Some(trouble) = &point.trouble {
            out.push_str(&format!("window {} does not count: {trouble}\n", point.asked));
        }
    }
    match (&sweep.fit, &sweep.estimate) {
        (Some(fit), Some(estimate)) => {
            out.push_str(&fit_words(fit));
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
longer. Intervals take writes for independent, but for the over-dispersion of the points.
";

fn table(points: &[Point]) -> String {
    let mut table = Table::new();
    let headings = [
        "window",
        "measured",
        "writes",
        "raced",
        "chance of a race per write (95 %)",
        "blocks raced",
    ];
    table.load_style(presets::NOTHING).set_header(headings);
    for point in points {
        let measured =
            format!("{}, max {}", micros_words(point.median_us), micros_words(point.max_us));
        let chance = point.chance().map_or_else(
            || "-".to_owned(),
            |(share, interval)| format!("{} ({})", percent(share), range(interval)),
        );
        table.add_row([
            point.asked.to_string(),
            measured,
            point.writes.to_string(),
            point.raced_writes.to_string(),
            chance,
            format!("{} of {}", point.races, point.blocks_checked),
        ]);
    }
    for column in [2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn fit_words(fit: &Fit) -> String {
    let per_ms = |rate: f64| format!("{:.3}", rate * 1_000.0);
    let rate = fit.rate.map_or_else(|| "unknown".to_owned(), per_ms);
    let high = fit.high.map_or_else(|| "no end".to_owned(), per_ms);
    let mut words = format!(
        "fit: chance = 1 - exp(-rate * window), maximum likelihood; rate {rate} a millisecond \
         (95 %, profile likelihood: {} to {high})\n",
        per_ms(fit.low)
    );
    match fit.dispersion {
        Some(dispersion) if dispersion > FAR_OFF => words.push_str(&format!(
            "the points lie off this curve, over-dispersion {dispersion:.0}: the interval is widened \
             by it, and the measured windows are a better guide than the curve\n"
        )),
        Some(dispersion) => words.push_str(&format!("over-dispersion {dispersion:.1}\n")),
        None => words.push_str("one point alone cannot tell whether the curve fits\n"),
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
        .filter(|point| point.trouble.is_none())
        .filter_map(|point| {
            let (at, (share, interval)) = (point.median_us?, point.chance()?);
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

    #[test]
    fn a_sweep_tells_points_fit_estimate_and_limits() {
        let text = sweep_text(&sweep());
        for words in [
            "mmap-rewrite/ext4/stable_writes=off on Linux 6.1.0 (tcg), 5 s a window",
            "9.50 % (7.83 % to 11.5 %)",
            "1 - exp(-rate * window)",
            "with a fetch 20 us after the doorbell: 1.98 % of such writes",
            "extrapolated",
            "measured next to it: 9.50 % at 100 us (7.83 % to 11.5 %)\n",
            "What this does not say",
        ] {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        let mut between = sweep();
        between.conclude(500.0);
        let text = sweep_text(&between);
        assert!(text.contains("next to it: 9.50 % at 100 us (7.83 % to 11.5 %), 66.7 % at 1.1 ms"));
        let mut lost = sweep();
        lost.points.iter_mut().for_each(|point| point.trouble = Some("no mount".into()));
        lost.conclude(20.0);
        let text = sweep_text(&lost);
        assert!(text.contains("does not count: no mount") && text.contains("nothing to fit"));
    }
}
