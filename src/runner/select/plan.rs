//! A cell of a plan: what it should show, or why it will not run.

use crate::runner::select::cell_spec::CellSpec;
use crate::runner::select::table::Expectation;
use crate::verdict::Expect;

/// A cell to run or to skip.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// What and where.
    pub spec: CellSpec,
    /// What it should show.
    pub expectation: Expectation,
    /// Why it will not run.
    pub skip: Option<String>,
    /// It is judged by `--expect`: the first race where none may be answers for the whole run.
    pub asked: bool,
    /// So many races are enough, where that is not what its expectation says.
    pub enough: Option<u64>,
    /// The faults that the disk has while it runs, as `dixtrapd --inject` takes them.
    pub faults: Vec<String>,
}

impl PlannedCell {
    /// How many races end it, where some do.
    pub fn enough_races(&self) -> Option<u64> {
        self.enough.or_else(|| self.ends_at_a_race().then_some(1))
    }

    /// One race is enough: it is what was expected, or the answer to what was asked.
    pub fn ends_at_a_race(&self) -> bool {
        match self.expectation.expect {
            Expect::Race => true,
            Expect::Stable => self.asked,
            Expect::Survey => false,
        }
    }
}
