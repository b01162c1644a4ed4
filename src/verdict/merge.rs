//! Several boots, or the verdicts of several shards, as one.

use std::collections::BTreeMap;

use super::shard::{Given, what_is_wrong};
use super::{
    Cell, CellOutcome, CellWindow, ExitStatus, Part, Repeat, ShardOf, StopReason, Verdict,
    merge_culprits, merge_groups,
};
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
    /// A report's flags have left some of its cells out.
    #[error("{0} has {1} of its {2} cells ({3}): give the verdict that it was made from")]
    Filtered(String, usize, usize, String),
    /// They asked for different windows.
    #[error("{0} ran with different windows: only shards of one run go together")]
    Windows(String),
}

impl Verdict {
    /// One verdict over the cells of all, each with the name of its file: a cell that several hold is
    /// one cell with the sum of what was seen and the worst of its outcomes. The time is what all took
    /// together. Where parts of a plan are missing, doubled or foreign it is an error, and says which.
    ///
    /// # Errors
    /// When their cells cannot stand in one verdict.
    pub fn merge(verdicts: Vec<(String, Verdict)>) -> Result<Verdict, MergeError> {
        let (_, first) = verdicts.first().ok_or(MergeError::Nothing)?;
        let parts_only =
            verdicts.iter().find_map(|(file, v)| Some((file, v, v.filtered.as_ref()?)));
        if let Some((file, verdict, filtered)) = parts_only {
            let (file, by) = (file.clone(), filtered.by.clone());
            return Err(MergeError::Filtered(file, verdict.cells.len(), filtered.of, by));
        }
        let version = first.version.clone();
        let mut others = verdicts.iter().map(|(_, verdict)| &verdict.version);
        if let Some(other) = others.find(|other| **other != version) {
            return Err(MergeError::Versions(version, other.clone()));
        }
        let started = verdicts.iter().map(|(_, v)| v.started).min().unwrap_or(first.started);
        let given: Vec<Given> = verdicts.iter().flat_map(|(file, v)| v.given(file)).collect();
        let mut wrong = what_is_wrong(&given);
        let parts: Vec<Part> = verdicts.iter().flat_map(|(_, v)| v.own_parts()).collect();
        let verdicts = without_copies(verdicts, &mut wrong);
        let seconds = verdicts.iter().map(|verdict| verdict.seconds).sum();
        let cut = parts.iter().filter_map(|part| stop_of(part.exit_status)).max();
        let boots = verdicts.iter().flat_map(|verdict| verdict.boots.clone()).collect();
        let cells: Vec<Cell> = verdicts.into_iter().flat_map(|verdict| verdict.cells).collect();
        let mut merged =
            Verdict::over(merge_cells(cells)?, cut, started, seconds).with_boots(boots);
        if let [only] = parts.as_slice() {
            merged.provenance = only.provenance.clone();
        }
        Ok(match wrong.is_empty() {
            true => Verdict { shard: plan_of(&parts), parts, ..merged },
            false => Verdict { parts, ..merged }.broken(wrong.join("; ")),
        })
    }

    /// The same cells, of which nothing can be said for this reason, beside those that are known.
    #[must_use]
    pub fn broken(self, reason: String) -> Verdict {
        let (verdict, exit_status) = (ExitStatus::Fault.ruling(), ExitStatus::Fault.code());
        let reasons: Vec<String> = self.reason.into_iter().chain([reason]).collect();
        Verdict { verdict, exit_status, shard: None, reason: Some(reasons.join("; ")), ..self }
    }

    /// What it was made of; of a run's own verdict, itself.
    fn own_parts(&self) -> Vec<Part> {
        let itself = || Part {
            shard: self.shard.clone(),
            started: self.started,
            seconds: self.seconds,
            exit_status: self.exit_status,
            provenance: self.provenance.clone(),
        };
        if self.parts.is_empty() { vec![itself()] } else { self.parts.clone() }
    }

    fn given(&self, file: &str) -> Vec<Given> {
        let given = |part: Part| {
            let (file, Part { shard, started, provenance, .. }) = (file.to_owned(), part);
            Given {
                file,
                shard,
                started,
                kernels: provenance.map(|p| p.kernels).unwrap_or_default(),
            }
        };
        self.own_parts().into_iter().map(given).collect()
    }
}

