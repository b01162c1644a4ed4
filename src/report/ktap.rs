//! The verdict as KTAP version 1 (the kernel's Documentation/dev-tools/ktap.rst): a subtest for
//! each kernel and device, a line for each cell.

use std::fmt::Write;

use crate::verdict::{Cell, CellOutcome, Group, Verdict};

use super::words::{expected_words, seen_words};

/// The verdict as KTAP.
pub fn verdict_ktap(verdict: &Verdict) -> String {
    let groups = verdict.groups();
    let mut out = format!("KTAP version 1\n1..{}\n", groups.len());
    for (number, Group { kernel, device, cells }) in groups.into_iter().enumerate() {
        let name = format!("{kernel} {device}");
        // A String takes every write.
        let _ = write!(out, "  KTAP version 1\n  # Subtest: {name}\n  1..{}\n", cells.len());
        for (number, cell) in cells.iter().enumerate() {
            let _ = writeln!(
                out,
                "  # {}: expected {}, seen: {}",
                cell.name(),
                expected_words(cell),
                seen_words(cell)
            );
            let _ = writeln!(out, "  {}", result_line(number + 1, cell));
        }
        let bad = cells.iter().any(|c| matches!(c.outcome, CellOutcome::Fail | CellOutcome::Error));
        let word = if bad { "not ok" } else { "ok" };
        let _ = writeln!(out, "{word} {} {name}", number + 1);
    }
    out
}

fn result_line(number: usize, cell: &Cell) -> String {
    // `#` begins a directive and a line ends the result.
    let reason = cell.reason.as_deref().unwrap_or("").replace(['#', '\n'], " ");
    let name = cell.name();
    match cell.outcome {
        CellOutcome::Pass => format!("ok {number} {name}"),
        CellOutcome::Skip => format!("ok {number} {name} # SKIP {reason}"),
        CellOutcome::Fail => format!("not ok {number} {name} # {reason}"),
        CellOutcome::Error => format!("not ok {number} {name} # ERROR {reason}"),
    }
}
