//! What became of a planned cell: from its runs, the records and the interruptions.

use std::path::Path;
use std::time::Duration;

use crate::report::{Session, SessionError};
use crate::runner::cell::{End, Ran};
use crate::runner::errors::one_line;
use crate::runner::plan::PlannedCell;
use crate::runner::settle::{Fate, Runs};

/// What the runs of a cell came to.
pub fn fate(cell: &PlannedCell, ran: &[Ran]) -> Fate {
    if let Some(reason) = &cell.skip {
        return Fate::Skipped(reason.clone());
    }
    let mut runs = Runs::default();
    for one in ran {
        if let End::Skipped(reason) = &one.end {
            return Fate::Skipped(reason.clone());
        }
        runs.add(&one.counters);
        runs.add_divergent(one.divergent);
        runs.wrong = runs.wrong.or_else(|| one.wrong.clone());
        runs.trouble = match &one.end {
            End::Done | End::Skipped(_) => None,
            End::Trouble(reason) | End::Hung(reason) => Some(reason.clone()),
            End::GuestLost(error) => Some(one_line(error)),
        };
    }
    Fate::Ran(Box::new(runs))
}

/// What became of it, in a line for people.
pub fn fate_words(cell: &PlannedCell, fate: &Fate) -> String {
    match fate {
        Fate::Skipped(reason) => format!("skipped: {reason}"),
        Fate::Lost(reason) => format!("lost: {reason}"),
        Fate::Ran(runs) => {
            let races = runs.counters.races.before_doorbell + runs.counters.races.in_window;
            let trouble = runs.trouble.as_ref().map_or(String::new(), |why| format!("; {why}"));
            let checked = runs.counters.blocks_checked;
            format!(
                "{races} of {checked} blocks raced, expected: {}{trouble}",
                cell.expectation.expect
            )
        }
    }
}

/// Looks the first race of every cell up in the records, and counts from the writer's first write.
pub fn fill_first_catches(
    records: &Path,
    ran: &[Vec<Ran>],
    fates: &mut [Fate],
) -> Result<(), SessionError> {
    let session = Session::read(records)?;
    for (runs, fate) in ran.iter().zip(fates) {
        if let Fate::Ran(known) = fate {
            known.first_catch_ms = runs.iter().find_map(|one| first_catch_ms(&session, one));
        }
    }
    Ok(())
}

fn first_catch_ms(session: &Session, ran: &Ran) -> Option<f64> {
    let label = session.labels.get(&ran.label)?;
    let began = label.began_us.unwrap_or(0);
    let caught = began.saturating_add(label.first_catch_us?);
    let after = caught.saturating_sub(ran.writing_us.unwrap_or(began));
    Some(Duration::from_micros(after).as_secs_f64() * 1_000.0)
}
