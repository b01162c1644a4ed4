//! One boot on one `dixtrapd`: cell after cell, for as long as the guest lives.

use std::path::Path;

use crate::runner::cell::result::{fill_from_records, result_of, result_words};
use crate::runner::cell::runs::CellResult;
use crate::runner::cell::{self, CellRun, End, Site};
use crate::runner::guest::Guest;
use crate::runner::guest::early::Deaths;
use crate::runner::host::blame::Blame;
use crate::runner::host::daemon::{Daemon, RECORDS};
use crate::runner::host::errors::{one_line, whole_text};
use crate::runner::host::progress::Progress;
use crate::runner::run::agenda::Agenda;
use crate::runner::run::boot_run::{BootRecords, BootRun, Lost};
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::run::start::{Ready, Start, start_guest};
use crate::runner::select::environment::Environment;
use crate::runner::select::estimate;
use crate::runner::select::plan::PlannedCell;
use crate::verdict::Expect;

/// How many of the worst blocks of each label are kept to be shown.
pub const WORST: usize = 3;

/// Boots the kernel and runs the selection's cells until the guest is lost.
pub fn run_boot(context: &Context<'_>, start: Start<'_>) -> BootRun {
    run_planned(context, start, &|around| Agenda::plan(start.selection, around))
}

/// The same without a control, and each cell only until it raced so often.
pub fn run_again(context: &Context<'_>, start: Start<'_>, enough: u64) -> BootRun {
    run_planned(context, start, &|around| Agenda::again(start.selection, around, enough))
}

fn run_planned(
    context: &Context<'_>,
    start: Start<'_>,
    plan: &dyn Fn(&Environment) -> Agenda,
) -> BootRun {
    let Start { kernel, device, selection, directory, .. } = start;
    let mut deaths = Deaths::default();
    let mut boot = match start_guest(context, start, &mut deaths) {
        Ok(ready) => {
            let mut boot = BootRun::new(ready.guest.release(), device, plan(&ready.around));
            match run_guest(context, ready, &mut boot, directory) {
                Ok(records) => BootRun { records: Some(records), ..boot },
                Err(error) => {
                    // Of a guest that came up there are records, whatever can be read of them.
                    boot.records = Some(BootRecords::default());
                    boot.lost_by(&error)
                }
            }
        }
        Err(error) => BootRun::without_guest(&kernel.release, device, selection).lost_by(&error),
    };
    boot.directory = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    boot.deaths = deaths;
    boot
}

/// Runs the cells, ends guest and disk, and reads the records.
fn run_guest(
    context: &Context<'_>,
    ready: Ready,
    boot: &mut BootRun,
    directory: &Path,
) -> Result<BootRecords, RunError> {
    // In this order: a guest goes before its disk.
    let Ready { mut daemon, mut guest, around: _, watching: _watching } = ready;
    boot.notes = guest.take_notes();
    boot.notes.tell(context.progress, directory);
    let ran = run_cells(context, &mut daemon, &mut guest, (boot, directory))?;
    // Every cell has unmounted and synced: nobody needs the time of an orderly end.
    drop(guest);
    daemon.stop()?;
    let session = fill_from_records(&directory.join(RECORDS), &ran, boot.agenda.results_mut())?;
    Ok(BootRecords {
        worst: session.offenders.worst_of_each(WORST),
        limit_reached: session.limit.is_some(),
    })
}

/// Runs the cells one after the other, and returns the runs of each.
fn run_cells(
    context: &Context<'_>,
    daemon: &mut Daemon,
    guest: &mut Guest,
    (boot, directory): (&mut BootRun, &Path),
) -> Result<Vec<Vec<CellRun>>, RunError> {
    let mut all = Vec::new();
    let (progress, cells) = (context.progress, boot.agenda.total());
    let mut site = context.site(daemon, directory, boot.device);
    while let Some((number, cell)) = boot.agenda.next()
        && !context.is_interrupted()
        && (number == 1 || context.has_time_for(estimate::cell(cell, context.pace())))
    {
        progress.begin(number, cells, &cell.spec.name());
        let ran = run_cell(context, &mut site, guest, cell)?;
        let mut result = result_of(cell, &ran);
        if context.is_interrupted() {
            result.cut_short("interrupted while it ran");
        }
        progress.end(&result_words(cell, &result));
        ran.iter().for_each(|one| one.notes.tell(progress, directory));
        show_end(progress, &ran);
        let answer = answers(cell, &result).then(|| cell.spec.name());
        boot.agenda.note(result);
        boot.lost = ran.iter().find_map(|one| lost_in(one, guest));
        all.push(ran);
        if boot.lost.is_some() {
            break;
        }
        if let Some(name) = answer {
            let why = format!("not run: {name} has answered already");
            boot.agenda.fill(&CellResult::Skipped(why));
        }
    }
    Ok(all)
}

/// Whether nothing that is left can change the answer to `--expect stable`.
fn answers(cell: &PlannedCell, result: &CellResult) -> bool {
    let CellResult::Ran(runs) = result else { return false };
    cell.asked && cell.expectation.expect == Expect::Stable && runs.races() > 0
}

/// Shows what a script that failed had printed last.
fn show_end(progress: &dyn Progress, ran: &[CellRun]) {
    let failed = |one: &&CellRun| !matches!(one.end, End::Done | End::Skipped(_));
    let Some(one) = ran.last().filter(failed).filter(|one| !one.last_lines.is_empty()) else {
        return;
    };
    progress.note("what it printed ended with:");
    for line in &one.last_lines {
        // A note each: an end of line within one is shown as its number, lest a guest writes lines of ours.
        progress.note(&format!("    {line}"));
    }
}

/// Every repetition of a cell, as long as they go well.
fn run_cell(
    context: &Context<'_>,
    site: &mut Site<'_>,
    guest: &mut Guest,
    cell: &PlannedCell,
) -> Result<Vec<CellRun>, RunError> {
    let mut all = Vec::new();
    if cell.skip.is_some() {
        return Ok(all);
    }
    for repetition in 1..=context.options.repeat {
        let ran = cell::run_once(site, guest, cell, repetition)?;
        let raced = ran.counters.races.seen_by_hardware() > 0;
        let well = matches!(ran.end, End::Done)
            && ran.unfit.is_none()
            && !(raced && cell.asked && cell.expectation.expect == Expect::Stable);
        all.push(ran);
        if !well || context.is_interrupted() {
            break;
        }
    }
    Ok(all)
}

/// What the end of a run means for the guest. One that a script hangs in can run no other cell: its
/// disk may be busy for ever.
fn lost_in(ran: &CellRun, guest: &Guest) -> Option<Lost> {
    let with_console = |reason: &str| {
        let whole = format!("{reason}{}", guest.console_tail());
        Some(Lost { blame: Blame::Kernel, reason: reason.to_owned(), whole, again: true })
    };
    match &ran.end {
        End::GuestLost(error) => {
            let blame = error.blame();
            let (reason, whole) = (one_line(error), whole_text(error));
            Some(Lost { blame, reason, whole, again: blame == Blame::Kernel })
        }
        End::Hung(reason) => with_console(reason),
        End::Done | End::Skipped(_) | End::Trouble(_) | End::Broken(_) => {
            ran.unfit.as_ref().and_then(|reason| with_console(reason))
        }
    }
}
