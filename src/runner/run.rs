//! One kernel: find it, boot it once on a `dixtrapd` of our own, run every cell, and settle.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::SessionError;
use crate::runner::accel::{self, AccelError, AccelMode};
use crate::runner::blame::Blame;
use crate::runner::catalogue::CatalogueError;
use crate::runner::cell::{self, End, Ran, Site};
use crate::runner::daemon::{Daemon, DaemonError, DaemonOptions, RECORDS};
use crate::runner::errors::{one_line, whole_text};
use crate::runner::fate::{fate, fate_words, fill_first_catches};
use crate::runner::guest::{BootError, BootRequest, Guest};
use crate::runner::kernel::{Kernel, KernelError, KernelSpec};
use crate::runner::luggage::{Programs, guest_files, make_boot_directory};
use crate::runner::plan::{PlannedCell, Selection, Surroundings};
use crate::runner::progress::Progress;
use crate::runner::qemu::Disk;
use crate::runner::settle::{Fate, Ground, settle};
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
    /// The records of the boot; `None` where the kernel did not come up.
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
        let directory = make_boot_directory(&self.options.out)
            .map_err(|error| RunError::Output(self.options.out.clone(), error))?;
        let probe = directory.join("probe");
        let (accel, notice) = accel::choose(self.options.accel, &kernel, &probe)?;
        if let Some(notice) = notice {
            self.progress.note(&notice);
        }
        self.progress.note(&format!("booting {} ({})", kernel.release, kernel.origin));
        let mut daemon = Daemon::start(&directory, &self.daemon_options())?;
        let programs = Programs::find(self.selection);
        let request = self.boot_request(&kernel, accel, &directory, &daemon, &programs)?;
        let mut guest = Guest::boot(&request)?;
        boot.records = Some(directory.join(RECORDS));
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
        let lost = daemon.stats()?.counters.records_lost;
        if lost > 0 {
            let records = directory.join(RECORDS);
            self.progress.note(&format!(
                "{lost} records could not be written to {}: is the disk full?",
                records.display()
            ));
        }
        daemon.stop()?;
        Ok(fill_first_catches(&directory.join(RECORDS), &labels, &mut boot.fates)?)
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
            let mut fate = fate(cell, &ran);
            if interrupted.load(Ordering::Relaxed) {
                fate.cut_short("interrupted while it ran");
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
