//! `--culprit auto`: cells that raced where none may run once more in a boot with every store watched, so that
//! the first failure already has a name. What the first look came to stands: a second one adds who did it.

use std::time::{Duration, Instant};

use crate::runner::host::device::Device;
use crate::runner::host::outdir;
use crate::runner::host::watching::watching;
use crate::runner::kernel::Kernel;
use crate::runner::run::boot::run_again;
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::run::options::{Culprit, RunOptions};
use crate::runner::run::start::Start;
use crate::runner::select::selection::Selection;
use crate::verdict::{Cell, Expect, SECOND_LOOK};

/// A cell that is looked at again ends with so many races: enough to tell who does it most.
const ENOUGH: u64 = 64;
/// How many cells of a kernel are looked at again.
const MOST: usize = 4;

/// Looks again at those of `cells` that raced where none may, for no longer than the first look took, and adds
/// what comes of it to them.
pub fn look_again(
    context: &Context<'_>,
    (kernel, device): (&Kernel, Device),
    selection: &Selection,
    (cells, first): (&mut [Cell], Duration),
) {
    // A bisection asks one question, and who did it is another one.
    let asked = selection.asks().is_some();
    let mut wanted: Vec<&mut Cell> = cells.iter_mut().filter(|cell| is_wanted(cell)).collect();
    let over = context.is_interrupted() || context.options.culprit != Culprit::Auto;
    if over || asked || wanted.is_empty() {
        return;
    }
    if let Err(reason) = can_watch(context) {
        context.progress.note(&format!("nobody will be named for races: {reason}"));
        wanted.iter_mut().for_each(|cell| add(cell, &format!("there was none: {reason}")));
        return;
    }
    let later = wanted.split_off(MOST.min(wanted.len()));
    for cell in later {
        add(cell, &format!("there was none: {MOST} other cells had one; --culprit on watches all"));
    }
    let names: Vec<String> = wanted.iter().map(|cell| cell.name()).collect();
    let again = selection.named(&names);
    context.progress.note(&format!(
        "looking again at {}, with every store watched",
        if names.len() == 1 { "it".to_owned() } else { format!("{} cells", names.len()) }
    ));
    let seen = watched_boot(context, (kernel, device), &again, first);
    for cell in wanted {
        take_over(cell, &seen);
    }
}

/// It was to be stable and raced, and nobody knows by whose doing.
fn is_wanted(cell: &Cell) -> bool {
    cell.expect == Expect::Stable
        && cell.races.is_some_and(|races| races > 0)
        && cell.culprits.is_none()
}

fn can_watch(context: &Context<'_>) -> Result<(), String> {
    let accel = context.known_accel().ok_or("no guest came up")?;
    watching(context.options.machine.qemu.as_deref(), accel).map(drop)
}

/// The cells of the second look, as they would be judged if they were the only ones; or why there are none.
fn watched_boot(
    context: &Context<'_>,
    (kernel, device): (&Kernel, Device),
    selection: &Selection,
    first: Duration,
) -> Result<Vec<Cell>, String> {
    let out = &context.options.out;
    let directory = outdir::make_boot_directory(out)
        .map_err(|source| RunError::Output(out.clone(), source).to_string())?;
    let options = RunOptions { repeat: 1, ..context.options.clone() };
    let until = Instant::now().checked_add(first);
    let context = Context { options: &options, until, ..*context };
    let start = Start { kernel, device, selection, directory: &directory, watched: true };
    let mut boot = run_again(&context, start, ENOUGH);
    let why = boot.lost.as_ref().map_or("there was no time for it", |lost| lost.reason.as_str());
    let why = if context.is_interrupted() { "it was interrupted" } else { why }.to_owned();
    boot.give_up(&why);
    Ok(boot.judge_cells(options.window))
}

