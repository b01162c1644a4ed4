use std::collections::BTreeMap;

use super::super::tests::bare_cell;
use super::*;
use crate::record::{Owner, OwnerKind};
use crate::units::WindowSpec;
use crate::verdict::{Boot, CellOutcome, CellWindow, OwnerGroup, Repeat, Ruling};
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
    let cell = |healed, standing| Cell { healed, standing, ..seen("churn", CellOutcome::Pass, 1) };
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
    let cell =
        |note: &str| Cell { notes: vec![note.to_owned()], ..seen("churn", CellOutcome::Pass, 1) };
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
