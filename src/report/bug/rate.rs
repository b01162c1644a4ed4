//! How often it happened: from measured counters alone.

use super::case::Case;
use super::fold::paragraph;
use crate::record::Counters;
use crate::report::interval::{as_real, wilson};

/// Blocks and writes that raced, and what that is of a million writes.
pub(super) fn lines(case: &Case<'_>) -> String {
    let Some(summary) = case.session.labels.get(case.evidence.label()) else {
        return paragraph("Not on record: the race has no label that was counted by.");
    };
    let (Some(writes), Some(blocks)) =
        (summary.sum(|c| c.writes), summary.sum(|c| c.blocks_checked))
    else {
        return paragraph(
            "Not on record: the label has no end, so that nobody has counted its writes.",
        );
    };
    let races = summary.sum(|c| c.races.seen_by_hardware()).unwrap_or(0);
    let mut words = format!("{races} of {blocks} blocks raced.");
    if let Some(raced) = raced_writes(case, races).filter(|raced| writes > 0 && *raced <= writes) {
        words.push_str(&format!(" {raced} of {writes} writes had one: {}", million(raced, writes)));
    }
    if let Some(repeat) = case.cell.and_then(|cell| cell.repeat).filter(|repeat| repeat.n > 1) {
        words.push_str(&format!(" It raced in {} of {} runs.", repeat.k, repeat.n));
    }
    paragraph(&words)
}

/// How many writes raced: the daemon counted them, or every race has a record that names its write.
fn raced_writes(case: &Case<'_>, races: u64) -> Option<u64> {
    let summary = case.session.labels.get(case.evidence.label())?;
    let add = |sum: u64, counters: &Counters| Some(sum.saturating_add(counters.raced_writes?));
    let counted = summary.counters.iter().try_fold(0, add);
    counted.or_else(|| Some(case.evidence.raced_writes).filter(|_| case.evidence.listed >= races))
}

fn million(raced: u64, writes: u64) -> String {
    let interval = wilson(raced, writes);
    let of_million = |share: f64| format!("{:.0}", share * 1e6);
    format!(
        "{} per million writes ({} to {} at 95 %, Wilson, as if writes were independent of each other, which \
         those of one run are not quite).",
        of_million(as_real(raced) / as_real(writes)),
        of_million(interval.low),
        of_million(interval.high)
    )
}
