//! A guest on a disk of its own: what of a selection can run on it, and how it comes up.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::runner::guest::early::{self, Deaths};
use crate::runner::guest::facts::look_up;
use crate::runner::guest::files::{Programs, guest_files};
use crate::runner::guest::{BootError, BootRequest, Exec, Guest};
use crate::runner::host::accel::Accel;
use crate::runner::host::daemon::{Daemon, DaemonOptions};
use crate::runner::host::device::Device;
use crate::runner::host::machine::DiskShape;
use crate::runner::host::watching::Watching;
use crate::runner::kernel::Kernel;
use crate::runner::kernel::modules;
use crate::runner::run::context::Context;
use crate::runner::run::error::RunError;
use crate::runner::select::environment::Environment;
use crate::runner::select::selection::Selection;

/// How long the guest may take to find its disk.
const DISK_LIMIT: Duration = Duration::from_secs(60);
/// How long a kernel's tables may take to be read; the cells run without names where that is not enough.
const NAMES_LIMIT: Duration = Duration::from_secs(15);
/// How often it is looked whether they are.
const NAMES_LOOK: Duration = Duration::from_millis(200);

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

impl Ready {
    /// Waits until who stores can be named: before that culprits are a program's and no program. The daemon
    /// begins with a kernel's tables at the guest's first write, which says nothing of any cell.
    fn await_names(&mut self, disk: &str) -> Result<(), RunError> {
        let word = format!("dd if=/dev/zero of={disk} bs=4k count=1 conv=fsync 2>/dev/null");
        let argv = owned(&["sh", "-c", &word]);
        let exec = Exec { argv, timeout: DISK_LIMIT, ..Exec::default() };
        let begun = Instant::now();
        while self.daemon.stats()?.names_culprits == Some(false) && begun.elapsed() < NAMES_LIMIT {
            self.guest.exec(&exec, &mut |_| ()).map_err(BootError::Kernel)?;
            std::thread::sleep(NAMES_LOOK);
        }
        Ok(())
    }
}

/// What is to boot.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The device under test.
    pub device: Device,
    /// The cells that the guest has to be able to run.
    pub selection: &'a Selection,
    /// An empty directory for the files of the boot.
    pub directory: &'a Path,
    /// Stores to pages on their way to the disk are watched, where they can be.
    pub watched: bool,
}

/// A guest on its daemon, and what is known of it. Dropped, the guest goes before its disk.
#[derive(Debug)]
pub struct Ready {
    /// The guest.
    pub guest: Guest,
    /// Its disk.
    pub daemon: Daemon,
    /// What the cells of a selection are planned by.
    pub around: Environment,
    /// How its stores are watched, where they are.
    pub watching: Option<Watching>,
}

/// Boots the kernel on a daemon of its own, with everything that the selection needs. Kernels that died on
/// the way, and were booted again, are in `deaths`, whatever comes of it.
///
/// # Errors
/// When there is no guest to run a cell on; each error names whose fault it is.
pub fn start_guest(
    context: &Context<'_>,
    start: Start<'_>,
    deaths: &mut Deaths,
) -> Result<Ready, RunError> {
    let Start { kernel, device, directory, watched, .. } = start;
    let accel = context.accel(kernel, &directory.join("probe"))?;
    context.progress.note(&format!("booting {} ({})", kernel.release, kernel.origin));
    let watching = if watched { context.watching(accel) } else { None };
    let daemon = Daemon::start(directory, &daemon_options(context, device, watching.as_ref()))?;
    match boot_guest(context, (start, accel), (&daemon, watching.as_ref()), deaths) {
        Ok((guest, around)) => {
            let mut ready = Ready { guest, daemon, around, watching };
            if ready.watching.is_some() {
                ready.await_names(device.path())?;
            }
            Ok(ready)
        }
        Err(error) => {
            // Its records end in order, whatever ended the guest, which is the error to tell.
            if let Err(also) = daemon.stop() {
                log::info!("the disk did not end well either: {also}");
            }
            Err(error)
        }
    }
}

/// Boots the guest in front of `daemon`, and has it tell what it is.
fn boot_guest(
    context: &Context<'_>,
    (start, accel): (Start<'_>, Accel),
    (daemon, watching): (&Daemon, Option<&Watching>),
    deaths: &mut Deaths,
) -> Result<(Guest, Environment), RunError> {
    let Start { kernel, device, selection, directory, .. } = start;
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
    let around = Environment {
        device,
        disk: context.options.disk,
        guest: Some(told),
        missing_programs: programs.missing,
        stranded_programs: programs.stranded,
        missing_drivers: guest.missing_wishes().iter().cloned().collect(),
    };
    Ok((guest, around))
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
