//! One kernel: find it, boot it once on a `dixtrapd` of our own, run every cell, and settle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::{Session, SessionError};
use crate::runner::accel::{self, AccelError, AccelMode};
use crate::runner::blame::Blame;
use crate::runner::catalogue::{Catalogue, CatalogueError};
use crate::runner::cell::{self, End, OWN_SCRIPTS, Ran, SCRIPTS, Site};
use crate::runner::daemon::{Daemon, DaemonError, DaemonOptions, RECORDS};
use crate::runner::guest::{BootError, BootRequest, Guest};
use crate::runner::initramfs::{GuestFile, find_program};
use crate::runner::kernel::{Kernel, KernelError, KernelSpec};
use crate::runner::plan::{PlannedCell, Selection, Square, Surroundings};
use crate::runner::progress::Progress;
use crate::runner::qemu::Disk;
use crate::runner::settle::{Fate, Ground, Runs, settle};
use crate::units::{ByteSize, WindowSpec};
use crate::verdict::{Cell, Cut};

/// The size of the disk under test: the smallest that every mkfs takes, and a good deal more.
const DISK_SIZE: ByteSize = ByteSize(1 << 30);
/// Queues of the disk: one for each of the guest's CPUs.
const QUEUES: u16 = 2;

/// Which device the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// virtio-blk, without protection information in the guest
    Blk,
}

impl Device {
    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Device::Blk => "blk",
        }
    }

    /// The driver that the guest needs.
    fn driver(self) -> &'static str {
        match self {
            Device::Blk => "virtio_blk",
        }
    }

    /// The disk's path in the guest.
    fn path(self) -> &'static str {
        match self {
            Device::Blk => "/dev/vda",
        }
    }
}

/// What to run and how.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The device under test.
    pub device: Device,
    /// KVM or TCG.
    pub accel: AccelMode,
    /// Doorbell to fetch.
    pub window: WindowSpec,
    /// How long a scenario writes.
    pub seconds: u32,
    /// How often every cell runs.
    pub repeat: u32,
    /// The seed of every random draw.
    pub seed: u64,
    /// Where the boots' files go.
    pub out: PathBuf,
}

