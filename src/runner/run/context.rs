//! What every boot of a run has in common: its options, what executes guests here, who listens, and whether
//! the user wants an end.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::runner::cell::Site;
use crate::runner::guest::probe::{self, AccelError};
use crate::runner::host::accel::Accel;
use crate::runner::host::daemon::Daemon;
use crate::runner::host::device::Device;
use crate::runner::host::progress::Progress;
use crate::runner::host::watching::{Watching, watching};
use crate::runner::kernel::Kernel;
use crate::runner::run::options::RunOptions;
use crate::runner::select::estimate::Pace;

/// The most queues that dixtrapd offers.
const MOST_QUEUES: u16 = 32;

/// What a boot needs to know of the run that it belongs to.
#[derive(Debug)]
pub struct Context<'a> {
    /// How everything is run.
    pub options: &'a RunOptions,
    /// CPUs of the guest, unless the machine has a number of its own.
    pub cpus: u32,
    /// What executes guests on this machine, once it is known.
    pub accel: &'a Mutex<Option<Accel>>,
    /// Who listens to this kernel's boots.
    pub progress: &'a dyn Progress,
    /// Set when the user wants an end.
    pub interrupted: &'a AtomicBool,
    /// No cell but the first begins that would not be over by then.
    pub until: Option<Instant>,
}

impl Context<'_> {
    /// Whether the user wants an end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
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

    /// Where the cells of a boot in `directory` run.
    pub fn site<'s>(
        &'s self,
        daemon: &'s mut Daemon,
        directory: &'s Path,
        device: Device,
    ) -> Site<'s> {
        Site {
            daemon,
            progress: self.progress,
            interrupted: self.interrupted,
            directory,
            disk: device.path(),
            window: self.options.window,
            seconds: self.options.seconds,
            timeout: self.options.timeout,
        }
    }

    /// What executes the guest, where that was found out.
    pub fn known_accel(&self) -> Option<Accel> {
        *self.accel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out how stores can be watched; where they cannot be, one line says why.
    pub fn watching(&self, accel: Accel) -> Option<Watching> {
        let found = watching(self.options.machine.qemu.as_deref(), accel);
        let tell = |reason: &String| {
            self.progress.note(&format!("nobody will be named for races: {reason}"));
        };
        found.inspect_err(tell).ok()
    }

    /// How long cells write, and how often.
    pub fn pace(&self) -> Pace {
        Pace { seconds: self.options.seconds, repeat: self.options.repeat }
    }

    /// Whether a cell that takes so long can still begin.
    pub fn has_time_for(&self, cell: Duration) -> bool {
        let end = Instant::now().checked_add(cell);
        self.until.is_none_or(|until| end.is_some_and(|end| end <= until))
    }

    /// Queues of the disk: one for each of the guest's CPUs, as far as dixtrapd has them.
    pub fn queues(&self) -> u16 {
        let cpus = self.options.machine.cpus.unwrap_or(self.cpus);
        u16::try_from(cpus).unwrap_or(u16::MAX).min(MOST_QUEUES)
    }
}

/// How many CPUs each of `jobs` guests gets: two where there are enough, for races between threads.
pub fn cpus_each(cores: u32, jobs: NonZeroU32) -> u32 {
    (cores / jobs).clamp(1, 2)
}
