//! Runs a sweep: boots once, and runs the cell in rounds, each with every window once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::record::{Line, Record};
use crate::runner::cell::{self, CellRun, End, Site};
use crate::runner::guest::early::Deaths;
use crate::runner::host::accel::{Accel, AccelMode};
use crate::runner::host::blame::Blame;
use crate::runner::host::daemon::RACES_LIMIT;
use crate::runner::host::daemon::RECORDS;
use crate::runner::host::device::Device;
use crate::runner::host::errors::one_line;
use crate::runner::host::machine::{DiskShape, Machine};
use crate::runner::host::progress::Progress;
use crate::runner::kernel::Kernel;
use crate::runner::run::boot_run::{Ready, nothing_runs, start_guest};
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::run::options::RunOptions;
use crate::runner::select::estimate::{self, Pace};
use crate::runner::select::plan::{PlannedCell, Selection};
use crate::units::WindowSpec;
use crate::verdict::Expect;

use super::order::rounds;
use super::point::{Point, Repetition};
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
    /// The records cannot be read.
    #[error("cannot read the records of the sweep")]
    Records(#[source] std::io::Error),
}

impl SweepError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            SweepError::Run(error) => error.blame(),
            SweepError::Skipped(..) => Blame::Kernel,
            SweepError::NotOneCell(_) | SweepError::Broken(..) | SweepError::Records(_) => {
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
        culprit: false,
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
    };
    let mut deaths = Deaths::default();
    let mut ready =
        start_guest(&context, (kernel, device), selection, options.directory, &mut deaths)?;
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
    let ran = run_windows(options, device, &mut ready, &sweep.cell)?;
    end(ready)?;
    let raced = raced_writes(&options.directory.join(RECORDS)).map_err(SweepError::Records)?;
    sweep.points = points(options.windows, &ran, &raced);
    sweep.conclude(options.fetch_us);
    Ok(sweep)
}

fn accel_name(accel: &Mutex<Option<Accel>>) -> &'static str {
    match *accel.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(Accel::Kvm) => "kvm",
        _ => "tcg",
    }
}

/// Runs the cell called `name`, round after round, each with every window; by the window's number. The plan
/// may hold a control as well, which a sweep has no use for.
fn run_windows(
    options: &SweepOptions<'_>,
    device: Device,
    ready: &mut Ready,
    name: &str,
) -> Result<Vec<(usize, CellRun)>, SweepError> {
    let planned = ready.planned.iter().find(|cell| cell.spec.name() == name).cloned();
    let Some(mut cell) = planned else { return Ok(Vec::new()) };
    if let Some(reason) = &cell.skip {
        return Err(SweepError::Skipped(name.to_owned(), reason.clone()));
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
            return Err(SweepError::Skipped(name.to_owned(), reason.clone()));
        }
        if let End::Broken(reason) = &ran.end {
            return Err(SweepError::Broken(name.to_owned(), reason.clone()));
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
fn points(
    windows: &[WindowSpec],
    ran: &[(usize, CellRun)],
    raced: &HashMap<String, u64>,
) -> Vec<Point> {
    let of = |(number, asked): (usize, &WindowSpec)| {
        let mine = ran.iter().filter(|(at, _)| *at == number);
        let repetitions: Vec<Repetition> = mine.map(|(_, ran)| repetition(ran, raced)).collect();
        (!repetitions.is_empty()).then(|| Point::of(*asked, repetitions))
    };
    windows.iter().enumerate().filter_map(of).collect()
}

fn repetition(ran: &CellRun, raced: &HashMap<String, u64>) -> Repetition {
    let counters = &ran.counters;
    Repetition {
        label: ran.label.clone(),
        median_us: counters.window_us.map(|window| window.median),
        max_us: counters.window_us.map(|window| window.max),
        writes: counters.writes,
        raced_writes: raced.get(&ran.label).copied().unwrap_or(0),
        blocks_checked: counters.blocks_checked,
        races: counters.races.seen_by_hardware(),
        trouble: trouble(&ran.end),
    }
}

/// By label: the writes in which at least one block raced. A label's counters know blocks only.
fn raced_writes(records: &Path) -> std::io::Result<HashMap<String, u64>> {
    let mut requests: HashMap<String, HashSet<u64>> = HashMap::new();
    for line in BufReader::new(File::open(records)?).lines() {
        let Line { record, .. } = serde_json::from_str(&line?)?;
        if let Record::Race(race) = record
            && race.phase.is_seen_by_hardware()
            && let Some(label) = race.label
        {
            requests.entry(label).or_default().insert(race.request.id);
        }
    }
    let count = |ids: HashSet<u64>| u64::try_from(ids.len()).unwrap_or(u64::MAX);
    Ok(requests.into_iter().map(|(label, ids)| (label, count(ids))).collect())
}
