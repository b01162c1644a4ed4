//! What became of a planned cell: one shape from its first repetition to its judgement.

use crate::record::Counters;
use crate::runner::guest::notes::Notes;
use crate::verdict::{CulpritGroup, OwnerGroup, Seen, StableWrites};

/// What became of a planned cell.
#[derive(Debug, Clone, PartialEq)]
pub enum CellResult {
    /// It ran, wholly or in part.
    Ran(Box<Runs>),
    /// It could not run on this machine or kernel.
    Skipped(String),
    /// It did not run, or what it showed is lost.
    Lost(String),
}

impl CellResult {
    /// Notes that the cell was not let to come to its end: whatever went wrong with it may come of that.
    pub fn cut_short(&mut self, why: &str) {
        if let CellResult::Ran(runs) = self {
            runs.seen.trouble = Some(why.to_owned());
        }
    }
}

/// What the repetitions of a cell showed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runs {
    /// What they are judged by.
    pub seen: Seen,
    /// The medians of their windows.
    pub medians: Vec<f64>,
    /// Milliseconds from the first write to the first race, of the first that raced.
    pub first_catch_ms: Option<f64>,
    /// What went wrong was the script's own mistake.
    pub broken_script: bool,
    /// The knob while it wrote, in each repetition.
    pub ran_with: Vec<Option<StableWrites>>,
    /// Where what it printed is kept.
    pub log: Option<String>,
    /// What the kernel said of itself and went on after.
    pub notes: Notes,
    /// Whose blocks raced; `None` before anybody asked.
    pub owners: Option<Vec<OwnerGroup>>,
    /// Who changed the bytes; `None` where nobody watched.
    pub culprits: Option<Vec<CulpritGroup>>,
    /// Races that a later clean write covered, and those that nothing has, by the records, which go on to
    /// the end of the boot; `None` before anybody looked.
    pub healed_and_standing: Option<(u64, Option<u64>)>,
}

impl Runs {
    /// Adds what one repetition counted, and what it found between the legs of a mirror.
    pub fn add(&mut self, counters: &Counters, divergent: Option<u64>) {
        self.seen.add(counters, divergent);
        self.medians.extend(counters.window_us.map(|window| window.median));
    }

    /// Races that hardware would have seen.
    pub fn races(&self) -> u64 {
        self.seen.races()
    }

    /// Races that a later clean write covered, and those that stand. Where there are no records it is by
    /// the counters, which end with the cell: a race that they have as standing may have been covered after
    /// it.
    pub fn fates(&self) -> (u64, Option<u64>) {
        self.healed_and_standing.unwrap_or_else(|| {
            let healed = self.seen.counters.healed.min(self.races());
            (healed, (healed == self.races()).then_some(0))
        })
    }

    /// The knob, where it was the same in all repetitions.
    pub fn knob(&self) -> Option<StableWrites> {
        let first = self.ran_with.first().copied().flatten();
        first.filter(|_| self.ran_with.iter().all(|one| *one == first))
    }

    /// The median of their medians.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.medians.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}
