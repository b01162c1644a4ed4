//! Several boots, or the verdicts of several shards, as one.

use std::collections::BTreeMap;

use super::{Cell, CellOutcome, CellWindow, Cut, ExitStatus, Repeat, Verdict, merge_groups};
use crate::record::Phases;

/// Why verdicts do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("there is no verdict to merge")]
    Nothing,
    /// They were written by different versions, which may expect different things.
    #[error("verdicts of dixtrap {0} and {1} do not go together: run all shards with one version")]
    Versions(String, String),
    /// They asked for different windows.
    #[error("{0} ran with different windows: only shards of one run go together")]
    Windows(String),
}

impl Verdict {
    /// One verdict over the cells of all: a cell that several hold is one cell with the sum of what
    /// was seen and the worst of its outcomes. The time is what all took together.
    ///
    /// # Errors
    /// When they are not of one kind.
    pub fn merge(verdicts: Vec<Verdict>) -> Result<Verdict, MergeError> {
        let first = verdicts.first().ok_or(MergeError::Nothing)?;
        let version = first.version.clone();
        if let Some(other) = verdicts.iter().find(|verdict| verdict.version != version) {
            return Err(MergeError::Versions(version, other.version.clone()));
        }
        let started = verdicts.iter().map(|v| v.started).min().unwrap_or(first.started);
        let seconds = verdicts.iter().map(|verdict| verdict.seconds).sum();
        let cut = verdicts.iter().filter_map(cut_of).max();
        let cells: Vec<Cell> = verdicts.into_iter().flat_map(|verdict| verdict.cells).collect();
        Ok(Verdict::over(merge_cells(cells)?, cut, started, seconds))
    }
}

/// What cut a finished run short, read back from its status.
fn cut_of(verdict: &Verdict) -> Option<Cut> {
    let is = |status: ExitStatus| verdict.exit_status == status.code();
    if is(ExitStatus::Interrupted) {
        Some(Cut::Interrupted)
    } else {
        is(ExitStatus::Fault).then_some(Cut::Fault)
    }
}

/// Each cell once, in the order of their first appearance, those of one kernel and device together.
///
/// # Errors
/// When a cell ran with two different windows.
pub fn merge_cells(cells: Vec<Cell>) -> Result<Vec<Cell>, MergeError> {
    let mut groups: Vec<Vec<Cell>> = Vec::new();
    for cell in cells {
        let here = |group: &&mut Vec<Cell>| group.first().is_some_and(|c| same_group(c, &cell));
        let Some(group) = groups.iter_mut().find(here) else {
            groups.push(vec![cell]);
            continue;
        };
        match group.iter_mut().find(|known| known.name() == cell.name()) {
            Some(known) => known.absorb(cell)?,
            None => group.push(cell),
        }
    }
    Ok(groups.into_iter().flatten().collect())
}

fn same_group(a: &Cell, b: &Cell) -> bool {
    a.kernel == b.kernel && a.device == b.device
}

impl Cell {
    /// Takes in what another run of the same cell came to.
    fn absorb(&mut self, other: Cell) -> Result<(), MergeError> {
        self.window_us = self.join_windows(&other)?;
        // Every field is named: a new one must not be dropped.
        let Cell {
            kernel: _,
            device: _,
            fs: _,
            scenario: _,
            stable_writes: _,
            expect: _,
            outcome,
            reason,
            why,
            control,
            writes,
            blocks_checked,
            races,
            phases,
            guard_blind,
            healed,
            standing,
            divergent,
            first_catch_ms,
            window_us: _,
            owners,
            owner_groups,
            repeat,
            log,
        } = other;
        // The log goes with the reason.
        if rank(outcome) > rank(self.outcome) {
            (self.outcome, self.reason) = (outcome, reason);
            self.log = log.or(self.log.take());
        } else {
            self.log = self.log.take().or(log);
        }
        self.why = self.why.take().or(why);
        self.control |= control;
        self.first_catch_ms = self.first_catch_ms.or(first_catch_ms);
        self.writes = sum(self.writes, writes);
        self.blocks_checked = sum(self.blocks_checked, blocks_checked);
        self.races = sum(self.races, races);
        self.guard_blind = sum(self.guard_blind, guard_blind);
        self.healed = sum(self.healed, healed);
        self.standing = sum(self.standing, standing);
        self.divergent = sum(self.divergent, divergent);
        self.phases = both(self.phases, phases, add_phases);
        self.repeat = both(self.repeat, repeat, add_repeats);
        self.owners = both(self.owners.take(), owners, add_owners);
        self.owner_groups = both(self.owner_groups.take(), owner_groups, |mut all, more| {
            merge_groups(&mut all, &more);
            all
        });
        Ok(())
    }

    /// A median of both cannot be had from two medians; that of more writes comes nearest.
    fn join_windows(&self, other: &Cell) -> Result<Option<CellWindow>, MergeError> {
        match (self.window_us, other.window_us) {
            (Some(a), Some(b)) if a.asked != b.asked => Err(MergeError::Windows(self.name())),
            (Some(a), Some(b)) => {
                let median = if other.writes > self.writes { b.median } else { a.median };
                let max = [a.max, b.max].into_iter().flatten().reduce(f64::max);
                Ok(Some(CellWindow { asked: a.asked, median, max }))
            }
            (a, b) => Ok(a.or(b)),
        }
    }
}

fn add_repeats(a: Repeat, b: Repeat) -> Repeat {
    Repeat { k: a.k.saturating_add(b.k), n: a.n.saturating_add(b.n) }
}

