//! One kernel on one device: a boot, and another where a guest was lost and cells are left.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::report::SessionError;
use crate::runner::accel::{Accel, AccelMode};
use crate::runner::blame::Blame;
use crate::runner::catalogue::CatalogueError;
use crate::runner::daemon::DaemonError;
use crate::runner::device::Device;
use crate::runner::guest::BootError;
use crate::runner::kernel::{Kernel, KernelError};
use crate::runner::machine::{DiskShape, Machine};
use crate::runner::outdir;
use crate::runner::plan::Selection;
use crate::runner::probe::{self, AccelError};
use crate::runner::progress::Progress;
use crate::runner::provenance::UsedKernel;
use crate::runner::trip::{Trip, travel};
use crate::units::{ByteSize, WindowSpec};
use crate::verdict::{self, Cell, Cut};

/// How many guests one kernel may lose on one device before its remaining cells are given up.
const MAX_LOST: u32 = 3;

/// The most queues that dixtrapd offers.
const MOST_QUEUES: u16 = 32;

/// What to run and how.
#[derive(Debug, Clone)]
pub struct RunOptions {
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
    /// What the guests are given.
    pub machine: Machine,
    /// The disk under test.
    pub disk: DiskShape,
    /// How large the records of a boot become before races are only counted.
    pub races_limit: ByteSize,
    /// How long a cell may take in all; two minutes more than it writes where nothing is said.
    pub timeout: Option<Duration>,
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
    /// It booted and found no disk.
    #[error("the guest's kernel did not find its disk: there is no {0}")]
    NoDisk(String),
    /// The disk's daemon.
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
            RunError::NoDisk(_) => Blame::Kernel,
            RunError::Accel(AccelError::NoKvm { .. })
            | RunError::Daemon(_)
            | RunError::Catalogue(_)
            | RunError::Records(_)
            | RunError::Output(..) => Blame::Host,
        }
    }
}

/// What one kernel came to.
#[derive(Debug, Default)]
pub struct KernelRun {
    /// Every planned cell, once for each boot that it ran or should have run in.
    pub cells: Vec<Cell>,
    /// The run ended before its time, through no fault of the kernel's.
    pub cut: Option<Cut>,
    /// A script of the run calls a program that is not there: its author's mistake, and no kernel's.
    pub broken_script: bool,
    /// What went wrong, for people; the console's end included.
    pub troubles: Vec<String>,
    /// The boots that have records.
    pub boots: Vec<Boot>,
    /// What is to be told of the boots beside their cells.
    pub told: Vec<verdict::Boot>,
    /// The kernels that were found.
    pub kernels: Vec<UsedKernel>,
    /// What executed the guests; `None` where none was booted.
    pub accel: Option<Accel>,
}

/// What a boot left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The guest's release.
    pub kernel: String,
    /// Its records.
    pub records: PathBuf,
    /// They reached their limit, and do not hold everything.
    pub limit_reached: bool,
}

impl KernelRun {
    /// Every cell of `selection` is lost for the same reason.
    pub fn lost(runner: &Runner<'_>, device: Device, asked: &str, error: &KernelError) -> Self {
        let mut run = KernelRun::default();
        let (blame, error) = (error.blame(), crate::runner::errors::whole_text(error));
        let mut trip = Trip::nowhere(asked, device, runner.selection);
        trip.give_up(error.lines().next().unwrap_or_default());
        run.cells = trip.settle(runner);
        run.cut = (blame == Blame::Host).then_some(Cut::Fault);
        run.troubles = vec![error];
        run
    }
}

/// Runs one kernel.
#[derive(Debug)]
pub struct Runner<'a> {
    /// How.
    pub options: &'a RunOptions,
    /// What.
    pub selection: &'a Selection,
    /// CPUs of the guest, unless the machine has a number of its own.
    pub cpus: u32,
    /// What executes guests on this machine, once it is known.
    pub accel: &'a Mutex<Option<Accel>>,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// Set when the user wants an end.
    pub interrupted: &'a AtomicBool,
}

