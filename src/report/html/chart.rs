//! Pictures of a label's races, as SVG: each says in words what it shows.

use maud::{Markup, html};

use crate::record::OwnerKind;
use crate::report::picture::{Histogram, PLACES, Picture, TIMES, WINDOWS};
use crate::report::plain::plain;
use crate::report::words::micros_words;

/// The size of a picture of bars.
const WIDE: f64 = 480.0;
const HIGH: f64 = 120.0;
/// Room for the words below.
const FOOT: f64 = 18.0;
/// The height of a lane of the map.
const LANE: f64 = 22.0;
/// How many letters of a name stand on a lane.
const NAME: usize = 60;

/// The three pictures of a label.
pub fn pictures(label: &str, picture: &Picture, setup: Option<u64>) -> Markup {
    html! {
        div.figures {
            (times(label, &picture.times, setup))
            (windows(label, &picture.windows))
            (map(label, picture))
        }
    }
}

fn times(label: &str, times: &Histogram<TIMES>, setup: Option<u64>) -> Markup {
    let used = times.used().max(1);
    let bars: Vec<(u64, String)> = times
        .counts
        .iter()
        .take(used)
        .zip(0_u64..)
        .map(|(count, step)| {
            let from = step.saturating_mul(times.width);
            (*count, format!("{count} from {}", time(from)))
        })
        .collect();
    let end = u64::try_from(used).unwrap_or(u64::MAX).saturating_mul(times.width);
    let setup = match setup {
        Some(races) => {
            format!(" Before it, while the disk was set up, {races} raced; they do not count.")
        }
        None => String::new(),
    };
    let words = format!(
        "Races over time, from the first write of the scenario on, in steps of {}: at most {} in one.{setup}",
        time(times.width),
        times.most()
    );
    figure(label, &words, &bars, ("0".to_owned(), time(end)))
}

fn windows(label: &str, windows: &[u64; WINDOWS]) -> Markup {
    let first = windows.iter().position(|count| *count > 0).unwrap_or(0);
    let last = windows.iter().rposition(|count| *count > 0).unwrap_or(0);
    let from =
        |step: usize| 1_u64.checked_shl(u32::try_from(step).unwrap_or(63)).unwrap_or(u64::MAX);
    let bars: Vec<(u64, String)> = windows
        .iter()
        .zip(0_usize..)
        .skip(first)
        .take(last.saturating_sub(first).saturating_add(1))
        .map(|(count, step)| (*count, format!("{count} from {} on", time(from(step)))))
        .collect();
    let ends = (time(from(first)), time(from(last.saturating_add(1))));
    let words = "The windows of these races as measured, doorbell to fetch, each step twice as long as the one before.";
    figure(label, words, &bars, ends)
}

fn figure(
    label: &str,
    words: &str,
    bars: &[(u64, String)],
    (begin, end): (String, String),
) -> Markup {
    let most = bars.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let width = WIDE / real(u64::try_from(bars.len()).unwrap_or(1).max(1));
    let name = format!("{}: {words}", plain(label));
    html! {
        figure {
            figcaption { (words) }
            svg role="img" aria-label=(name) viewBox=(format!("0 0 {WIDE} {}", HIGH + FOOT)) {
                line.axis x1="0" y1=(HIGH) x2=(WIDE) y2=(HIGH) {}
                @for (at, (count, title)) in bars.iter().enumerate().filter(|(_, (count, _))| *count > 0) {
                    @let high = (real(*count) / real(most.max(1)) * (HIGH - 14.0)).max(1.5);
                    @let left = width * real(u64::try_from(at).unwrap_or(0));
                    rect.bar x=(short(left)) y=(short(HIGH - high)) width=(short((width - 0.6).max(0.6))) height=(short(high)) {
                        title { (title) }
                    }
                }
                text x="0" y=(HIGH + 13.0) { (begin) }
                text x=(WIDE) y=(HIGH + 13.0) text-anchor="end" { (end) }
                text x=(WIDE) y="10" text-anchor="end" { "most: " (most) }
            }
        }
    }
}

/// Microseconds in words.
fn time(micros: u64) -> String {
    micros_words(Some(real(micros)))
}

/// Where on the disk it raced: a lane for each owner.
fn map(label: &str, picture: &Picture) -> Markup {
    let (width, lanes) = picture.lanes();
    let used = lanes.iter().map(|(_, _, lane)| lane.used()).max().unwrap_or(0).clamp(1, PLACES);
    let step = WIDE / real(u64::try_from(used).unwrap_or(1));
    let high = LANE * real(u64::try_from(lanes.len()).unwrap_or(1));
    let last = u64::try_from(used).unwrap_or(0).saturating_mul(width).saturating_sub(1);
    let words =
        format!("Where on the disk it raced, {width} blocks a step, a lane for each owner.");
    let each: Vec<String> = lanes
        .iter()
        .map(|(name, _, lane)| {
            format!("{} {}", plain(name), lane.counts.iter().copied().fold(0, u64::saturating_add))
        })
        .collect();
    let name = format!("{}: {words} {}", plain(label), each.join(", "));
    html! {
        figure {
            figcaption { (words) }
            svg role="img" aria-label=(name) viewBox=(format!("0 0 {WIDE} {}", high + FOOT)) {
                @for (at, (name, kind, lane)) in lanes.iter().enumerate() {
                    @let top = LANE * real(u64::try_from(at).unwrap_or(0));
                    text x="2" y=(top + 9.0) { (shortened(name)) " (" (kind) ")" }
                    line.axis x1="0" y1=(top + LANE - 1.0) x2=(WIDE) y2=(top + LANE - 1.0) {}
                    @for (place, count) in lane.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                        @let left = step * real(u64::try_from(place).unwrap_or(0));
                        rect class=(class_of(*kind)) x=(short(left)) y=(top + 11.0) width=(short(step.max(1.5))) height=(LANE - 12.0)
                            fill-opacity=(short(0.35 + 0.65 * real(*count) / real(lane.most().max(1)))) {
                            title { (count) " from block " (u64::try_from(place).unwrap_or(0).saturating_mul(width)) }
                        }
                    }
                }
                text x="0" y=(high + 13.0) { "block 0" }
                text x=(WIDE) y=(high + 13.0) text-anchor="end" { "block " (last) }
            }
        }
    }
}

fn class_of(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::Data => "data",
        OwnerKind::Journal => "journal",
        OwnerKind::Metadata => "metadata",
        OwnerKind::Unknown => "unknown",
    }
}

/// The beginning of a text that has to fit.
pub fn shortened(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= NAME {
        return text;
    }
    text.chars().take(NAME).chain(['…']).collect()
}

/// A number in a picture.
pub fn short(number: f64) -> String {
    format!("{number:.1}")
}

/// A count as a number to draw by.
pub fn real(count: u64) -> f64 {
    crate::report::interval::as_real(count)
}