type Owners = BTreeMap<String, u64>;

fn add_owners(mut all: Owners, more: Owners) -> Owners {
    for (name, races) in more {
        let known = all.entry(name).or_default();
        *known = known.saturating_add(races);
    }
    all
}

/// What counts more when two runs of a cell differ.
fn rank(outcome: CellOutcome) -> u8 {
    match outcome {
        CellOutcome::Skip => 0,
        CellOutcome::Pass => 1,
        CellOutcome::Error => 2,
        CellOutcome::Fail => 3,
    }
}

fn both<T>(a: Option<T>, b: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    }
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    both(a, b, u64::saturating_add)
}

fn add_phases(a: Phases, b: Phases) -> Phases {
    Phases {
        before_doorbell: a.before_doorbell.saturating_add(b.before_doorbell),
        in_window: a.in_window.saturating_add(b.in_window),
        after_fetch: a.after_fetch.saturating_add(b.after_fetch),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::bare_cell;
    use super::*;
    use crate::record::{Owner, OwnerKind};
    use crate::units::WindowSpec;
    use crate::verdict::OwnerGroup;
    use chrono::DateTime;
    use proptest::prelude::*;
    use std::time::Duration;

    fn seen(scenario: &str, outcome: CellOutcome, races: u64) -> Cell {
        let asked = WindowSpec::Fixed(Duration::from_millis(1));
        Cell {
            races: Some(races),
            divergent: Some(1),
            owners: Some(BTreeMap::from([("file".to_owned(), races)])),
            repeat: Some(Repeat { k: u32::from(races > 0), n: 1 }),
            window_us: Some(CellWindow { asked, median: Some(1_000.0), max: Some(2_000.0) }),
            ..bare_cell(scenario, outcome)
        }
    }

    #[test]
    fn owners_of_one_cell_are_counted_together() {
        let cell = |name: &str, races| Cell {
            owner_groups: Some(vec![OwnerGroup::of(&Owner::new(name, OwnerKind::Metadata), races)]),
            ..seen("churn", CellOutcome::Pass, races)
        };
        let cells = vec![cell("inode table", 2), cell("directory", 9), cell("inode table", 3)];
        let merged = merge_cells(cells).unwrap();
        let groups = merged[0].owner_groups.as_ref().unwrap();
        let told: Vec<_> = groups.iter().map(|g| (g.name.as_str(), g.races)).collect();
        assert_eq!(told, [("directory", 9), ("inode table", 5)]);
    }

    fn verdict(cells: Vec<Cell>, cut: Option<Cut>) -> Verdict {
        Verdict::over(cells, cut, DateTime::UNIX_EPOCH, 2.0)
    }

    #[test]
    fn shards_become_one_verdict_and_the_worst_decides() {
        use CellOutcome::{Error, Fail, Pass, Skip};
        let one = verdict(vec![seen("control", Pass, 3), bare_cell("a", Skip)], None);
        let two = verdict(vec![seen("control", Error, 0), seen("b", Fail, 7)], None);
        let all = Verdict::merge(vec![one.clone(), two]).unwrap();
        let names: Vec<&str> = all.cells.iter().map(|c| c.scenario.as_str()).collect();
        assert_eq!(names, ["control", "a", "b"]);
        let control = &all.cells[0];
        assert_eq!((control.outcome, control.races), (Error, Some(3)));
        assert_eq!(control.repeat, Some(Repeat { k: 1, n: 2 }));
        assert_eq!((control.divergent, control.owners.as_ref().unwrap()["file"]), (Some(2), 3));
        assert!(control.reason.is_some());
        assert_eq!((all.exit_status, all.seconds), (1, 4.0));
        let cut = verdict(vec![], Some(Cut::Interrupted));
        assert_eq!(Verdict::merge(vec![one, cut]).unwrap().exit_status, 130);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert_eq!(Verdict::merge(vec![]), Err(MergeError::Nothing));
        let one = verdict(vec![seen("a", CellOutcome::Pass, 1)], None);
        let mut older = one.clone();
        older.version = "0.0.1".to_owned();
        assert!(matches!(Verdict::merge(vec![one.clone(), older]), Err(MergeError::Versions(..))));
        let mut other = one.clone();
        other.cells[0].window_us.as_mut().unwrap().asked = WindowSpec::Fixed(Duration::ZERO);
        assert!(matches!(Verdict::merge(vec![one, other]), Err(MergeError::Windows(_))));
    }

    proptest! {
        /// However a run is cut into shards, the merged verdict is the same, and says the same.
        #[test]
        fn sharding_changes_nothing(
            outcomes in prop::collection::vec(0_u8..4, 1..12),
            at in 0_usize..12,
        ) {
            let word = |n: u8| match n {
                0 => CellOutcome::Pass,
                1 => CellOutcome::Fail,
                2 => CellOutcome::Error,
                _ => CellOutcome::Skip,
            };
            let cells: Vec<Cell> = outcomes
                .iter()
                .enumerate()
                .map(|(n, o)| seen(&format!("s{n}"), word(*o), u64::from(*o)))
                .collect();
            let whole = verdict(cells.clone(), None);
            let (left, right) = cells.split_at(at.min(cells.len()));
            let parts = [left, right].map(|part| verdict(part.to_vec(), None)).to_vec();
            let merged = Verdict::merge(parts).unwrap();
            prop_assert_eq!(merged.exit_status, whole.exit_status);
            prop_assert_eq!(merged.cells, whole.cells);
        }
    }
}
