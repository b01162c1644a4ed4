//! The matrix: kernels, file systems and scenarios at a glance, in words and colours; and the filters, which need
//! no script.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, html};

use crate::verdict::{Cell, CellOutcome, Group, Verdict};

/// The most values of one kind that have a filter of their own.
const MOST: usize = 40;

const OUTCOMES: [CellOutcome; 4] =
    [CellOutcome::Pass, CellOutcome::Fail, CellOutcome::Error, CellOutcome::Skip];

/// The values that cells are chosen by: their place in a list is their class.
pub struct Choices {
    kernels: Vec<String>,
    systems: Vec<String>,
    scenarios: Vec<String>,
}

impl Choices {
    /// Those of a verdict.
    pub fn of(verdict: &Verdict) -> Choices {
        let all = |value: fn(&Cell) -> &String| {
            let values: BTreeSet<&String> = verdict.cells.iter().map(value).collect();
            values.into_iter().cloned().collect()
        };
        Choices {
            kernels: all(|cell| &cell.kernel),
            systems: all(|cell| &cell.fs),
            scenarios: all(|cell| &cell.scenario),
        }
    }

    /// The classes by which a cell can be chosen.
    pub fn classes(&self, cell: &Cell) -> String {
        let at = |all: &[String], value: &String| all.binary_search(value).unwrap_or(MOST);
        format!(
            "o-{} k{} f{} s{}",
            cell.outcome,
            at(&self.kernels, &cell.kernel),
            at(&self.systems, &cell.fs),
            at(&self.scenarios, &cell.scenario)
        )
    }

    /// The kinds of filters, with the classes that they choose by.
    fn kinds(&self) -> [(&'static str, Vec<(String, String)>); 4] {
        let numbered = |letter: char, values: &[String]| {
            let few = values.len() > 1 && values.len() <= MOST;
            let class = |(at, value): (usize, &String)| (format!("{letter}{at}"), value.clone());
            if few { values.iter().enumerate().map(class).collect() } else { Vec::new() }
        };
        let outcomes = OUTCOMES.map(|outcome| (format!("o-{outcome}"), outcome.to_string()));
        [
            ("outcome", outcomes.to_vec()),
            ("kernel", numbered('k', &self.kernels)),
            ("file system", numbered('f', &self.systems)),
            ("scenario", numbered('s', &self.scenarios)),
        ]
    }

    /// What hides a cell whose box is not ticked.
    pub fn style(&self) -> String {
        let mut out = String::new();
        for (class, _) in self.kinds().into_iter().flat_map(|(_, boxes)| boxes) {
            // A String takes every write.
            let _ = write!(out, "body:has(#c-{class}:not(:checked)) .{class}{{display:none}}");
        }
        out
    }

    /// The boxes.
    pub fn filters(&self) -> Markup {
        html! {
            section.filters aria-label="Filters" {
                @for (kind, boxes) in self.kinds() {
                    @if !boxes.is_empty() {
                        fieldset {
                            legend { (kind) }
                            @for (class, value) in boxes {
                                label { input type="checkbox" id=(format!("c-{class}")) checked; " " (value) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The matrix of one kernel and device; `number` is that of its first cell among all.
pub fn matrix(group: &Group<'_>, number: usize, choices: &Choices) -> Markup {
    let systems: BTreeSet<&str> = group.cells.iter().map(|cell| cell.fs.as_str()).collect();
    let rows: BTreeSet<_> = group.cells.iter().map(|cell| row_of(cell)).collect();
    let cell_at = |row: &Row, fs: &str| {
        let here = |(_, cell): &(usize, &&Cell)| cell.fs == fs && row_of(cell) == *row;
        group
            .cells
            .iter()
            .enumerate()
            .find(here)
            .map(|(at, cell)| (number.saturating_add(at), *cell))
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("matrix of {}, device {}", group.kernel, group.device)) {
            table.matrix {
                caption { "Linux " (group.kernel) ", device " (group.device) }
                thead { tr { th scope="col" { "scenario" } @for fs in &systems { th scope="col" { (fs) } } } }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { (row.0) @if let Some(setting) = &row.1 { small { "stable_writes " (setting) } } }
                            @for fs in &systems {
                                @match cell_at(row, fs) {
                                    Some((at, cell)) => {
                                        td class=(format!("{} {}", cell.outcome, choices.classes(cell))) {
                                            a href=(format!("#cell-{at}")) { (cell.outcome) @if cell.control { " (control)" } small { (races(cell)) } }
                                        }
                                    }
                                    None => { td { span.soft { "-" } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A scenario with its setting.
type Row = (String, Option<String>);

fn row_of(cell: &Cell) -> Row {
    (cell.scenario.clone(), cell.stable_writes.map(|setting| setting.to_string()))
}

fn races(cell: &Cell) -> String {
    match cell.races {
        None => "not run".to_owned(),
        Some(0) => "none raced".to_owned(),
        Some(races) => format!("{races} raced"),
    }
}