/// The verdicts without those that are there twice, so that nothing counts twice. Of one that does not
/// know its plan nobody has told yet.
fn without_copies(verdicts: Vec<(String, Verdict)>, wrong: &mut Vec<String>) -> Vec<Verdict> {
    let mut once: Vec<(String, Verdict)> = Vec::new();
    for (file, verdict) in verdicts {
        match once.iter().find(|(_, known)| *known == verdict) {
            Some((known, same)) if same.own_parts().iter().all(|part| part.shard.is_none()) => {
                wrong.push(format!("doubled: {file} is the same as {known}"));
            }
            Some(_) => {}
            None => once.push((file, verdict)),
        }
    }
    once.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The plan that all parts are of, as one whole.
fn plan_of(parts: &[Part]) -> Option<ShardOf> {
    let plan = &parts.first()?.shard.as_ref()?.plan;
    let same = |part: &Part| part.shard.as_ref().is_some_and(|shard| shard.plan == *plan);
    parts.iter().all(same).then(|| ShardOf::whole(plan))
}

/// What cut a finished run short, read back from its status.
fn stop_of(exit_status: u8) -> Option<StopReason> {
    let is = |status: ExitStatus| exit_status == status.code();
    if is(ExitStatus::Interrupted) {
        Some(StopReason::Interrupted)
    } else {
        is(ExitStatus::Fault).then_some(StopReason::Fault)
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
            ran_with,
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
            culprits,
            repeat,
            log,
            notes,
        } = other;
        // The log goes with the reason.
        if rank(outcome) > rank(self.outcome) {
            (self.outcome, self.reason) = (outcome, reason);
            self.log = log.or(self.log.take());
        } else {
            self.log = self.log.take().or(log);
        }
        self.why = self.why.take().or(why);
        self.notes.extend(notes);
        self.ran_with = match (self.writes, writes) {
            (Some(_), Some(_)) => self.ran_with.filter(|known| ran_with == Some(*known)),
            // One of the two never ran.
            _ => self.ran_with.or(ran_with),
        };
        self.control |= control;
        self.first_catch_ms = self.first_catch_ms.or(first_catch_ms);
        self.standing = match (self.healed.zip(self.standing), healed.zip(standing)) {
            // Of one that ran it is not known.
            (None, _) if self.healed.is_some() => None,
            (_, None) if healed.is_some() => None,
            _ => sum(self.standing, standing),
        };
        self.writes = sum(self.writes, writes);
        self.blocks_checked = sum(self.blocks_checked, blocks_checked);
        self.races = sum(self.races, races);
        self.guard_blind = sum(self.guard_blind, guard_blind);
        self.healed = sum(self.healed, healed);
        self.divergent = sum(self.divergent, divergent);
        self.phases = both(self.phases, phases, Phases::plus);
        self.repeat = both(self.repeat, repeat, add_repeats);
        self.owners = both(self.owners.take(), owners, add_owners);
        self.owner_groups = both(self.owner_groups.take(), owner_groups, |mut all, more| {
            merge_groups(&mut all, &more);
            all
        });
        self.culprits = both(self.culprits.take(), culprits, |mut all, more| {
            merge_culprits(&mut all, &more);
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

#[cfg(test)]
mod tests {
    use super::super::tests::bare_cell;
    use super::*;
    use crate::record::{Owner, OwnerKind};
    use crate::units::WindowSpec;
    use crate::verdict::{Boot, OwnerGroup, Ruling};
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

    #[test]
    fn what_is_not_known_of_one_run_is_not_known_of_both() {
        let cell =
            |healed, standing| Cell { healed, standing, ..seen("churn", CellOutcome::Pass, 1) };
        let known = cell(Some(3), Some(2));
        for (other, healed, standing) in [
            (cell(Some(1), Some(1)), Some(4), Some(3)),
            (cell(Some(1), None), Some(4), None),
            (cell(None, None), Some(3), Some(2)),
        ] {
            for both in [[known.clone(), other.clone()], [other.clone(), known.clone()]] {
                let merged = &merge_cells(both.to_vec()).unwrap()[0];
                assert_eq!((merged.healed, merged.standing), (healed, standing));
            }
        }
    }

    #[test]
    fn what_kernels_said_of_themselves_is_kept() {
        let cell = |note: &str| Cell {
            notes: vec![note.to_owned()],
            ..seen("churn", CellOutcome::Pass, 1)
        };
        let boot = |directory: &str, notes: &[&str]| Boot {
            directory: Some(directory.to_owned()),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            ..Boot::default()
        };
        let of = |n: &str| {
            let boots = vec![boot(n, &["BUG: x"]), boot("nothing", &[])];
            verdict(vec![cell(n)], None).with_boots(boots)
        };
        let all = merge(&[&of("boot-1"), &of("boot-2")]).unwrap();
        assert_eq!(all.cells[0].notes, ["boot-1", "boot-2"]);
        assert_eq!(all.boots, [boot("boot-1", &["BUG: x"]), boot("boot-2", &["BUG: x"])]);
    }

    fn verdict(cells: Vec<Cell>, cut: Option<StopReason>) -> Verdict {
        Verdict::over(cells, cut, DateTime::UNIX_EPOCH, 2.0)
    }

    #[test]
    fn shards_become_one_verdict_and_the_worst_decides() {
        use CellOutcome::{Error, Fail, Pass, Skip};
        let one = verdict(vec![seen("control", Pass, 3), bare_cell("a", Skip)], None);
        let two = verdict(vec![seen("control", Error, 0), seen("b", Fail, 7)], None);
        let all = merge(&[&one, &two]).unwrap();
        let names: Vec<&str> = all.cells.iter().map(|c| c.scenario.as_str()).collect();
        assert_eq!(names, ["control", "a", "b"]);
        let control = &all.cells[0];
        assert_eq!((control.outcome, control.races), (Error, Some(3)));
        assert_eq!(control.repeat, Some(Repeat { k: 1, n: 2 }));
        assert_eq!((control.divergent, control.owners.as_ref().unwrap()["file"]), (Some(2), 3));
        assert!(control.reason.is_some());
        assert_eq!((all.exit_status, all.seconds), (1, 4.0));
        let cut = verdict(vec![], Some(StopReason::Interrupted));
        assert_eq!(merge(&[&one, &cut]).unwrap().exit_status, 130);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert_eq!(Verdict::merge(vec![]), Err(MergeError::Nothing));
        let one = verdict(vec![seen("a", CellOutcome::Pass, 1)], None);
        let mut older = one.clone();
        older.version = "0.0.1".to_owned();
        assert!(matches!(merge(&[&one, &older]), Err(MergeError::Versions(..))));
        let mut other = one.clone();
        other.cells[0].window_us.as_mut().unwrap().asked = WindowSpec::Fixed(Duration::ZERO);
        assert!(matches!(merge(&[&one, &other]), Err(MergeError::Windows(_))));
    }

    /// A verdict over one clean cell, begun at this second.
    fn part(index: u64, of: u64, plan: &str, second: u64) -> Verdict {
        let cells = vec![seen(&format!("s{index}"), CellOutcome::Pass, 0)];
        let started = DateTime::UNIX_EPOCH + Duration::from_secs(second);
        let shard = ShardOf { index, of, plan: plan.to_owned() };
        Verdict::over(cells, None, started, 2.0).of_shard(shard)
    }

    #[test]
    fn a_lost_part_is_an_error_until_it_is_found() {
        let [one, two, three] = [1, 2, 3].map(|index| part(index, 3, "p", index));
        let lost = merge(&[&one, &three]).unwrap();
        assert_eq!((lost.verdict, lost.exit_status), (Ruling::Error, 129));
        let reason = lost.reason.as_ref().unwrap();
        assert!(reason.contains("missing: part 2 of 3 (there is f0, f1)"), "{reason}");
        assert_eq!((lost.shard.as_ref(), lost.cells.len()), (None, 2));
        // A part alone is no whole either.
        assert_eq!(merge(&[&one]).unwrap().exit_status, 129);
        for whole in [merge(&[&one, &two, &three]).unwrap(), merge(&[&lost, &two]).unwrap()] {
            assert_eq!((whole.exit_status, &whole.reason), (0, &None), "{whole:?}");
            assert_eq!(whole.shard, Some(ShardOf::whole("p")));
            assert_eq!((whole.parts.len(), whole.cells.len(), whole.seconds), (3, 3, 6.0));
            // What it is made of must not come in a second time.
            let again = merge(&[&whole, &two]).unwrap();
            assert!(again.reason.unwrap().contains("doubled: part 2 of 3 (f1)"));
        }
    }

    #[test]
    fn what_is_there_twice_counts_once_and_is_an_error() {
        let whole = part(1, 1, "p", 1);
        let old = Verdict { shard: None, ..whole.clone() };
        for verdict in [whole.clone(), old] {
            let twice = merge(&[&verdict, &verdict]).unwrap();
            assert_eq!((twice.exit_status, twice.cells[0].repeat.unwrap().n), (129, 1));
            assert!(twice.reason.unwrap().starts_with("doubled: "));
        }
        let again = merge(&[&whole, &part(1, 1, "p", 2)]).unwrap();
        assert_eq!((again.exit_status, again.cells[0].repeat.unwrap().n), (0, 2), "another night");
        let other = merge(&[&whole, &part(1, 1, "q", 1)]).unwrap();
        assert_eq!((other.exit_status, other.shard, other.parts.len()), (0, None, 2));
    }

    fn merge(verdicts: &[&Verdict]) -> Result<Verdict, MergeError> {
        let named = verdicts.iter().enumerate().map(|(at, v)| (format!("f{at}"), (*v).clone()));
        Verdict::merge(named.collect())
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
            let [left, right] = [left, right].map(|part| verdict(part.to_vec(), None));
            let merged = merge(&[&left, &right]).unwrap();
            prop_assert_eq!(merged.exit_status, whole.exit_status);
            prop_assert_eq!(merged.cells, whole.cells);
        }
    }
}
