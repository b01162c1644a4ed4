//! The bytes of a race.

use crate::record::Phase;
use crate::report::hexdiff::{Colour, hexdiff};

use super::case::Case;
use super::fold::paragraph;

/// Before and after, in lines of sixteen; why not, where there are none.
pub(super) fn lines(case: &Case<'_>) -> String {
    let race = &case.evidence.race;
    let shown: String = hexdiff(&race.changed, race.changed_bytes, Colour::Never)
        .into_iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if !shown.is_empty() {
        return shown;
    }
    paragraph(match race.phase {
        Phase::BeforeDoorbell => {
            "Not on record: before the doorbell only the guards can be compared."
        }
        _ => "Not on record.",
    })
}
