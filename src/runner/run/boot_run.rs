//! One boot on one `dixtrapd`: cell after cell, for as long as the guest lives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runner::cell::judge::{BootInfo, CellResult, judge_cells};
use crate::runner::cell::result::{fill_from_records, result_of, result_words};
use crate::runner::cell::{self, CellRun, End, Site};
use crate::runner::guest::early::{self, Deaths};
use crate::runner::guest::facts::look_up;
use crate::runner::guest::files::{Programs, guest_files};
use crate::runner::guest::notes::Notes;
use crate::runner::guest::{BootError, BootRequest, Exec, Guest};
use crate::runner::host::accel::Accel;
use crate::runner::host::blame::Blame;
use crate::runner::host::daemon::{Daemon, DaemonOptions, RECORDS};
use crate::runner::host::device::Device;
use crate::runner::host::errors::{one_line, whole_text};
use crate::runner::host::machine::DiskShape;
use crate::runner::host::progress::Progress;
use crate::runner::host::watching::{Watching, watching};
use crate::runner::kernel::Kernel;
use crate::runner::kernel::modules;
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::select::plan::{Environment, PlannedCell, Selection};
use crate::units::WindowSpec;
use crate::verdict::{self, Cell, CellOutcome, Expect};

/// How long the guest may take to find its disk.
const DISK_LIMIT: Duration = Duration::from_secs(60);

/// Why a boot ended before its last cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Whose fault it was.
    pub blame: Blame,
    /// In one line.
    pub reason: String,
    /// With the console's end.
    pub whole: String,
    /// A fresh boot may still run the cells that are left.
    pub again: bool,
}

impl Lost {
    fn by(error: &RunError) -> Lost {
        let (reason, whole) = (one_line(error), whole_text(error));
        Lost { blame: error.blame(), reason, whole, again: false }
    }
}

/// What is known of a boot.
#[derive(Debug)]
pub struct BootRun {
    /// The guest's release; before it told, the image's.
    pub kernel: String,
    /// The device.
    device: Device,
    /// Every cell that this boot was for.
    planned: Vec<PlannedCell>,
    /// How many of them the selection had: the rest are controls that come before them.
    chosen: usize,
    /// What became of them, as far as it got.
    results: Vec<CellResult>,
    /// Why it ended early.
    pub lost: Option<Lost>,
    /// The name of the boot's directory, once there is one.
    directory: Option<String>,
    /// The kernels that died before their agents answered.
    deaths: Deaths,
    /// What the kernel said of itself before the first cell, and went on after.
    notes: Notes,
    /// The records; `None` where the kernel did not come up.
    pub records: Option<PathBuf>,
    /// They reached their limit, and do not hold everything.
    pub limit_reached: bool,
}

impl BootRun {
    /// Before anything is known of the guest.
    pub fn not_started(kernel: &str, device: Device, selection: &Selection) -> BootRun {
        BootRun {
            kernel: kernel.to_owned(),
            device,
            planned: selection.plan(&Environment { device, ..Environment::default() }),
            chosen: selection.len(),
            results: Vec::new(),
            lost: None,
            directory: None,
            deaths: Deaths::default(),
            notes: Notes::default(),
            records: None,
            limit_reached: false,
        }
    }

    /// Nothing that is known to lack something here needs a guest to say so: where every chosen cell
    /// does, the boot is over before it began. A control alone would prove nothing about anything.
    pub fn not_needed(
        disk: DiskShape,
        (kernel, device): (&Kernel, Device),
        selection: &Selection,
    ) -> Option<BootRun> {
        let known = nothing_runs(kernel, device, disk, selection)?;
        let mut planned = selection.plan(&known);
        planned.retain(|cell| cell.skip.is_some());
        let reasons = planned.iter().filter_map(|cell| cell.skip.clone());
        let results = reasons.map(CellResult::Skipped).collect();
        let not_started = BootRun::not_started(&kernel.release, device, selection);
        Some(BootRun { planned, results, ..not_started })
    }

    /// It ended before it began.
    pub fn lost_by(mut self, error: &RunError) -> BootRun {
        self.lost = Some(Lost::by(error));
        self
    }

    /// The number of the first chosen cell that was not reached.
    pub fn reached(&self) -> usize {
        let added = self.planned.len().saturating_sub(self.chosen);
        self.results.len().saturating_sub(added)
    }

    /// Accounts for the cells that were not reached: each is lost for this reason.
    pub fn give_up(&mut self, reason: &str) {
        self.results.resize_with(self.planned.len(), || CellResult::Lost(reason.to_owned()));
    }

    /// Whether one of `cells`, those of this boot, has no result because of its own script.
    pub fn has_broken_script(&self, cells: &[Cell]) -> bool {
        let broken =
            |result: &CellResult| matches!(result, CellResult::Ran(runs) if runs.broken_script);
        let without = |cell: &Cell| cell.outcome == CellOutcome::Error;
        self.results.iter().zip(cells).any(|(result, cell)| broken(result) && without(cell))
    }