/// Why a kernel gave no result, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no kernel to boot.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Nothing to run it on.
    #[error(transparent)]
    Accel(#[from] AccelError),
    /// It did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The disk.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The scenarios.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The records.
    #[error(transparent)]
    Records(#[from] SessionError),
    /// The directory for the files of the boot.
    #[error("cannot make a directory in {}", .0.display())]
    Output(PathBuf, #[source] std::io::Error),
}

impl RunError {
    /// Whose fault it is; this alone decides between 125 and 129.
    pub fn blame(&self) -> Blame {
        match self {
            RunError::Kernel(error) => error.blame(),
            RunError::Accel(AccelError::Boot(error)) | RunError::Boot(error) => error.blame(),
            RunError::Accel(AccelError::NoKvm { .. })
            | RunError::Daemon(_)
            | RunError::Catalogue(_)
            | RunError::Records(_)
            | RunError::Output(..) => Blame::Host,
        }
    }
}

/// What one kernel came to.
#[derive(Debug)]
pub struct KernelRun {
    /// Every planned cell.
    pub cells: Vec<Cell>,
    /// The run ended before its time, through no fault of the kernel's.
    pub cut: Option<Cut>,
    /// What went wrong, for people; the console's end included.
    pub trouble: Option<String>,
    /// The records of the boot, where it got so far.
    pub records: Option<PathBuf>,
}

/// Runs kernels.
#[derive(Debug)]
pub struct Runner<'a> {
    /// How.
    pub options: &'a RunOptions,
    /// What.
    pub selection: &'a Selection,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// Set when the user wants an end.
    pub interrupted: &'a AtomicBool,
}

impl Runner<'_> {
    /// Runs every cell on one kernel. Whatever happens, every planned cell is accounted for.
    pub fn run(&self, spec: &KernelSpec, asked: &str) -> KernelRun {
        let mut boot = Booted::nowhere(asked, self.selection);
        let result = self.try_run(spec, &mut boot);
        let mut run = KernelRun {
            cells: Vec::new(),
            cut: boot.cut,
            trouble: boot.trouble.take(),
            records: boot.records.take(),
        };
        let mut lost = "it was not reached".to_owned();
        if let Err(error) = result {
            lost = one_line(&error);
            if error.blame() == Blame::Host {
                run.cut.get_or_insert(Cut::Fault);
            }
            run.trouble.get_or_insert(whole_text(&error));
        }
        if self.interrupted.load(Ordering::Relaxed) {
            run.cut = Some(Cut::Interrupted);
            "interrupted before it ran".clone_into(&mut lost);
        }
        boot.fates.resize_with(boot.planned.len(), || Fate::Lost(lost.clone()));
        let ground = Ground {
            kernel: &boot.kernel,
            device: self.options.device.name(),
            window: self.options.window,
        };
        run.cells = settle(ground, &boot.planned, &boot.fates);
        run
    }

    fn try_run(&self, spec: &KernelSpec, boot: &mut Booted) -> Result<(), RunError> {
        let kernel = spec.locate(&|line| self.progress.note(line))?;
        boot.kernel.clone_from(&kernel.release);
        let directory = make_boot_directory(&self.options.out)?;
        let probe = directory.join("probe");
        let (accel, notice) = accel::choose(self.options.accel, &kernel, &probe)?;
        if let Some(notice) = notice {
            self.progress.note(&notice);
        }
        self.progress.note(&format!("booting {} ({})", kernel.release, kernel.origin));
        let mut daemon = Daemon::start(&directory, &self.daemon_options())?;
        boot.records = Some(directory.join(RECORDS));
        let programs = Programs::find(self.selection);
        let request = self.boot_request(&kernel, accel, &directory, &daemon, &programs)?;
        let mut guest = Guest::boot(&request)?;
        guest.release().clone_into(&mut boot.kernel);
        boot.planned = self.selection.plan(&Surroundings {
            release: guest.release().to_owned(),
            missing_programs: programs.missing,
            missing_drivers: guest.missing_wishes().iter().cloned().collect(),
        });
        let labels = self.run_cells(&mut daemon, &mut guest, boot)?;
        if let Err(error) = guest.power_off() {
            log::info!("the guest did not power off: {error}");
        }
        drop(guest);
        daemon.stop()?;
        fill_first_catches(&directory.join(RECORDS), &labels, &mut boot.fates)
    }

    fn daemon_options(&self) -> DaemonOptions {
        DaemonOptions {
            window: self.options.window,
            size: DISK_SIZE,
            queues: QUEUES,
            seed: self.options.seed,
        }
    }

    fn boot_request<'k>(
        &self,
        kernel: &'k Kernel,
        accel: accel::Accel,
        directory: &Path,
        daemon: &Daemon,
        programs: &Programs,
    ) -> Result<BootRequest<'k>, RunError> {
        let mut request = BootRequest::new(kernel, accel, directory);
        request.require = vec![self.options.device.driver().to_owned()];
        request.wish = self.selection.drivers().into_iter().collect();
        request.programs.clone_from(&programs.found);
        request.files = guest_files(self.selection)?;
        request.disks = vec![Disk::VhostUserBlk { socket: daemon.socket(), queues: QUEUES }];
        Ok(request)
    }

    /// Runs the cells one after the other, and returns the runs of each.
    fn run_cells(
        &self,
        daemon: &mut Daemon,
        guest: &mut Guest,
        boot: &mut Booted,
    ) -> Result<Vec<Vec<Ran>>, RunError> {
        let mut all = Vec::new();
        let disk = self.options.device.path();
        let seconds = self.options.seconds;
        let (progress, interrupted) = (self.progress, self.interrupted);
        for (number, cell) in boot.planned.iter().enumerate() {
            let mut site = Site { daemon, progress, interrupted, disk, seconds };
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            progress.begin(number + 1, boot.planned.len(), &cell.square.name());
            let ran = self.run_cell(&mut site, guest, cell)?;
            let fate = fate(cell, &ran);
            progress.end(&fate_words(cell, &fate));
            boot.fates.push(fate);
            let lost = ran.iter().find_map(|ran| match &ran.end {
                End::GuestLost(error) => Some((error.blame(), error.to_string())),
                _ => None,
            });
            all.push(ran);
            if let Some((blame, text)) = lost {
                if blame == Blame::Host {
                    boot.cut = Some(Cut::Fault);
                }
                boot.trouble = Some(text);
                break;
            }
        }
        Ok(all)
    }

    /// Every repetition of a cell, as long as they go well.
    fn run_cell(
        &self,
        site: &mut Site<'_>,
        guest: &mut Guest,
        cell: &PlannedCell,
    ) -> Result<Vec<Ran>, RunError> {
        let mut all = Vec::new();
        if cell.skip.is_some() {
            return Ok(all);
        }
        for repetition in 1..=self.options.repeat {
            let ran = cell::run_once(site, guest, cell, repetition)?;
            let well = matches!(ran.end, End::Done);
            all.push(ran);
            if !well || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(all)
    }
}