impl Runner<'_> {
    /// Runs every cell on one kernel. Whatever happens, every planned cell is accounted for.
    pub fn run(&self, kernel: &Kernel, device: Device) -> KernelRun {
        let mut run = KernelRun::default();
        if let Some(trip) = Trip::needless(self, (kernel, device), self.selection) {
            let count = self.selection.len();
            self.progress.note(&format!(
                "{} is not booted: none of {count} cells can run ({})",
                kernel.release, kernel.origin
            ));
            self.note(&mut run, trip, false);
            return run;
        }
        let mut left = self.selection.clone();
        for boot in 1..=MAX_LOST {
            let mut trip = match outdir::make_boot_directory(&self.options.out) {
                Ok(directory) => travel(self, (kernel, device), &left, &directory),
                Err(source) => {
                    let error = RunError::Output(self.options.out.clone(), source);
                    Trip::nowhere(&kernel.release, device, &left).lost_by(&error)
                }
            };
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            let rest = left.part(trip.reached()..left.len());
            let again = trip.lost.as_ref().is_some_and(|lost| lost.again)
                && !interrupted
                && boot < MAX_LOST
                && !rest.is_empty()
                && rest.len() < left.len();
            if !again {
                trip.give_up(&why_not_reached(&trip, interrupted));
            }
            self.note(&mut run, trip, interrupted);
            if !again {
                break;
            }
            left = rest;
        }
        run
    }

    /// Adds what a boot came to.
    fn note(&self, run: &mut KernelRun, trip: Trip, interrupted: bool) {
        let cells = trip.settle(self);
        run.broken_script |= trip.has_broken_script(&cells);
        run.cells.extend(cells);
        run.told.push(trip.boot());
        let (kernel, limit_reached) = (trip.kernel, trip.limit_reached);
        run.boots.extend(trip.records.map(|records| Boot { kernel, records, limit_reached }));
        let fault = trip.lost.as_ref().is_some_and(|lost| lost.blame == Blame::Host);
        let cut = match (interrupted, fault) {
            (true, _) => Some(Cut::Interrupted),
            (_, true) => Some(Cut::Fault),
            _ => None,
        };
        run.cut = run.cut.max(cut);
        run.troubles.extend(trip.lost.map(|lost| lost.whole));
    }

    /// What executes the guest: found out once, by the first kernel.
    pub fn accel(&self, kernel: &Kernel, probe: &Path) -> Result<Accel, AccelError> {
        let mut known = self.accel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(accel) = *known {
            return Ok(accel);
        }
        let machine = &self.options.machine;
        let (accel, notice) = probe::choose(self.options.accel, kernel, machine, probe)?;
        if let Some(notice) = notice {
            self.progress.note(&notice);
        }
        *known = Some(accel);
        Ok(accel)
    }

    /// Queues of the disk: one for each of the guest's CPUs, as far as dixtrapd has them.
    pub fn queues(&self) -> u16 {
        let cpus = self.options.machine.cpus.unwrap_or(self.cpus);
        u16::try_from(cpus).unwrap_or(u16::MAX).min(MOST_QUEUES)
    }
}

fn why_not_reached(trip: &Trip, interrupted: bool) -> String {
    match &trip.lost {
        _ if interrupted => "interrupted before it ran".to_owned(),
        Some(lost) => lost.reason.clone(),
        None => "it was not reached".to_owned(),
    }
}

/// How many CPUs each of `jobs` guests gets: two where there are enough, for races between threads.
pub fn cpus_each(cores: u32, jobs: NonZeroU32) -> u32 {
    (cores / jobs).clamp(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_blame() {
        let path = || PathBuf::from("x");
        let kernel_missing = KernelError::NoSuchKernel { path: path(), meant: ".".into() };
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
}
