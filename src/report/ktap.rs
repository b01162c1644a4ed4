//! The verdict as KTAP version 1 (the kernel's Documentation/dev-tools/ktap.rst): a subtest for
//! each kernel and device, a line for each cell; a last one for a verdict that is an error of its own.

use std::fmt::Write;

use crate::verdict::{Cell, CellOutcome, Group, Verdict};

use super::format::Format;
use super::provenance::{beside_the_cells, provenance_rows};
use super::tame::tame;
use super::words::{boot_words, expected_words, noted_words, seen_words};

/// A file of KTAP.
pub const FORMAT: Format = Format {
    flag: "ktap",
    name: "KTAP",
    make: |verdict| Ok(verdict_ktap(verdict)),
    with_records: None,
    #[cfg(test)]
    read: read::cells,
};

/// The verdict as KTAP.
pub(super) fn verdict_ktap(verdict: &Verdict) -> String {
    let verdict = &tame(verdict);
    let groups = verdict.groups();
    let reason = beside_the_cells(verdict);
    let count = groups.len().saturating_add(usize::from(reason.is_some()));
    let mut out = format!("KTAP version 1\n1..{count}\n");
    for (name, value) in provenance_rows(verdict).into_iter().chain(boot_words(verdict)) {
        let _ = writeln!(out, "# {}: {}", in_a_line(&name), in_a_line(&value));
    }
    for (number, Group { kernel, device, cells }) in groups.into_iter().enumerate() {
        let name = in_a_line(&format!("{kernel} {device}"));
        // A String takes every write.
        let _ = write!(out, "  KTAP version 1\n  # Subtest: {name}\n  1..{}\n", cells.len());
        for (number, cell) in cells.iter().enumerate() {
            let _ = writeln!(
                out,
                "  # {}: expected {}, seen: {}",
                in_a_line(&cell.name()),
                expected_words(cell),
                seen_words(cell)
            );
            for words in noted_words(cell) {
                let _ = writeln!(out, "  # {}: {}", in_a_line(&cell.name()), in_a_line(&words));
            }
            let _ = writeln!(out, "  {}", result_line(number + 1, cell));
        }
        let bad = cells.iter().any(|c| matches!(c.outcome, CellOutcome::Fail | CellOutcome::Error));
        let word = if bad { "not ok" } else { "ok" };
        let _ = writeln!(out, "{word} {} {name}", number + 1);
    }
    if let Some(reason) = reason {
        let _ = writeln!(out, "not ok {count} verdict # ERROR {}", in_a_line(&reason));
    }
    out
}

/// `#` begins a directive and a line ends the result.
fn in_a_line(reason: &str) -> String {
    reason.replace(['#', '\n'], " ")
}

fn result_line(number: usize, cell: &Cell) -> String {
    let reason = in_a_line(cell.reason.as_deref().unwrap_or(""));
    let name = in_a_line(&cell.name());
    match cell.outcome {
        CellOutcome::Pass => format!("ok {number} {name}"),
        CellOutcome::Skip => format!("ok {number} {name} # SKIP {reason}"),
        CellOutcome::Fail => format!("not ok {number} {name} # {reason}"),
        CellOutcome::Error => format!("not ok {number} {name} # ERROR {reason}"),
    }
}

#[cfg(test)]
mod read {
    use crate::report::format::ToldCell;
    use crate::verdict::CellOutcome;

    /// What this format tells of each cell.
    pub fn cells(text: &str) -> Vec<ToldCell> {
        let mut told = Vec::new();
        let mut before = String::new();
        for line in text.lines().filter(|line| line.starts_with("  ")).map(str::trim) {
            let (word, rest) = match line.strip_prefix("not ok ") {
                Some(rest) => (CellOutcome::Fail, rest),
                None => match line.strip_prefix("ok ") {
                    Some(rest) => (CellOutcome::Pass, rest),
                    None => {
                        before.push_str(line);
                        continue;
                    }
                },
            };
            let (_, rest) = rest.split_once(' ').unwrap();
            let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
            let outcome = match directive.split(' ').next() {
                Some("SKIP") => CellOutcome::Skip,
                Some("ERROR") => CellOutcome::Error,
                _ => word,
            };
            let words = format!("{before} {directive}");
            told.push(ToldCell { name: name.to_owned(), outcome, words });
            before.clear();
        }
        told
    }
}
