//! The verdict as one HTML page that needs nothing else, no network and no script: what it came to, a matrix, a
//! table of all cells, and for each cell what the records beside the verdict tell.

mod cells;
mod chart;
mod detail;
mod flame;
mod matrix;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::verdict::Verdict;

use super::format::Format;
use super::provenance::{filtered_words, provenance_rows};
use super::story::{BootStory, boot_of};
use super::tame::tame;
use super::words::boot_words;

use matrix::Choices;

/// Colours that stay readable on paper and without colour: the words say the same.
const STYLE: &str = include_str!("style.css");
/// How many boots are told.
const MOST_BOOTS: usize = 40;
/// How large the parts of the cells may become together.
const MOST_BYTES: usize = 3_500_000;

/// An HTML page.
pub const FORMAT: Format = Format {
    flag: "html",
    name: "an HTML page",
    make: |verdict| Ok(verdict_html(verdict, &[])),
    with_records: Some(|verdict, boots| Ok(verdict_html(verdict, boots))),
    #[cfg(test)]
    read: cells::read::cells,
};

/// The verdict as an HTML page, with what the records of these boots tell.
pub(super) fn verdict_html(verdict: &Verdict, boots: &[BootStory]) -> String {
    let verdict = &tame(verdict);
    let choices = Choices::of(verdict);
    let groups = verdict.groups();
    let mut number = 0_usize;
    let firsts: Vec<usize> = groups
        .iter()
        .map(|group| {
            let first = number;
            number = number.saturating_add(group.cells.len());
            first
        })
        .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "dixtrap: " (verdict.verdict) }
                style { (PreEscaped(STYLE)) (PreEscaped(choices.style())) }
            }
            body {
                a.skipto href="#cells" { "to the cells" }
                main {
                    (head(verdict))
                    h2 { "At a glance" }
                    (choices.filters())
                    @for (group, first) in groups.iter().zip(&firsts) { (matrix::matrix(group, *first, &choices)) }
                    h2 id="cells" { "Every cell" }
                    (details(verdict, boots, &choices))
                    @if !boots.is_empty() {
                        h2 { "Every boot" }
                        @for boot in boots.iter().take(MOST_BOOTS) { (detail::of_boot(boot)) }
                        @if boots.len() > MOST_BOOTS { p.soft { "and " (boots.len() - MOST_BOOTS) " further boots" } }
                    }
                    h2 { "All figures" }
                    @for group in &groups { (cells::table(group, &choices)) }
                    (provenance(verdict))
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn head(verdict: &Verdict) -> Markup {
    let count = |outcome| verdict.count(outcome);
    use crate::verdict::CellOutcome::{Error, Fail, Pass, Skip};
    let class = match verdict.exit_status {
        0 => "pass",
        1 => "fail",
        _ => "error",
    };
    html! {
        h1 { "dixtrap: " span class=(class) { (verdict.verdict) } }
        @if let Some(reason) = &verdict.reason { p.error { (reason) } }
        @if let Some(words) = filtered_words(verdict) { p.error { (words) } }
        p {
            (count(Pass)) " pass, " (count(Fail)) " fail, " (count(Error)) " error, " (count(Skip)) " skip; exit status "
            (verdict.exit_status) ", " (format!("{:.0}", verdict.seconds)) " s, begun " (verdict.started.to_rfc3339())
            ", dixtrap " (verdict.version)
        }
    }
}

/// Each cell's own part, in the order of the matrix; without its records once the page would grow too large.
fn details(verdict: &Verdict, boots: &[BootStory], choices: &Choices) -> Markup {
    let mut all = String::new();
    let mut short = 0_usize;
    let cells = verdict.groups().into_iter().flat_map(|group| group.cells);
    for (number, cell) in cells.enumerate() {
        let boot = boot_of(boots, cell).filter(|_| all.len() < MOST_BYTES);
        short += usize::from(boot.is_none() && all.len() >= MOST_BYTES);
        if all.len() < 2 * MOST_BYTES {
            all.push_str(&detail::detail(number, cell, verdict, boot, choices).into_string());
        }
    }
    html! {
        (PreEscaped(all))
        @if short > 0 { p { "Of " (short) " further cells there is no room for the records: 'dixtrap report DIR --label CELL --html F' makes a page of them." } }
    }
}

/// Where the verdict comes from, in a part that is not open at first.
fn provenance(verdict: &Verdict) -> Markup {
    let rows: Vec<_> = provenance_rows(verdict).into_iter().chain(boot_words(verdict)).collect();
    html! {
        @if !rows.is_empty() {
            details { summary { "where this comes from" } dl { @for (name, value) in &rows { dt { (name) } dd { (value) } } } }
        }
    }
}

#[cfg(test)]
mod tests;
