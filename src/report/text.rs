//! The verdict and the records of a session as text for people.

use comfy_table::{Cell as Slot, CellAlignment, Row, Table, presets};
use console::Style;

use crate::record::{Limit, Phase};
use crate::verdict::{Cell, CellOutcome, Expect, Group, OwnerGroup, Verdict};

use super::culprits::culprits_text;
use super::hexdiff::{Colour, hexdiff, longest_run};
use super::incidents::untold_lines;
use super::offenders::Offender;
use super::owners::{Fates, owner_words, owners_text};
use super::pages::page_words;
use super::plain::plain;
use super::provenance::{filtered_words, provenance_lines};
use super::session::{LabelSummary, Session, UNLABELLED};
use super::tame::tame;
use super::words::{
    boot_words, expected_words, healed_words, micros_words, millis_words, noted_words, seen_words,
    whole_micros_words,
};

/// The verdict: a table for each kernel, the reasons, and one line to end on.
pub fn verdict_text(verdict: &Verdict, colour: Colour) -> String {
    let verdict = &tame(verdict);
    let mut out = String::new();
    for Group { kernel, device, cells } in verdict.groups() {
        out.push_str(&format!(
            "Linux {kernel}, device {device}\n{}\n",
            cells_table(&cells).trim_end()
        ));
        for cell in cells {
            if let Some(words) = explained(cell) {
                out.push_str(&format!(
                    "{} {}: {words}\n",
                    painted(cell.outcome, colour),
                    cell.name()
                ));
            }
            for words in noted_words(cell) {
                out.push_str(&format!("{}: {words}\n", cell.name()));
            }
            let groups = cell.owner_groups.as_deref().unwrap_or(&[]);
            out.push_str(&owners_text(&cell.name(), groups, fates_of(cell, groups)));
            if let Some(culprits) = cell.culprits.as_ref().filter(|all| !all.is_empty()) {
                out.push_str(&culprits_text(&cell.name(), culprits));
            }
        }
        out.push('\n');
    }
    for (boot, words) in boot_words(verdict) {
        out.push_str(&format!("{boot}: {words}\n"));
    }
    for line in provenance_lines(verdict) {
        out.push_str(&format!("{line}\n"));
    }
    if let Some(words) = filtered_words(verdict) {
        out.push_str(&format!("{words}\n"));
    }
    out.push_str(&verdict_line(verdict, colour));
    out
}

/// What is to be said of a cell beyond its row: why it did not pass and what was expected of it, or
/// why nothing is. A cell that passed a judgement needs no words.
fn explained(cell: &Cell) -> Option<String> {
    match &cell.reason {
        Some(reason) => Some(format!("{reason} (expected: {})", expected_words(cell))),
        None if cell.expect == Expect::Survey => {
            Some(format!("expected: {}", expected_words(cell))).filter(|_| cell.why.is_some())
        }
        None => None,
    }
}

/// The groups of a cell have all of its races; the healings that they lack have no line.
fn fates_of(cell: &Cell, groups: &[OwnerGroup]) -> Fates {
    let told = groups.iter().map(|group| group.healed).sum();
    Fates::new(told, cell.healed.unwrap_or(0), cell.standing)
}

fn painted(outcome: CellOutcome, colour: Colour) -> String {
    let style = match outcome {
        CellOutcome::Pass => Style::new().green(),
        CellOutcome::Skip => Style::new().yellow(),
        CellOutcome::Fail | CellOutcome::Error => Style::new().red().bold(),
    };
    colour.paint(style, &outcome.to_string())
}

/// The verdict in one line, and before it why it is an error though no cell is.
pub fn verdict_line(verdict: &Verdict, colour: Colour) -> String {
    let counts: Vec<String> =
        [CellOutcome::Pass, CellOutcome::Fail, CellOutcome::Error, CellOutcome::Skip]
            .into_iter()
            .map(|outcome| format!("{} {outcome}", verdict.count(outcome)))
            .collect();
    let word = colour.paint(Style::new().bold(), &verdict.verdict.to_string());
    let reason = verdict.reason.as_ref().map_or_else(String::new, |reason| {
        format!("{}: {}\n", painted(CellOutcome::Error, colour), plain(reason))
    });
    format!(
        "{reason}verdict: {word} ({}), exit status {}, {:.0} s\n",
        counts.join(", "),
        verdict.exit_status,
        verdict.seconds
    )
}

