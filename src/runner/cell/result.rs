//! What became of a planned cell: from its runs, the records and the interruptions.

use std::path::Path;
use std::time::Duration;

use crate::record::Owner;
use crate::report::{LabelSummary, Session, SessionError};
use crate::runner::cell::owners::Naming;
use crate::runner::cell::runs::{CellResult, Runs};
use crate::runner::cell::{CellRun, End};
use crate::runner::host::errors::{one_line, whole_text};
use crate::runner::select::plan::PlannedCell;
use crate::verdict::{CulpritGroup, OwnerGroup, merge_culprits, merge_groups};

/// What the runs of a cell came to.
pub fn result_of(cell: &PlannedCell, ran: &[CellRun]) -> CellResult {
    if let Some(reason) = &cell.skip {
        return CellResult::Skipped(reason.clone());
    }
    let mut runs = Runs::default();
    for one in ran {
        runs.add(&one.counters, one.divergent);
        runs.ran_with.push(one.ran_with);
        runs.notes.extend(&one.notes);
        runs.log = one.log.clone().or(runs.log);
        runs.seen.wrong = runs.seen.wrong.or_else(|| one.wrong.clone());
        // A race is proof by itself, whatever the script says of its own work afterwards.
        if let End::Skipped(reason) = &one.end
            && runs.races() == 0
            && runs.seen.wrong.is_none()
        {
            return CellResult::Skipped(reason.clone());
        }
        let trouble = match &one.end {
            End::Done if one.counters.blocks_checked == 0 => {
                Some("no block was written after the script said that it writes".to_owned())
            }
            End::Done => None,
            End::Skipped(reason) => Some(format!("it skipped itself after all this: {reason}")),
            End::Trouble(reason) | End::Broken(reason) | End::Hung(reason) => Some(reason.clone()),
            End::GuestLost(error) => Some(one_line(error)),
        };
        runs.broken_script |= matches!(one.end, End::Broken(_));
        // What a later repetition did well does not make up for it.
        runs.seen.trouble = trouble.or(runs.seen.trouble);
    }
    CellResult::Ran(Box::new(runs))
}

/// What became of it, in a line for people.
pub fn result_words(cell: &PlannedCell, result: &CellResult) -> String {
    match result {
        CellResult::Skipped(reason) => format!("skipped: {reason}"),
        CellResult::Lost(reason) => format!("lost: {reason}"),
        CellResult::Ran(runs) => {
            let trouble =
                runs.seen.trouble.as_ref().map_or(String::new(), |why| format!("; {why}"));
            let raced = runs.seen.counters.races.words(runs.seen.counters.blocks_checked);
            let why =
                cell.expectation.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            format!("{raced}, expected: {}{why}{trouble}", cell.expectation.expect)
        }
    }
}

/// Looks up in the records what the counters do not tell: when a cell's first race came, counted from
/// the writer's first write, whose its blocks were, and who changed them. The owners are written down beside
/// the records on the way; that they cannot be, as on a full disk, costs nothing else. Answers everything
/// that was read.
pub fn fill_from_records(
    records: &Path,
    ran: &[Vec<CellRun>],
    results: &mut [CellResult],
) -> Result<Session, SessionError> {
    let answers = ran.iter().flatten().map(|one| (one.label.as_str(), &one.answers)).collect();
    let mut naming = Naming::new(answers);
    let session = Session::read_asking(records, &mut |record| naming.owner_of(record))?;
    if let Err(error) = naming.write(records) {
        log::warn!("whose blocks raced is not written down: {}", whole_text(&error));
    }
    for (runs, result) in ran.iter().zip(results) {
        if let CellResult::Ran(known) = result {
            known.first_catch_ms = runs.iter().find_map(|one| first_catch_ms(&session, one));
            known.owners = Some(owners(&session, runs, known.races()));
            known.culprits = culprits(&session, runs);
            known.healed_and_standing = Some(healed_and_standing(&session, runs));
        }
    }
    Ok(session)
}

/// What became of the races of a cell, be it after its end; what stands is known where it is of each run.
fn healed_and_standing(session: &Session, runs: &[CellRun]) -> (u64, Option<u64>) {
    let labels = runs.iter().filter_map(|one| session.labels.get(&one.label));
    labels.map(LabelSummary::healed_and_standing).fold(
        (0, Some(0)),
        |(all, left), (healed, standing)| {
            let standing = left.zip(standing).map(|(left, standing)| left.saturating_add(standing));
            (all.saturating_add(healed), standing)
        },
    )
}

/// The races of a cell by owner. Races that were counted and left no record are nobody's.
fn owners(session: &Session, runs: &[CellRun], races: u64) -> Vec<OwnerGroup> {
    let mut groups = Vec::new();
    for label in runs.iter().filter_map(|one| session.labels.get(&one.label)) {
        merge_groups(&mut groups, &label.owners);
    }
    let told = groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.races));
    if let Some(lost) = races.checked_sub(told).filter(|lost| *lost > 0) {
        merge_groups(&mut groups, &[OwnerGroup::of(&Owner::unknown(), lost)]);
    }
    groups
}

/// The races of a cell by who changed the bytes; nothing where nobody watched.
fn culprits(session: &Session, runs: &[CellRun]) -> Option<Vec<CulpritGroup>> {
    let labels = runs.iter().filter_map(|one| session.labels.get(&one.label));
    labels.filter_map(|label| label.culprits.as_ref()).fold(None, |all, more| {
        let mut all = all.unwrap_or_default();
        merge_culprits(&mut all, more);
        Some(all)
    })
}

fn first_catch_ms(session: &Session, ran: &CellRun) -> Option<f64> {
    let after = session.labels.get(&ran.label)?.first_catch_us?;
    Some(Duration::from_micros(after).as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Counters;
    use crate::runner::select::catalogue::Catalogue;
    use crate::runner::select::environment::Environment;
    use crate::runner::select::selection::Selection;

    fn ran(blocks_checked: u64, end: End) -> CellRun {
        CellRun {
            label: "x#1".into(),
            counters: Counters { blocks_checked, ..Counters::default() },
            divergent: None,
            wrong: None,
            answers: Default::default(),
            log: None,
            last_lines: Vec::new(),
            ran_with: None,
            unfit: None,
            notes: Default::default(),
            end,
        }
    }

    fn runs(all: &[CellRun]) -> Runs {
        let words = |word: &str| [word.to_owned()];
        let catalogue = Catalogue::embedded().unwrap();
        let selection = Selection::new(catalogue, &words("direct-rewrite"), &words("raw")).unwrap();
        let cell = &selection.plan(&Environment::default())[0];
        match result_of(cell, all) {
            CellResult::Ran(runs) => *runs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repetition_that_wrote_nothing_is_not_forgiven() {
        let empty_first = runs(&[ran(0, End::Done), ran(5_000, End::Done)]);
        assert!(empty_first.seen.trouble.unwrap().starts_with("no block was written"));
        assert_eq!(runs(&[ran(9, End::Done), ran(9, End::Done)]).seen.trouble, None);
    }

    #[test]
    fn a_script_that_is_broken_is_told_from_a_kernel_that_is() {
        let broken = runs(&[ran(9, End::Broken("no such program".into()))]);
        assert!(broken.broken_script && broken.seen.trouble.is_some());
        assert!(!runs(&[ran(9, End::Trouble("mount failed".into()))]).broken_script);
    }
}
