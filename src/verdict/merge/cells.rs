//! Cells of several boots or shards, each once with the sum of what was seen.

use std::collections::BTreeMap;

use super::error::MergeError;
use crate::record::Phases;
use crate::verdict::cell::{Cell, CellOutcome, CellWindow, Repeat, StableWrites};
use crate::verdict::culprits::{CulpritGroup, merge_culprits};
use crate::verdict::owners::{OwnerGroup, merge_groups};

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
            Some(known) => *known = joined(known.clone(), cell)?,
            None => group.push(cell),
        }
    }
    Ok(groups.into_iter().flatten().collect())
}

fn same_group(a: &Cell, b: &Cell) -> bool {
    a.kernel == b.kernel && a.device == b.device
}

/// What two runs of one cell came to.
fn joined(one: Cell, other: Cell) -> Result<Cell, MergeError> {
    let window_us = joined_windows(&one, &other)?;
    let (ran_with, standing) = (joined_knobs(&one, &other), joined_standing(&one, &other));
    let (worse, better) =
        if rank(other.outcome) > rank(one.outcome) { (&other, &one) } else { (&one, &other) };
    // The log goes with the reason.
    let log = worse.log.clone().or_else(|| better.log.clone());
    let (outcome, reason) = (worse.outcome, worse.reason.clone());
    // Every field is named: a new one must not be dropped.
    Ok(Cell {
        kernel: one.kernel,
        device: one.device,
        fs: one.fs,
        scenario: one.scenario,
        stable_writes: one.stable_writes,
        ran_with,
        expect: one.expect,
        outcome,
        reason,
        why: one.why.or(other.why),
        control: one.control || other.control,
        writes: sum(one.writes, other.writes),
        blocks_checked: sum(one.blocks_checked, other.blocks_checked),
        races: sum(one.races, other.races),
        phases: both(one.phases, other.phases, Phases::plus),
        guard_blind: sum(one.guard_blind, other.guard_blind),
        healed: sum(one.healed, other.healed),
        standing,
        divergent: sum(one.divergent, other.divergent),
        first_catch_ms: one.first_catch_ms.or(other.first_catch_ms),
        window_us,
        owners: both(one.owners, other.owners, add_owners),
        owner_groups: both(one.owner_groups, other.owner_groups, add_groups),
        culprits: both(one.culprits, other.culprits, add_culprits),
        repeat: both(one.repeat, other.repeat, add_repeats),
        log,
        notes: [one.notes, other.notes].concat(),
    })
}

/// The knob, where both had the same; of the one that ran, where the other never did.
fn joined_knobs(one: &Cell, other: &Cell) -> Option<StableWrites> {
    match (one.writes, other.writes) {
        (Some(_), Some(_)) => one.ran_with.filter(|known| other.ran_with == Some(*known)),
        _ => one.ran_with.or(other.ran_with),
    }
}

/// What stands: not known where it is not known of one that ran.
fn joined_standing(one: &Cell, other: &Cell) -> Option<u64> {
    let unknown = |cell: &Cell| cell.healed.is_some() && cell.standing.is_none();
    if unknown(one) || unknown(other) { None } else { sum(one.standing, other.standing) }
}

/// A median of both cannot be had from two medians; that of more writes comes nearest.
fn joined_windows(one: &Cell, other: &Cell) -> Result<Option<CellWindow>, MergeError> {
    match (one.window_us, other.window_us) {
        (Some(a), Some(b)) if a.asked != b.asked => Err(MergeError::Windows(one.name())),
        (Some(a), Some(b)) => {
            let median = if other.writes > one.writes { b.median } else { a.median };
            let max = [a.max, b.max].into_iter().flatten().reduce(f64::max);
            Ok(Some(CellWindow { asked: a.asked, median, max }))
        }
        (a, b) => Ok(a.or(b)),
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

fn add_groups(mut all: Vec<OwnerGroup>, more: Vec<OwnerGroup>) -> Vec<OwnerGroup> {
    merge_groups(&mut all, &more);
    all
}

fn add_culprits(mut all: Vec<CulpritGroup>, more: Vec<CulpritGroup>) -> Vec<CulpritGroup> {
    merge_culprits(&mut all, &more);
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
