//! Runs a sweep: boots once, and runs the cell in rounds, each with every window once.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::runner::cell::{self, CellRun, End, Site};
use crate::runner::guest::early::Deaths;
use crate::runner::host::accel::{Accel, AccelMode};
use crate::runner::host::blame::Blame;
use crate::runner::host::daemon::RACES_LIMIT;
use crate::runner::host::device::Device;
use crate::runner::host::errors::one_line;
use crate::runner::host::machine::{DiskShape, Machine};
use crate::runner::host::progress::Progress;
use crate::runner::kernel::Kernel;
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::run::options::{Culprit, RunOptions};
use crate::runner::run::start::{Ready, Start, nothing_runs, start_guest};
use crate::runner::select::estimate::{self, Pace};
use crate::runner::select::plan::PlannedCell;
use crate::runner::select::selection::Selection;
use crate::units::WindowSpec;
use crate::verdict::Expect;

use super::order::rounds;
use super::point::{Figures, Point, Repetition};
use super::result::{SCHEMA, Sweep};

/// Why there is no sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// There is no guest, or no disk.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The choice is not of one cell.
    #[error(
        "a sweep takes one cell, and this choice has {0}: name one --scenario, one --fs and --stable-writes on or off"
    )]
    NotOneCell(usize),
    /// The cell cannot run.
    #[error("{0} cannot run: {1}")]
    Skipped(String, String),
    /// The script of the cell has a mistake.
    #[error("{0}: {1}")]
    Broken(String, String),
    /// The daemon does not count what a sweep is about.
    #[error("dixtrapd does not count the writes that raced: are both programs of one version?")]
    Uncounted,
}

impl SweepError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            SweepError::Run(error) => error.blame(),
            SweepError::Skipped(..) => Blame::Kernel,
            SweepError::NotOneCell(_) | SweepError::Broken(..) | SweepError::Uncounted => {
                Blame::Host
            }
        }
    }
}

/// What to sweep over.
#[derive(Debug)]
pub struct SweepOptions<'a> {
    /// The windows, in their order.
    pub windows: &'a [WindowSpec],
    /// The window to tell of, in microseconds.
    pub fetch_us: f64,
    /// KVM or TCG.
    pub accel: AccelMode,
    /// How long the scenario writes with each window, in all repetitions together.
    pub seconds: u32,
    /// In how many repetitions, of a second at least.
    pub repeat: NonZeroU32,
    /// CPUs of the guest, unless the machine has a number of its own.
    pub cpus: u32,
    /// What the guest is given.
    pub machine: &'a Machine,
    /// The disk under test.
    pub disk: DiskShape,
    /// How long one repetition may take.
    pub timeout: Option<Duration>,
    /// The seed of every random draw.
    pub seed: u64,
    /// An empty directory for the files of the boot.
    pub directory: &'a Path,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// Set when the user wants an end.
    pub interrupted: &'a AtomicBool,
}

impl SweepOptions<'_> {
    /// How long the scenario writes in one repetition.
    fn seconds_each(&self) -> u32 {
        self.seconds.div_ceil(self.repeat.get()).max(1)
    }
}

/// Sweeps the one cell of `selection` on `kernel`. What a window could not be measured for is told at
/// its point.
///
/// # Errors
/// When there is no guest to sweep on; [`SweepError::NotOneCell`] where the selection has more cells.
pub fn sweep(
    options: &SweepOptions<'_>,
    (kernel, device): (&Kernel, Device),
    selection: &Selection,
) -> Result<Sweep, SweepError> {
    let [spec] = selection.chosen() else {
        return Err(SweepError::NotOneCell(selection.len()));
    };
    if let Some(why) =
        nothing_runs(kernel, device, options.disk, selection).and_then(|known| known.obstacle(spec))
    {
        return Err(SweepError::Skipped(spec.name(), why));
    }
    let accel = Mutex::new(None);
    let run = RunOptions {
        accel: options.accel,
        window: options.windows.first().copied().unwrap_or(WindowSpec::Hold),
        seconds: options.seconds_each(),
        repeat: options.repeat.get(),
        seed: options.seed,
        races_limit: RACES_LIMIT,
        culprit: Culprit::Off,
        out: options.directory.to_owned(),
        machine: options.machine.clone(),
        disk: options.disk,
        timeout: options.timeout,
    };
    let context = Context {
        options: &run,
        cpus: options.cpus,
        accel: &accel,
        progress: options.progress,
        interrupted: options.interrupted,
        until: None,
    };
    let mut deaths = Deaths::default();
    let directory = options.directory;
    let start = Start { kernel, device, selection, directory, watched: false };
    let mut ready = start_guest(&context, start, &mut deaths)?;
    let mut sweep = Sweep {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: ready.guest.release().to_owned(),
        cell: spec.name(),
        accel: accel_name(&accel).to_owned(),
        seconds: options.seconds_each().saturating_mul(options.repeat.get()),
        repeat: options.repeat.get(),
        points: Vec::new(),
        fit: None,
        estimate: None,
    };
    let planned = selection.expected(&ready.around);
    let ran = run_windows(options, device, &mut ready, planned)?;
    end(ready)?;
    sweep.points = points(options.windows, &ran)?;
    sweep.conclude(options.fetch_us);
    Ok(sweep)
}