/// What is known of a boot so far.
struct Booted {
    kernel: String,
    planned: Vec<PlannedCell>,
    fates: Vec<Fate>,
    cut: Option<Cut>,
    trouble: Option<String>,
    records: Option<PathBuf>,
}

impl Booted {
    /// Before anything is known of the kernel.
    fn nowhere(asked: &str, selection: &Selection) -> Booted {
        Booted {
            kernel: asked.to_owned(),
            planned: selection.plan(&Surroundings::default()),
            fates: Vec::new(),
            cut: None,
            trouble: None,
            records: None,
        }
    }
}

/// Programs of this machine that the guest takes along.
struct Programs {
    found: Vec<PathBuf>,
    missing: BTreeSet<String>,
}

impl Programs {
    fn find(selection: &Selection) -> Programs {
        let mut programs = Programs { found: Vec::new(), missing: BTreeSet::new() };
        for name in selection.programs() {
            match find_program(&name) {
                Some(path) => programs.found.push(path),
                None => {
                    programs.missing.insert(name);
                }
            }
        }
        programs
    }
}

/// The scripts and what they share.
fn guest_files(selection: &Selection) -> Result<Vec<GuestFile>, CatalogueError> {
    let file = |path: String, mode, text: &str| GuestFile { path, mode, contents: text.into() };
    let shared = Catalogue::shared_files()?;
    let mut files: Vec<GuestFile> =
        shared.iter().map(|(name, text)| file(format!("{SCRIPTS}/{name}"), 0o644, text)).collect();
    for Square { scenario, .. } in selection.squares() {
        let folder = if scenario.own { OWN_SCRIPTS } else { SCRIPTS };
        let path = format!("{folder}/{}.sh", scenario.name);
        if !files.iter().any(|known| known.path == path) {
            files.push(file(path, 0o755, &scenario.script));
        }
    }
    Ok(files)
}

