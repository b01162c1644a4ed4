//! The table of cells.

use maud::{Markup, html};

use crate::report::words::{healed_words, micros_words, millis_words, noted_words, seen_words};
use crate::verdict::{Cell, Group};

use super::matrix::Choices;

const COLUMNS: [&str; 13] = [
    "scenario",
    "file system",
    "stable writes",
    "expected",
    "seen",
    "first catch",
    "window: median",
    "window: max",
    "healed / standing",
    "outcome",
    "reason",
    "why this was expected",
    "noted",
];

/// The cells of one kernel and device, a row each.
pub fn table(group: &Group<'_>, choices: &Choices) -> Markup {
    html! {
        h3 { "Linux " (group.kernel) ", device " (group.device) }
        div.scroll tabindex="0" role="region" aria-label=(format!("cells of {}, device {}", group.kernel, group.device)) {
            table {
                thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
                tbody { @for cell in &group.cells { (row(cell, choices)) } }
            }
        }
    }
}

fn row(cell: &Cell, choices: &Choices) -> Markup {
    let stable_writes = cell.stable_writes.map_or("-".to_owned(), |setting| setting.to_string());
    let races = healed_words(cell.healed, cell.standing).replace('/', " / ");
    let window = cell.window_us.as_ref();
    html! {
        tr class=(choices.classes(cell)) {
            td { (cell.scenario) }
            td { (cell.fs) }
            td { (stable_writes) }
            td { (cell.expect) }
            td { (seen_words(cell)) }
            td.n { (millis_words(cell.first_catch_ms)) }
            td.n { (micros_words(window.and_then(|window| window.median))) }
            td.n { (micros_words(window.and_then(|window| window.max))) }
            td.n { (races) }
            td class=(cell.outcome) { (cell.outcome) @if cell.control { " (control)" } }
            td { (cell.reason.as_deref().unwrap_or("")) }
            td { (cell.why.as_deref().unwrap_or("")) }
            td { (noted_words(cell).join("; ")) }
        }
    }
}

#[cfg(test)]
pub mod read {
    use crate::report::format::ToldCell;
    use crate::verdict::{CellOutcome, StableWrites, cell_name};

    /// What this format tells of each cell.
    pub fn cells(page: &str) -> Vec<ToldCell> {
        let unescape = |t: &str| t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        // The rows of other tables, and the heads of this one, have no class.
        page.split("<tr class=")
            .skip(1)
            .map(|row| {
                let columns: Vec<String> = row
                    .split("<td")
                    .skip(1)
                    .take(13)
                    .map(|column| {
                        unescape(column.split_once('>').unwrap().1.split("</td>").next().unwrap())
                    })
                    .collect();
                let stable_writes = match columns[2].as_str() {
                    "-" => None,
                    setting => {
                        Some(if setting == "on" { StableWrites::On } else { StableWrites::Off })
                    }
                };
                let name = cell_name(&columns[0], &columns[1], stable_writes);
                let outcome =
                    [CellOutcome::Pass, CellOutcome::Fail, CellOutcome::Error, CellOutcome::Skip]
                        .into_iter()
                        .find(|outcome| columns[9].starts_with(&outcome.to_string()))
                        .unwrap();
                ToldCell { name, outcome, words: columns.join(" ") }
            })
            .collect()
    }
}
