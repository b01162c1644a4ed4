//! What was expected, and whether the finding is a known one; what the control said.

use crate::report::plain::plain;
use crate::report::words::seen_words;
use crate::verdict::{Cell, CellOutcome, Expect};

use super::case::Case;
use super::fold::paragraph;

/// What the table of expectations says of the cell.
pub(super) fn words(case: &Case<'_>) -> Option<String> {
    let cell = case.cell?;
    let why = cell.why.as_deref().map(plain);
    let because = || why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    Some(match cell.expect {
        Expect::Stable => format!("No block should have raced here{}.", because()),
        Expect::Race if cell.control => {
            format!("This cell is a control, and races as it should{}.", because())
        }
        Expect::Race => format!("This is known: dixtrap expects a race here{}.", because()),
        Expect::Survey if cell.races.is_some_and(|races| races > 0) && why.is_some() => format!(
            "This may be known: of this case dixtrap's table of expectations judges nothing, and says{}.",
            because()
        ),
        Expect::Survey => {
            "Nothing is known of this case: dixtrap's table of expectations judges nothing here."
                .to_owned()
        }
    })
}

/// What the controls of the same kernel and device caught: without one a trap that sees nothing may be
/// no trap at all, and with it the other cells' silence means something.
pub(super) fn control(case: &Case<'_>) -> String {
    let (Some(verdict), Some(own)) = (case.verdict, case.cell) else {
        return paragraph("Not on record: there is no verdict beside these records.");
    };
    let beside = |cell: &&Cell| cell.kernel == own.kernel && cell.device == own.device;
    let told =
        |cell: &Cell| format!("{}: {} ({})", plain(&cell.name()), seen_words(cell), cell.outcome);
    let controls: Vec<String> =
        verdict.cells.iter().filter(beside).filter(|cell| cell.control).map(told).collect();
    let clean = verdict
        .cells
        .iter()
        .filter(beside)
        .filter(|cell| !cell.control && cell.outcome == CellOutcome::Pass)
        .find(|cell| cell.races == Some(0) && cell.fs == own.fs);
    let mut lines: String = if controls.is_empty() {
        paragraph("None is on record.")
    } else {
        controls.iter().map(|words| paragraph(words)).collect()
    };
    if let Some(cell) = clean {
        lines.push_str(&paragraph(&format!("For comparison, {}.", told(cell))));
    }
    lines
}