/// Adds to a cell what its second look came to.
fn take_over(cell: &mut Cell, seen: &Result<Vec<Cell>, String>) {
    let name = cell.name();
    let again = match seen {
        Ok(cells) => cells.iter().find(|again| again.name() == name),
        Err(reason) => return add(cell, &format!("it came to nothing: {reason}")),
    };
    let Some(again) = again else { return add(cell, "it came to nothing") };
    let (races, checked) = (again.races.unwrap_or(0), again.blocks_checked.unwrap_or(0));
    let culprits = again.culprits.clone().unwrap_or_default();
    let words = match (races, culprits.is_empty()) {
        (0, _) => match &again.reason {
            Some(reason) if checked == 0 => format!("it came to nothing: {reason}"),
            _ => format!(
                "none of {checked} blocks raced when it ran once more with every store watched: who did it is \
                 not known"
            ),
        },
        (_, true) => format!(
            "{races} of {checked} blocks raced when it ran once more with every store watched, and no store \
             explains one of them"
        ),
        (_, false) => format!(
            "the culprits are those of {races} races of {checked} blocks when it ran once more with every store \
             watched"
        ),
    };
    add(cell, &words);
    if !culprits.is_empty() {
        cell.culprits = Some(culprits);
    }
}

fn add(cell: &mut Cell, words: &str) {
    cell.notes.push(format!("{SECOND_LOOK}{words}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{CellOutcome, CulpritGroup};

    fn cell(expect: Expect, races: Option<u64>) -> Cell {
        let known = Cell::unmeasured(
            ("6.1.0", "blk"),
            ("churn", "ext4", None),
            (expect, false),
            (CellOutcome::Fail, Some("raced".into())),
        );
        Cell { races, blocks_checked: races.map(|races| races * 10), ..known }
    }

    #[test]
    fn only_what_raced_where_none_may_is_looked_at_again() {
        assert!(is_wanted(&cell(Expect::Stable, Some(1))));
        let named = Cell { culprits: Some(Vec::new()), ..cell(Expect::Stable, Some(1)) };
        for other in [
            cell(Expect::Stable, Some(0)),
            cell(Expect::Stable, None),
            cell(Expect::Race, Some(9)),
            cell(Expect::Survey, Some(9)),
            named,
        ] {
            assert!(!is_wanted(&other), "{other:?}");
        }
    }

    #[test]
    fn a_second_look_adds_names_and_changes_nothing_else() {
        let group = CulpritGroup { symbol: "f+0x1".into(), races: 3, stack: vec!["g+0x2".into()] };
        let first = cell(Expect::Stable, Some(2));
        let told = |seen: Result<Vec<Cell>, String>| {
            let mut cell = first.clone();
            take_over(&mut cell, &seen);
            let same = Cell { notes: Vec::new(), culprits: None, ..cell.clone() };
            assert_eq!(same, first);
            assert_eq!(cell.notes.len(), 1);
            assert!(cell.notes[0].starts_with(SECOND_LOOK), "{:?}", cell.notes);
            (cell.notes[0].clone(), cell.culprits)
        };
        let named = Cell { culprits: Some(vec![group.clone()]), ..cell(Expect::Stable, Some(5)) };
        let (note, culprits) = told(Ok(vec![named]));
        assert!(note.contains("those of 5 races of 50 blocks"), "{note}");
        assert_eq!(culprits, Some(vec![group]));
        for (seen, words) in [
            (Ok(vec![Cell { culprits: Some(vec![]), ..first.clone() }]), "no store explains"),
            (Ok(vec![first.clone()]), "no store explains"),
            (
                Ok(vec![Cell { blocks_checked: Some(70), ..cell(Expect::Stable, Some(0)) }]),
                "none of 70 blocks raced",
            ),
            (
                Ok(vec![Cell { reason: Some("QEMU died".into()), ..cell(Expect::Stable, None) }]),
                "it came to nothing: QEMU died",
            ),
            (Ok(vec![]), "it came to nothing"),
            (Err("the disk is full".into()), "it came to nothing: the disk is full"),
        ] {
            let (note, culprits) = told(seen);
            assert!(note.contains(words) && culprits.is_none(), "{note}");
        }
    }
}