const HEADINGS: [&str; 10] = [
    "scenario",
    "fs",
    "stable_writes",
    "expected",
    "seen",
    "first catch",
    "window",
    "guard-blind",
    "healed/standing",
    "outcome",
];

fn cells_table(cells: &[&Cell]) -> String {
    let mut table = plain_table(&HEADINGS);
    for cell in cells {
        table.add_row(cell_row(cell));
    }
    table.trim_fmt()
}

fn cell_row(cell: &Cell) -> Row {
    let window = cell
        .window_us
        .map_or_else(dash, |w| format!("{}, max {}", micros_words(w.median), micros_words(w.max)));
    let healed = healed_words(cell.healed, cell.standing);
    let control = if cell.control { " (control)" } else { "" };
    Row::from(vec![
        Slot::new(&cell.scenario),
        Slot::new(&cell.fs),
        Slot::new(cell.stable_writes.map_or_else(dash, |s| s.to_string())),
        Slot::new(cell.expect),
        Slot::new(seen_words(cell)),
        Slot::new(millis_words(cell.first_catch_ms)).set_alignment(CellAlignment::Right),
        Slot::new(window),
        Slot::new(count_or_dash(cell.guard_blind)).set_alignment(CellAlignment::Right),
        Slot::new(healed).set_alignment(CellAlignment::Right),
        Slot::new(format!("{}{control}", cell.outcome)),
    ])
}

fn dash() -> String {
    "-".to_owned()
}

fn count_or_dash(count: Option<u64>) -> String {
    count.map_or_else(dash, |count| count.to_string())
}

fn plain_table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.to_vec());
    table
}

/// What a records file holds: figures by label, then the worst blocks with their bytes.
pub fn session_text(session: &Session, top: usize, colour: Colour) -> String {
    let mut out = String::new();
    if let Some(start) = &session.start {
        out.push_str(&format!(
            "dixtrapd {}, device {}, disk {}, {}-byte blocks, window {}{}\n",
            plain(&start.version),
            plain(&start.device),
            plain(&start.disk),
            start.block_size,
            start.window,
            session.incidents.window_words()
        ));
    }
    if session.truncated {
        out.push_str("the last line is cut off: the daemon was killed while it wrote\n");
    } else if session.stop.is_none() {
        out.push_str("the records have no end: the daemon still runs, or was killed\n");
    }
    if let Some(Limit { limit, .. }) = session.limit {
        out.push_str(&format!(
            "the file reached its limit ({limit}), or a label its sixteenth of it: blocks, bytes and owners are those of the races that \
             it lists\n"
        ));
    }
    out.push_str(&filtered_line(session));
    out.push_str(&format!("{}\n", labels_table(session).trim_end()));
    for (label, summary) in &session.labels {
        let (healed, standing) = summary.healed_and_standing();
        let fates = Fates::new(summary.healed, healed, standing);
        out.push_str(&owners_text(&of_those_listed(label, summary), &summary.owners, fates));
        out.push_str(&session.pages.text(label));
        out.push_str(&session.culprits.text(label));
    }
    // What the daemon counted is of all races.
    let all = session.filter.is_empty();
    out.push_str(&session.incidents.lines(|figure| if all { session.counted(figure) } else { 0 }));
    if !all {
        out.push_str(&untold_lines(|figure| session.counted(figure)));
    }
    out.push_str(&offenders_text(&session.offenders.worst(top, |_| true), colour));
    if session.offenders.beyond() > 0 {
        out.push_str(&format!(
            "{} races of further blocks are not ranked\n",
            session.offenders.beyond()
        ));
    }
    out
}

/// What was asked for, where not everything was.
fn filtered_line(session: &Session) -> String {
    if session.filter.is_empty() {
        return String::new();
    }
    let shown = session.offenders.races().saturating_add(session.incidents.looks());
    let of_all = if session.filter.is_of_labels_alone() {
        ""
    } else {
        "; writes and blocks checked are those of whole labels"
    };
    let words = plain(&session.filter.words());
    format!("only {words}: {shown} of the {} races on record{of_all}\n", session.listed)
}

