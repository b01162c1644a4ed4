//! From what was planned and what happened to the cells of the verdict. Pure.

use std::collections::BTreeMap;

use crate::runner::cell::runs::CellResult;
use crate::runner::select::plan::PlannedCell;
use crate::units::WindowSpec;
use crate::verdict::{Cell, CellOutcome, CellWindow, ControlEvidence, OwnerGroup, judge};

/// Where the cells ran.
#[derive(Debug, Clone, Copy)]
pub struct BootInfo<'a> {
    /// The guest's release, or the kernel as it was asked for.
    pub kernel: &'a str,
    /// `blk` or `scsi`.
    pub device: &'a str,
    /// The window asked for.
    pub window: WindowSpec,
}

/// The cells of one boot, judged. A clean cell passes only if a control of this boot was caught.
pub fn judge_cells(
    boot: BootInfo<'_>,
    planned: &[PlannedCell],
    results: &[CellResult],
) -> Vec<Cell> {
    let caught: Vec<bool> = planned
        .iter()
        .zip(results)
        .map(|(cell, result)| cell.expectation.control && raced(result))
        .collect();
    planned
        .iter()
        .zip(results)
        .enumerate()
        .map(|(at, (cell, result))| {
            let others = caught.iter().enumerate().any(|(other, caught)| other != at && *caught);
            let control =
                ControlEvidence { is_control: cell.expectation.control, proven_by_another: others };
            judge_one(boot, cell, result, control)
        })
        .collect()
}

fn raced(result: &CellResult) -> bool {
    matches!(result, CellResult::Ran(runs) if runs.seen.repeat.k > 0)
}

fn judge_one(
    boot: BootInfo<'_>,
    cell: &PlannedCell,
    result: &CellResult,
    control: ControlEvidence,
) -> Cell {
    match result {
        CellResult::Skipped(reason) => blank(boot, cell, CellOutcome::Skip, Some(reason.clone())),
        CellResult::Lost(reason) => blank(boot, cell, CellOutcome::Error, Some(reason.clone())),
        CellResult::Ran(runs) => {
            let (seen, few) = (&runs.seen, cell.spec.scenario.min_blocks);
            let (outcome, reason) = judge(cell.expectation.expect, control, seen, few);
            let counters = &seen.counters;
            let (healed, standing) = runs.fates();
            Cell {
                writes: Some(counters.writes),
                blocks_checked: Some(counters.blocks_checked),
                races: Some(runs.races()),
                phases: Some(counters.races),
                guard_blind: Some(counters.guard_blind),
                healed: Some(healed),
                standing,
                divergent: seen.divergent,
                first_catch_ms: runs.first_catch_ms,
                window_us: Some(CellWindow {
                    asked: boot.window,
                    median: runs.median(),
                    max: counters.window_us.map(|window| window.max),
                }),
                repeat: Some(seen.repeat),
                owners: runs.owners.as_ref().map(|groups| by_name(groups)),
                owner_groups: runs.owners.clone(),
                culprits: runs.culprits.clone(),
                log: runs.log.clone(),
                notes: runs.notes.lines(),
                ran_with: runs.knob(),
                ..blank(boot, cell, outcome, reason)
            }
        }
    }
}

fn by_name(groups: &[OwnerGroup]) -> BTreeMap<String, u64> {
    groups.iter().map(|group| (group.name.clone(), group.races)).collect()
}