fn accel_name(accel: &Mutex<Option<Accel>>) -> &'static str {
    match *accel.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(Accel::Kvm) => "kvm",
        _ => "tcg",
    }
}

/// Runs the one cell of `planned`, round after round, each with every window; by the window's number.
fn run_windows(
    options: &SweepOptions<'_>,
    device: Device,
    ready: &mut Ready,
    planned: Vec<PlannedCell>,
) -> Result<Vec<(usize, CellRun)>, SweepError> {
    let Some(mut cell) = planned.into_iter().next() else { return Ok(Vec::new()) };
    let name = cell.spec.name();
    if let Some(reason) = &cell.skip {
        return Err(SweepError::Skipped(name, reason.clone()));
    }
    // A cell that is expected to race would end at its first race.
    cell.expectation.expect = Expect::Survey;
    options.progress.note(&forecast(options, &cell));
    let order = rounds(options.windows.len(), options.repeat.get(), options.seed).concat();
    let mut all = Vec::new();
    for (number, at) in order.iter().enumerate() {
        let Some(window) = options.windows.get(*at) else { continue };
        if options.interrupted.load(Ordering::Relaxed) {
            break;
        }
        let title = format!("{name}, window {window}");
        options.progress.begin(number.saturating_add(1), order.len(), &title);
        let ran = run_window(options, device, ready, &cell, (number, *window))?;
        let lost = matches!(ran.end, End::GuestLost(_) | End::Hung(_)) || ran.unfit.is_some();
        if let End::Skipped(reason) = &ran.end {
            return Err(SweepError::Skipped(name, reason.clone()));
        }
        if let End::Broken(reason) = &ran.end {
            return Err(SweepError::Broken(name, reason.clone()));
        }
        options.progress.end(&words(&ran));
        all.push((*at, ran));
        if lost {
            break;
        }
    }
    Ok(all)
}

/// How long it will take, about.
fn forecast(options: &SweepOptions<'_>, cell: &PlannedCell) -> String {
    let (windows, repeat, seconds) =
        (options.windows.len(), options.repeat.get(), options.seconds_each());
    let once = estimate::cell(cell, Pace { seconds, repeat });
    let whole = once.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
    format!(
        "{windows} window{}, {repeat} repetition{} of {seconds} s each: about {} s",
        if windows == 1 { "" } else { "s" },
        if repeat == 1 { "" } else { "s" },
        whole.as_secs()
    )
}

fn run_window(
    options: &SweepOptions<'_>,
    device: Device,
    ready: &mut Ready,
    cell: &PlannedCell,
    (number, window): (usize, WindowSpec),
) -> Result<CellRun, RunError> {
    let mut site = Site {
        daemon: &mut ready.daemon,
        progress: options.progress,
        interrupted: options.interrupted,
        directory: options.directory,
        disk: device.path(),
        window,
        seconds: options.seconds_each(),
        timeout: options.timeout,
    };
    // The labels have to differ.
    let repetition = u32::try_from(number.saturating_add(1)).unwrap_or(u32::MAX);
    Ok(cell::run_once(&mut site, &mut ready.guest, cell, repetition)?)
}

fn words(ran: &CellRun) -> String {
    let counters = &ran.counters;
    let trouble = trouble(&ran.end).map_or_else(String::new, |why| format!("; {why}"));
    format!("{}{trouble}", counters.races.words(counters.blocks_checked))
}

fn trouble(end: &End) -> Option<String> {
    match end {
        End::Done => None,
        End::Skipped(why) | End::Trouble(why) | End::Broken(why) | End::Hung(why) => {
            Some(why.clone())
        }
        End::GuestLost(error) => Some(one_line(error)),
    }
}

/// Ends the guest, then its disk, so that the records are whole.
fn end(ready: Ready) -> Result<(), SweepError> {
    let Ready { guest, daemon, .. } = ready;
    drop(guest);
    Ok(daemon.stop().map_err(RunError::from)?)
}

/// A point for each window that was run at all.
fn points(windows: &[WindowSpec], ran: &[(usize, CellRun)]) -> Result<Vec<Point>, SweepError> {
    let mut points = Vec::new();
    for (number, asked) in windows.iter().enumerate() {
        let mine = ran.iter().filter(|(at, _)| *at == number);
        let repetitions: Vec<Repetition> =
            mine.map(|(_, ran)| repetition(ran)).collect::<Result<_, _>>()?;
        if !repetitions.is_empty() {
            points.push(Point::of(*asked, repetitions));
        }
    }
    Ok(points)
}

/// From the daemon's counters alone: its records may have reached their limit.
fn repetition(ran: &CellRun) -> Result<Repetition, SweepError> {
    let counters = &ran.counters;
    let figures = Figures {
        median_us: counters.window_us.map(|window| window.median),
        max_us: counters.window_us.map(|window| window.max),
        writes: counters.writes,
        raced_writes: counters.raced_writes.ok_or(SweepError::Uncounted)?,
        blocks_checked: counters.blocks_checked,
        races: counters.races.seen_by_hardware(),
    };
    Ok(Repetition { label: ran.label.clone(), figures, trouble: trouble(&ran.end) })
}