/// The races of a label; where its own count is not there yet, and the file has reached its limit, those
/// that it lists are not all.
fn races_words(session: &Session, summary: &LabelSummary) -> String {
    let least = session.limit.is_some() && (summary.counters.is_empty() || summary.in_part);
    format!("{}{}", if least { "at least " } else { "" }, summary.known_races())
}

/// A label, with how many of its races have records, where not all have.
fn of_those_listed(label: &str, summary: &LabelSummary) -> String {
    match summary.known_races() {
        all if all > summary.races => format!("{label} ({} of {all} races)", summary.races),
        _ => label.to_owned(),
    }
}

const LABEL_HEADINGS: [&str; 7] =
    ["label", "writes", "blocks checked", "races", "first catch", "guard-blind", "healed/standing"];

fn labels_table(session: &Session) -> String {
    let mut table = plain_table(&LABEL_HEADINGS);
    for (label, summary) in &session.labels {
        let (healed, standing) = summary.healed_and_standing();
        table.add_row(vec![
            plain(label),
            count_or_dash(summary.sum(|c| c.writes)),
            count_or_dash(summary.sum(|c| c.blocks_checked)),
            races_words(session, summary),
            summary.first_catch_us.map_or_else(dash, whole_micros_words),
            count_or_dash(summary.sum(|c| c.guard_blind)),
            healed_words(Some(healed), standing),
        ]);
    }
    if let Some(stop) = session.stop.as_ref().filter(|_| session.filter.is_empty()) {
        let all = &stop.counters;
        table.add_row(vec![
            "(all)".to_owned(),
            all.writes.to_string(),
            all.blocks_checked.to_string(),
            all.races.seen_by_hardware().to_string(),
            dash(),
            all.guard_blind.to_string(),
            format!("{}/{}", all.healed, all.standing),
        ]);
    }
    table.trim_fmt()
}

/// The worst blocks, each with its facts and its bytes before and after.
pub fn offenders_text(worst: &[Offender], colour: Colour) -> String {
    let mut out = String::new();
    for offender in worst {
        out.push_str(&format!("\n{}", offender_facts(offender)));
        for line in hexdiff(&offender.worst.changed, offender.worst.changed_bytes, colour) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

/// What is known of a block that raced, its bytes apart, in lines.
pub(super) fn offender_facts(offender: &Offender) -> String {
    let race = &offender.worst;
    let label = plain(race.label.as_deref().unwrap_or(UNLABELLED));
    let many =
        |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let bytes = u64::try_from(race.changed_bytes).unwrap_or(u64::MAX);
    let phase = match race.phase {
        Phase::BeforeDoorbell => "before the doorbell",
        Phase::InWindow => "between doorbell and fetch",
        Phase::AfterFetch => "after the fetch",
        Phase::AfterDelivery => "after the delivery",
    };
    let (first, second) = (race.doorbell_guard.unwrap_or(0), race.fetch_guard.unwrap_or(0));
    let guards = if race.guard_blind {
        format!("guard {first:04x} at both: a guard alone sees nothing")
    } else {
        format!("guard {first:04x} at the doorbell, {second:04x} at the fetch")
    };
    let healed = offender.healed_after_us.map_or_else(String::new, |us| {
        format!("; covered by a later write {} on", whole_micros_words(us))
    });
    let longest = longest_run(&race.changed, race.changed_bytes);
    let (blocks, of_block) = match (offender.first.0, offender.last.0) {
        (first, last) if first == last => (format!("block {first}"), String::new()),
        (first, last) => (format!("blocks {first}–{last}"), format!(" (block {})", race.lba)),
    };
    let owner = race.owner.as_ref().map_or_else(String::new, |o| format!(" ({})", owner_words(o)));
    let page = race.page.as_ref().map_or_else(String::new, |p| format!("  {}\n", page_words(p)));
    format!(
        "{label}: {blocks}{owner}, {}\n  race {}{of_block}: {} changed {phase} ({}), {longest}\n  {guards}{healed}\n{page}",
        many(offender.races, "race"),
        race.id.0,
        many(bytes, "byte"),
        micros_words(Some(race.window_us)),
    )
}
