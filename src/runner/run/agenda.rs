//! The cells of one boot in their order, and what became of them as far as it got.

use crate::runner::cell::runs::CellResult;
use crate::runner::select::environment::Environment;
use crate::runner::select::plan::PlannedCell;
use crate::runner::select::selection::Selection;

/// The cells that a boot is for. The results are those of the first of them.
#[derive(Debug)]
pub struct Agenda {
    planned: Vec<PlannedCell>,
    /// How many of them the selection had: the rest are controls that come before them.
    chosen: usize,
    results: Vec<CellResult>,
}

impl Agenda {
    /// The selection's cells in a guest of which this is known.
    pub fn plan(selection: &Selection, around: &Environment) -> Agenda {
        let planned = selection.plan(around);
        Agenda { planned, chosen: selection.len(), results: Vec::new() }
    }

    /// The selection's cells alone, to be seen again and not to be proven: each ends with so many races.
    pub fn again(selection: &Selection, around: &Environment, enough: u64) -> Agenda {
        let mut planned = selection.expected(around);
        planned.iter_mut().for_each(|cell| cell.enough = Some(enough));
        Agenda { planned, chosen: selection.len(), results: Vec::new() }
    }

    /// Those cells alone that cannot run, each with its reason. A control alone would prove nothing about
    /// anything.
    pub fn skipped(selection: &Selection, around: &Environment) -> Agenda {
        let mut agenda = Agenda::plan(selection, around);
        agenda.planned.retain(|cell| cell.skip.is_some());
        let reasons = agenda.planned.iter().filter_map(|cell| cell.skip.clone());
        agenda.results = reasons.map(CellResult::Skipped).collect();
        agenda
    }

    /// How many cells there are.
    pub fn total(&self) -> usize {
        self.planned.len()
    }

    /// The next cell, with its number counted from 1.
    pub fn next(&self) -> Option<(usize, &PlannedCell)> {
        let done = self.results.len();
        self.planned.get(done).map(|cell| (done.saturating_add(1), cell))
    }

    /// Notes what became of the next cell.
    pub fn note(&mut self, result: CellResult) {
        if self.results.len() < self.planned.len() {
            self.results.push(result);
        }
    }

    /// Accounts for the cells that have no result: the same became of each.
    pub fn fill(&mut self, result: &CellResult) {
        self.results.resize(self.planned.len(), result.clone());
    }

    /// The number of the first chosen cell that has no result.
    pub fn reached(&self) -> usize {
        let added = self.planned.len().saturating_sub(self.chosen);
        self.results.len().saturating_sub(added)
    }

    /// The cells that have a result.
    pub fn done(&self) -> &[PlannedCell] {
        self.planned.get(..self.results.len()).unwrap_or(&self.planned)
    }

    /// What became of them.
    pub fn results(&self) -> &[CellResult] {
        &self.results
    }

    /// The same, for what the records have to add.
    pub fn results_mut(&mut self) -> &mut [CellResult] {
        &mut self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::select::catalogue::Catalogue;

    /// `metadata-churn` on ext4, for which a control is added.
    fn selection() -> Selection {
        let words = |word: &str| [word.to_owned()];
        let catalogue = Catalogue::embedded().unwrap();
        Selection::new(catalogue, &words("metadata-churn"), &words("ext4")).unwrap()
    }

    #[test]
    fn cells_are_reached_behind_the_control_that_was_added() {
        let mut agenda = Agenda::plan(&selection(), &Environment::default());
        let chosen = selection().len();
        assert_eq!((agenda.total(), agenda.reached()), (chosen + 1, 0));
        let lost = CellResult::Lost("x".into());
        agenda.note(lost.clone());
        let (number, cell) = agenda.next().unwrap();
        assert_eq!((number, agenda.reached(), cell.skip.is_none()), (2, 0, true));
        agenda.note(lost.clone());
        assert_eq!((agenda.reached(), agenda.done().len()), (1, 2));
        agenda.fill(&lost);
        agenda.note(lost);
        assert_eq!((agenda.next().is_none(), agenda.results().len()), (true, chosen + 1));
    }

    #[test]
    fn where_nothing_can_run_no_control_stands_alone() {
        let missing_programs = ["mkfs.ext4".to_owned()].into();
        let around = Environment { missing_programs, ..Environment::default() };
        let agenda = Agenda::skipped(&selection(), &around);
        assert_eq!(agenda.done().len(), selection().len());
        assert!(agenda.done().iter().all(|cell| !cell.expectation.control));
        let skipped = |result: &CellResult| matches!(result, CellResult::Skipped(_));
        assert!(agenda.results().iter().all(skipped));
    }
}