    /// What is to be told of the boot beside its cells.
    pub fn told(&self) -> verdict::Boot {
        verdict::Boot {
            kernel: self.kernel.clone(),
            device: self.device.name().to_owned(),
            directory: self.directory.clone(),
            tries: self.deaths.tries(),
            early_deaths: self.deaths.lines().to_vec(),
            notes: self.notes.lines(),
        }
    }

    /// The cells that have a result, judged.
    pub fn judge_cells(&self, window: WindowSpec) -> Vec<Cell> {
        let info = BootInfo { kernel: &self.kernel, device: self.device.name(), window };
        let planned = self.planned.get(..self.results.len()).unwrap_or(&self.planned);
        judge_cells(info, planned, &self.results)
    }
}

/// What is known of a guest that no cell of the selection can run on, where that is known before it is
/// booted: by the programs of this machine, the disk's shape and the kernel's modules.
pub fn nothing_runs(
    kernel: &Kernel,
    device: Device,
    disk: DiskShape,
    selection: &Selection,
) -> Option<Environment> {
    let Programs { missing, stranded, .. } = Programs::find(selection);
    let mut known = Environment {
        device,
        disk,
        missing_programs: missing,
        stranded_programs: stranded,
        ..Environment::default()
    };
    while let Some(cell) = selection.chosen().iter().find(|cell| known.obstacle(cell).is_none()) {
        let drivers: Vec<String> = cell.drivers().cloned().collect();
        // Whatever is wrong with the modules, the boot will tell.
        let lacks = modules::resolve(kernel.modules.as_ref(), &[], &drivers).ok()?.missing;
        if lacks.is_empty() {
            return None;
        }
        known.missing_drivers.extend(lacks);
    }
    Some(known)
}

/// Boots `kernel` in `directory` and runs the selection's cells until the guest is lost.
pub fn run_boot(
    context: &Context<'_>,
    (kernel, device): (&Kernel, Device),
    selection: &Selection,
    directory: &Path,
) -> BootRun {
    let mut boot = BootRun::not_started(&kernel.release, device, selection);
    boot.directory = directory.file_name().map(|name| name.to_string_lossy().into_owned());
    if let Err(error) = try_run(context, kernel, selection, directory, &mut boot) {
        boot.lost.get_or_insert(Lost::by(&error));
    }
    boot
}

fn try_run(
    context: &Context<'_>,
    kernel: &Kernel,
    selection: &Selection,
    directory: &Path,
    boot: &mut BootRun,
) -> Result<(), RunError> {
    let device = boot.device;
    let ready = start_guest(context, (kernel, device), selection, directory, &mut boot.deaths)?;
    // In this order: a guest goes before its disk.
    let Ready { mut daemon, mut guest, planned, watching: _watching } = ready;
    boot.records = Some(directory.join(RECORDS));
    guest.release().clone_into(&mut boot.kernel);
    boot.planned = planned;
    boot.notes = guest.take_notes();
    boot.notes.tell(context.progress, directory);
    let labels = run_cells(context, &mut daemon, &mut guest, (boot, directory))?;
    // Every cell has unmounted and synced: nobody needs the time of an orderly end.
    drop(guest);
    daemon.stop()?;
    boot.limit_reached = fill_from_records(&directory.join(RECORDS), &labels, &mut boot.results)?;
    Ok(())
}

/// A guest on its daemon, and what is planned for it. Dropped, the guest goes before its disk.
#[derive(Debug)]
pub struct Ready {
    /// The guest.
    pub guest: Guest,
    /// Its disk.
    pub daemon: Daemon,
    /// The cells of the selection on this kernel.
    pub planned: Vec<PlannedCell>,
    /// How its stores are watched, where they are.
    pub watching: Option<Watching>,
}

/// Boots `kernel` on a daemon of its own, with everything that the selection needs. Kernels that died on the
/// way, and were booted again, are in `deaths`, whatever comes of it.
///
/// # Errors
/// When there is no guest to run a cell on; each error names whose fault it is.
pub fn start_guest(
    context: &Context<'_>,
    (kernel, device): (&Kernel, Device),
    selection: &Selection,
    directory: &Path,
    deaths: &mut Deaths,
) -> Result<Ready, RunError> {
    let accel = context.accel(kernel, &directory.join("probe"))?;
    context.progress.note(&format!("booting {} ({})", kernel.release, kernel.origin));
    let watching = if context.options.culprit {
        watching(context.options.machine.qemu.as_deref(), accel, context.progress)
    } else {
        None
    };
    let daemon = Daemon::start(directory, &daemon_options(context, device, watching.as_ref()))?;
    let place = (selection, directory);
    match boot_guest(context, (kernel, accel), device, place, (&daemon, watching.as_ref()), deaths)
    {
        Ok((guest, planned)) => Ok(Ready { guest, daemon, planned, watching }),
        Err(error) => {
            // Its records end in order, whatever ended the guest, which is the error to tell.
            if let Err(also) = daemon.stop() {
                log::info!("the disk did not end well either: {also}");
            }
            Err(error)
        }
    }
}