/// Makes the first of `boot-1`, `boot-2`, … that is not there yet: two runs may share a directory.
fn make_boot_directory(out: &Path) -> Result<PathBuf, RunError> {
    let failed = |error| RunError::Output(out.to_owned(), error);
    std::fs::create_dir_all(out).map_err(failed)?;
    // The guest and QEMU work there; they need a path that holds wherever they stand.
    let out = out.canonicalize().map_err(failed)?;
    let mut number = 1_u32;
    loop {
        let directory = out.join(format!("boot-{number}"));
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                number = number.saturating_add(1);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the runs of a cell came to.
fn fate(cell: &PlannedCell, ran: &[Ran]) -> Fate {
    if let Some(reason) = &cell.skip {
        return Fate::Skipped(reason.clone());
    }
    let mut runs = Runs::default();
    for one in ran {
        if let End::Skipped(reason) = &one.end {
            return Fate::Skipped(reason.clone());
        }
        runs.add(&one.counters);
        runs.trouble = match &one.end {
            End::Done | End::Skipped(_) => None,
            End::Trouble(reason) => Some(reason.clone()),
            End::GuestLost(error) => Some(one_line(error)),
        };
    }
    Fate::Ran(Box::new(runs))
}

fn fate_words(cell: &PlannedCell, fate: &Fate) -> String {
    match fate {
        Fate::Skipped(reason) => format!("skipped: {reason}"),
        Fate::Lost(reason) => format!("lost: {reason}"),
        Fate::Ran(runs) => {
            let races = runs.counters.races.before_doorbell + runs.counters.races.in_window;
            let trouble = runs.trouble.as_ref().map_or(String::new(), |why| format!("; {why}"));
            let checked = runs.counters.blocks_checked;
            format!(
                "{races} of {checked} blocks raced, expected: {}{trouble}",
                cell.expectation.expect
            )
        }
    }
}

/// Looks the first race of every cell up in the records, and counts from the writer's first write.
fn fill_first_catches(
    records: &Path,
    ran: &[Vec<Ran>],
    fates: &mut [Fate],
) -> Result<(), RunError> {
    let session = Session::read(records)?;
    for (runs, fate) in ran.iter().zip(fates) {
        if let Fate::Ran(known) = fate {
            known.first_catch_ms = runs.iter().find_map(|one| first_catch_ms(&session, one));
        }
    }
    Ok(())
}

fn first_catch_ms(session: &Session, ran: &Ran) -> Option<f64> {
    let label = session.labels.get(&ran.label)?;
    let began = label.began_us.unwrap_or(0);
    let caught = began.saturating_add(label.first_catch_us?);
    let after = caught.saturating_sub(ran.writing_us.unwrap_or(began));
    Some(std::time::Duration::from_micros(after).as_secs_f64() * 1_000.0)
}

/// An error and its causes, with all their lines.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An error and its causes in one line; a console's tail stays behind.
fn one_line(error: &dyn std::error::Error) -> String {
    let text = whole_text(error);
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches("; its console ended with:").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_in_one_directory_do_not_meet() {
        let out = tempfile::tempdir().unwrap();
        let first = make_boot_directory(out.path()).unwrap();
        let second = make_boot_directory(out.path()).unwrap();
        assert!(first.ends_with("boot-1") && second.ends_with("boot-2"));
        let file = out.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(make_boot_directory(&file).unwrap_err().blame(), Blame::Host);
    }

    #[test]
    fn every_error_has_its_blame() {
        let path = || PathBuf::from("x");
        let kernel_missing = KernelError::NoSuchKernel { path: path() };
        let no_kvm = AccelError::NoKvm { reason: "hangs".into() };
        let not_built = KernelError::NotBuilt { path: path(), missing: "bzImage" };
        for (error, blame) in [
            (RunError::from(kernel_missing), Blame::Host),
            (RunError::from(not_built), Blame::Kernel),
            (RunError::from(no_kvm), Blame::Host),
            (RunError::from(DaemonError::Missing(path())), Blame::Host),
            (RunError::from(SessionError::Empty(path())), Blame::Host),
        ] {
            assert_eq!(error.blame(), blame, "{error}");
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        let error = SessionError::Read(
            PathBuf::from("f"),
            std::io::Error::other("first; its console ended with:\n    second"),
        );
        assert_eq!(one_line(&error), "cannot read f: first");
        assert!(whole_text(&error).contains("second"));
    }
}
