//! What is known of one cell: pictures, owners, culprits, bytes, the mail about it, logs and the command line.

use maud::{Markup, html};

use crate::owner::fields::{Touched, touched};
use crate::report::bug::{Case, bug_text};
use crate::report::hexdiff::{Colour, hexdiff};
use crate::report::offenders::Offender;
use crate::report::owners::{Fates, owner_words, owners_text};
use crate::report::plain::plain;
use crate::report::story::BootStory;
use crate::report::text::offender_facts;
use crate::report::words::{expected_words, noted_words, seen_words};
use crate::verdict::{Cell, CellOutcome, CulpritGroup, Verdict};

use super::chart;
use super::flame;
use super::matrix::Choices;

/// How many repetitions have pictures, how many blocks their bytes, and how many culprits their callers.
const LABELS: usize = 4;
const BLOCKS: usize = 3;
const CULPRITS: usize = 12;
/// How many fields of a block.
const FIELDS: usize = 16;
/// How many callers of one.
const FRAMES: usize = 64;

/// A cell's own part of the page; what it takes from the records only where there is room.
pub fn detail(
    number: usize,
    cell: &Cell,
    verdict: &Verdict,
    boot: Option<&BootStory>,
    choices: &Choices,
) -> Markup {
    let open = matches!(cell.outcome, CellOutcome::Fail | CellOutcome::Error);
    html! {
        details.cell class=(choices.classes(cell)) open[open] {
            summary {
                strong { (cell.name()) } ", Linux " (cell.kernel) ", " (cell.device) ": "
                span class=(cell.outcome) { (cell.outcome) @if cell.control { " (control)" } } ", " (seen_words(cell))
            }
            // A link to what is inside opens it.
            div id=(format!("cell-{number}")) {
                p { "Expected: " (expected_words(cell)) "." @if let Some(reason) = &cell.reason { " " strong { (reason) } } }
                @for note in noted_words(cell) { p.soft { (note) } }
                (owners(cell))
                (culprits(&cell.name(), cell.culprits.as_deref().unwrap_or(&[])))
                @match boot {
                    Some(boot) => { (records(cell, verdict, boot)) }
                    None => { p.soft { "The records of this cell are not at hand: pictures and bytes need the folder of the run (--out)." } }
                }
            }
        }
    }
}

fn owners(cell: &Cell) -> Markup {
    let groups = cell.owner_groups.as_deref().unwrap_or(&[]);
    let told = groups.iter().map(|group| group.healed).fold(0, u64::saturating_add);
    let text = owners_text("", groups, Fates::new(told, cell.healed.unwrap_or(0), cell.standing));
    html! {
        @if !groups.is_empty() {
            h3 { "Whose blocks raced" }
            ul { @for line in text.lines().skip(1) { li { (line.trim()) } } }
        }
    }
}

fn culprits(name: &str, groups: &[CulpritGroup]) -> Markup {
    html! {
        @if !groups.is_empty() {
            h3 { "Who changed the bytes" }
            (flame::graph(name, groups))
            @for group in groups.iter().take(CULPRITS) {
                @if group.stack.is_empty() {
                    p { (group.races) " by " (plain(&group.symbol)) }
                } @else {
                    details {
                        summary { (group.races) " by " (plain(&group.symbol)) }
                        pre.wrap { @for frame in group.stack.iter().take(FRAMES) { (plain(frame)) "\n" } }
                    }
                }
            }
            @if groups.len() > CULPRITS { p.soft { "and " (groups.len() - CULPRITS) " further stores and ways to them" } }
        }
    }
}

fn records(cell: &Cell, verdict: &Verdict, boot: &BootStory) -> Markup {
    let labels: Vec<&str> = boot.labels_of(cell).collect();
    let log = cell.log.as_deref().and_then(|log| log.rsplit('/').next());
    html! {
        @for label in labels.iter().take(LABELS) { (of_label(label, labels.len() > 1, cell, verdict, boot)) }
        @if labels.len() > LABELS { p.soft { "and " (labels.len() - LABELS) " further repetitions" } }
        @if let Some(log) = log { (lines("The end of what the script printed", &boot.end_of(log))) }
    }
}

/// What belongs to a boot and to none of its cells.
pub fn of_boot(boot: &BootStory) -> Markup {
    let name =
        boot.directory.file_name().map(|name| plain(&name.to_string_lossy())).unwrap_or_default();
    html! {
        h3 { (name) }
        (lines("The end of the guest's console", &boot.end_of("console.log")))
        (lines("QEMU's command line", &boot.command))
    }
}

fn lines(title: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            details { summary { (title) } pre.wrap { @for line in lines { (plain(line)) "\n" } } }
        }
    }
}

fn of_label(
    label: &str,
    several: bool,
    cell: &Cell,
    verdict: &Verdict,
    boot: &BootStory,
) -> Markup {
    let session = &boot.session;
    let setup = session.labels.get(&format!("{label}/setup")).map(|setup| setup.known_races());
    let picture = session.pictures.as_ref().and_then(|all| all.get(label));
    let worst = session.offenders.worst(BLOCKS, |of| of == Some(label));
    let pages = session.pages.text(label);
    html! {
        @if several { h3 { (plain(label)) } }
        @if let Some(picture) = picture { (chart::pictures(label, picture, setup)) }
        @if !pages.is_empty() {
            h3 { "Their pages" }
            ul { @for line in pages.lines().skip(1) { li { (line.trim()) } } }
        }
        @if !worst.is_empty() {
            h3 { "Bytes before and after, of the worst blocks" }
            @for block in &worst { (bytes(block)) }
        }
        @if let Some(evidence) = boot.evidence.get(label) {
            details {
                summary { "The mail about it, to copy" }
                @let case = Case { session, evidence, verdict: Some(verdict), cell: Some(cell), scenario: None, checked: &[] };
                pre.copy { (bug_text(&case)) }
            }
        }
    }
}

fn field(field: &Touched) -> String {
    let values =
        field.values.as_ref().map_or_else(String::new, |(old, new)| format!(" {old} → {new}"));
    plain(&format!("{}: {}{values}", field.whose, field.name))
}

fn bytes(block: &Offender) -> Markup {
    let race = &block.worst;
    let name = format!(
        "bytes of block {}{}, before and after",
        race.lba,
        race.owner.as_ref().map_or_else(String::new, |owner| format!(" ({})", owner_words(owner)))
    );
    let fields: Vec<String> = touched(race).iter().take(FIELDS).map(field).collect();
    html! {
        p { (offender_facts(block).lines().map(str::trim).collect::<Vec<_>>().join("; ")) }
        @if !fields.is_empty() { p { (fields.join("; ")) } }
        pre tabindex="0" aria-label=(name) {
            @for line in hexdiff(&race.changed, race.changed_bytes, Colour::Never) {
                @match line.get(8..9) {
                    Some("+") => { span.new { (line) } }
                    Some("-") => { span.old { (line) } }
                    _ => { (line) }
                }
                "\n"
            }
        }
    }
}