/// Boots the guest in front of `daemon`, and plans its cells by what it tells.
fn boot_guest(
    context: &Context<'_>,
    (kernel, accel): (&Kernel, Accel),
    device: Device,
    (selection, directory): (&Selection, &Path),
    (daemon, watching): (&Daemon, Option<&Watching>),
    deaths: &mut Deaths,
) -> Result<(Guest, Vec<PlannedCell>), RunError> {
    let programs = Programs::find(selection);
    let mut request = boot_request(context, kernel, accel, directory, selection)?;
    request.plugin = watching.map(Watching::plugin);
    request.require = owned(device.drivers());
    request.wish.extend(owned(device.wishes()));
    request.carried = programs.carried;
    request.again = Some(daemon.command_line());
    request.disks = vec![device.disk(daemon.socket(), context.queues())];
    let mut guest = early::boot(&request, deaths, context.progress, context.interrupted)?;
    await_disk(&mut guest, device.path())?;
    // What it is like now is what every cell begins with.
    guest.reset(device.path()).map_err(BootError::Kernel)?;
    let told = look_up(&mut guest, kernel, device.path(), directory)?;
    context.progress.note(&told.words());
    let planned = selection.plan(&Environment {
        device,
        disk: context.options.disk,
        guest: Some(told),
        missing_programs: programs.missing,
        stranded_programs: programs.stranded,
        missing_drivers: guest.missing_wishes().iter().cloned().collect(),
    });
    Ok((guest, planned))
}

fn daemon_options(
    context: &Context<'_>,
    device: Device,
    watching: Option<&Watching>,
) -> DaemonOptions {
    DaemonOptions {
        device,
        window: context.options.window,
        disk: context.options.disk,
        queues: context.queues(),
        seed: context.options.seed,
        races_limit: context.options.races_limit,
        watch: watching.map(|watching| watching.shared().to_owned()),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Waits for the disk: SCSI devices are looked for in the background while the guest comes up.
fn await_disk(guest: &mut Guest, path: &str) -> Result<(), RunError> {
    let wait = format!("for i in $(seq 300); do test -b {path} && exit 0; sleep 0.1; done; exit 1");
    let argv = owned(&["sh", "-c", &wait]);
    let exec = Exec { argv, timeout: DISK_LIMIT, ..Exec::default() };
    let result = guest.exec(&exec, &mut |_| ()).map_err(BootError::Kernel)?;
    if result.status.success() { Ok(()) } else { Err(RunError::NoDisk(path.to_owned())) }
}

fn boot_request<'k>(
    context: &Context<'_>,
    kernel: &'k Kernel,
    accel: Accel,
    directory: &Path,
    selection: &Selection,
) -> Result<BootRequest<'k>, RunError> {
    let mut request =
        BootRequest::on(&context.options.machine, kernel, accel, directory, context.cpus);
    request.wish = selection.drivers().into_iter().collect();
    request.files = guest_files(selection)?;
    Ok(request)
}

/// Runs the cells one after the other, and returns the runs of each.
fn run_cells(
    context: &Context<'_>,
    daemon: &mut Daemon,
    guest: &mut Guest,
    (boot, directory): (&mut BootRun, &Path),
) -> Result<Vec<Vec<CellRun>>, RunError> {
    let mut all = Vec::new();
    let (progress, interrupted) = (context.progress, context.interrupted);
    for (number, cell) in boot.planned.iter().enumerate() {
        let mut site = Site {
            daemon,
            progress,
            interrupted,
            directory,
            disk: boot.device.path(),
            window: context.options.window,
            seconds: context.options.seconds,
            timeout: context.options.timeout,
        };
        if context.is_interrupted() {
            break;
        }
        progress.begin(number + 1, boot.planned.len(), &cell.spec.name());
        let ran = run_cell(context, &mut site, guest, cell)?;
        let mut result = result_of(cell, &ran);
        if context.is_interrupted() {
            result.cut_short("interrupted while it ran");
        }
        progress.end(&result_words(cell, &result));
        ran.iter().for_each(|one| one.notes.tell(progress, directory));
        show_end(progress, &ran);
        boot.results.push(result);
        boot.lost = ran.iter().find_map(|one| lost_in(one, guest));
        all.push(ran);
        if boot.lost.is_some() {
            break;
        }
        if boot.results.last().is_some_and(|result| answers(cell, result)) {
            let why = format!("not run: {} has answered already", cell.spec.name());
            let left = boot.planned.len().saturating_sub(boot.results.len());
            boot.results.extend(std::iter::repeat_n(CellResult::Skipped(why), left));
            break;
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