/// A cell without any figure.
fn blank(
    boot: BootInfo<'_>,
    cell: &PlannedCell,
    outcome: CellOutcome,
    reason: Option<String>,
) -> Cell {
    let spec = &cell.spec;
    let cell_of = Cell::unmeasured(
        (boot.kernel, boot.device),
        (&spec.scenario.name, &spec.fs.name, spec.stable_writes),
        (cell.expectation.expect, cell.expectation.control),
        (outcome, reason),
    );
    Cell { why: cell.expectation.why.clone(), ..cell_of }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Counters, Phases, WindowStats};
    use crate::runner::cell::runs::Runs;
    use crate::runner::select::catalogue::Catalogue;
    use crate::runner::select::environment::Environment;
    use crate::runner::select::selection::Selection;
    use crate::verdict::Repeat;

    const BOOT: BootInfo = BootInfo {
        kernel: "6.1.0",
        device: "blk",
        window: WindowSpec::Fixed(std::time::Duration::from_millis(1)),
    };

    /// `mmap-rewrite` on ext4: first off, which is a control, then on, which must be stable.
    fn two_cells() -> Vec<PlannedCell> {
        let words = |word: &str| vec![word.to_owned()];
        let catalogue = Catalogue::embedded().unwrap();
        let selection = Selection::new(catalogue, &words("mmap-rewrite"), &words("ext4")).unwrap();
        let guest = Some(crate::runner::select::table::tests::guest("6.1.0"));
        selection.plan(&Environment { guest, ..Environment::default() })
    }

    fn ran(runs: &[(u64, u64, f64)]) -> CellResult {
        let mut all = Runs::default();
        for (checked, in_window, median) in runs {
            all.add(
                &Counters {
                    blocks_checked: *checked,
                    races: Phases { in_window: *in_window, ..Phases::default() },
                    window_us: Some(WindowStats { median: *median, max: median * 2.0 }),
                    ..Counters::default()
                },
                None,
            );
        }
        CellResult::Ran(Box::new(all))
    }

    fn outcomes(results: &[CellResult]) -> Vec<CellOutcome> {
        judge_cells(BOOT, &two_cells(), results).iter().map(|cell| cell.outcome).collect()
    }

    #[test]
    fn a_clean_cell_stands_and_falls_with_the_control_of_its_boot() {
        use CellOutcome::{Error, Fail, Pass};
        let clean = ran(&[(5_000, 0, 1.0)]);
        let raced = ran(&[(5_000, 9, 1.0)]);
        let lost = CellResult::Lost("QEMU died".into());
        assert_eq!(outcomes(&[raced.clone(), clean.clone()]), [Pass, Pass]);
        assert_eq!(outcomes(&[clean.clone(), clean.clone()]), [Error, Error]);
        assert_eq!(outcomes(&[lost.clone(), clean]), [Error, Error]);
        assert_eq!(outcomes(&[lost, raced]), [Error, Fail]);
    }

    #[test]
    fn races_that_were_covered_after_the_cell_do_not_stand() {
        let mut runs = Runs { healed_and_standing: Some((7, Some(2))), ..Runs::default() };
        runs.add(
            &Counters {
                races: Phases { in_window: 9, ..Phases::default() },
                healed: 2,
                standing: 7,
                ..Counters::default()
            },
            None,
        );
        let cells = judge_cells(BOOT, &two_cells(), &[CellResult::Ran(Box::new(runs.clone()))]);
        assert_eq!((cells[0].healed, cells[0].standing), (Some(7), Some(2)));
        runs.healed_and_standing = Some((7, None));
        let cells = judge_cells(BOOT, &two_cells(), &[CellResult::Ran(Box::new(runs.clone()))]);
        assert_eq!((cells[0].healed, cells[0].standing), (Some(7), None), "nobody knows");
        // No records: two were covered within the cell, and nobody saw what came after it.
        runs.healed_and_standing = None;
        let result = [CellResult::Ran(Box::new(runs.clone()))];
        let cells = judge_cells(BOOT, &two_cells(), &result);
        assert_eq!((cells[0].healed, cells[0].standing), (Some(2), None));
        runs.seen.counters.healed = 9;
        let cells = judge_cells(BOOT, &two_cells(), &[CellResult::Ran(Box::new(runs))]);
        assert_eq!((cells[0].healed, cells[0].standing), (Some(9), Some(0)));
    }

    #[test]
    fn repetitions_are_summed_and_counted() {
        let runs = [(1_000, 0, 1.0), (2_000, 3, 9.0), (3_000, 4, 2.0)];
        let cells =
            judge_cells(BOOT, &two_cells(), &[ran(&runs), CellResult::Skipped("no".into())]);
        let first = &cells[0];
        assert_eq!((first.blocks_checked, first.races), (Some(6_000), Some(7)));
        assert_eq!(first.repeat, Some(Repeat { k: 2, n: 3 }));
        let window = first.window_us.unwrap();
        assert_eq!((window.median, window.max), (Some(2.0), Some(18.0)));
        assert_eq!((cells[1].races, cells[1].repeat), (None, None));
        assert_eq!(cells[1].reason.as_deref(), Some("no"));
        // Why it was expected is told whatever became of the cell.
        assert!(cells.iter().all(|cell| cell.why.is_some()), "{cells:?}");
    }
}
