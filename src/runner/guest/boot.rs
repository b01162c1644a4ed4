//! From a kernel to a guest whose agent answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::talk::Talk;
use super::{BootError, Guest, GuestError};
use crate::runner::guest::console::Console;
use crate::runner::guest::initramfs::{self, Carried, Contents, GuestFile};
use crate::runner::guest::link::Link;
use crate::runner::host::accel::Accel;
use crate::runner::host::again;
use crate::runner::host::machine::Machine;
use crate::runner::host::qemu::{self, Disk, Plugin, Qemu, QemuConfig, QemuError};
use crate::runner::kernel::Kernel;
use crate::runner::kernel::modules;

/// How long QEMU may take to open the agent's socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(20);

/// An initramfs unpacks into half of the memory that is left beside it and the kernel, which keeps this
/// much and a 32nd part, or a little less: 54 of 611 MiB with Linux 6.1. What does not fit is cut off, and
/// the guest does not come up.
const KEPT_MIB: u64 = 64;
/// What every guest may have, whatever its memory.
const PLAIN_MIB: u64 = 32;

/// What every guest needs: its devices' bus, and the port to its agent.
const OWN_DRIVERS: [&str; 2] = ["virtio_pci", "virtio_console"];

/// A guest to boot.
#[derive(Debug, Clone)]
pub struct BootRequest<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The QEMU to run; the one in PATH where there is none.
    pub qemu: Option<PathBuf>,
    /// Words behind all others on QEMU's command line.
    pub qemu_args: Vec<String>,
    /// The plugin that watches its stores.
    pub plugin: Option<Plugin>,
    /// What executes its instructions.
    pub accel: Accel,
    /// Where the boot's files go; made if missing. One boot at a time may use it.
    pub dir: PathBuf,
    /// Drivers without which the boot makes no sense, by their modules' names.
    pub require: Vec<String>,
    /// Drivers that are loaded where the kernel has them.
    pub wish: Vec<String>,
    /// Programs of the host for the guest, and what they need.
    pub carried: Carried,
    /// Further files for the guest.
    pub files: Vec<GuestFile>,
    /// The guest's disks.
    pub disks: Vec<Disk>,
    /// The command line of the first disk's back end, for the script that starts the guest again.
    pub again: Option<Vec<String>>,
    /// The guest's memory.
    pub memory_mib: u32,
    /// The guest's CPUs.
    pub cpus: u32,
    /// Words added to the kernel's command line.
    pub append: String,
    /// How long the kernel may take until the agent answers.
    pub boot_timeout: Duration,
    /// A restart inside the guest restarts it; otherwise it ends the guest.
    pub allow_reboot: bool,
}

impl<'a> BootRequest<'a> {
    /// A guest with two CPUs, 768 MiB, no disks and three minutes to boot.
    pub fn new(kernel: &'a Kernel, accel: Accel, dir: &Path) -> BootRequest<'a> {
        BootRequest {
            kernel,
            qemu: None,
            qemu_args: Vec::new(),
            plugin: None,
            accel,
            dir: dir.to_owned(),
            require: Vec::new(),
            wish: Vec::new(),
            carried: Carried::default(),
            files: Vec::new(),
            disks: Vec::new(),
            again: None,
            memory_mib: 768,
            cpus: 2,
            append: String::new(),
            boot_timeout: Duration::from_secs(180),
            allow_reboot: false,
        }
    }

    /// A boot of `kernel` on this machine with `cpus` CPUs, unless it has a number of its own.
    pub fn on(
        machine: &Machine,
        kernel: &'a Kernel,
        accel: Accel,
        dir: &Path,
        cpus: u32,
    ) -> BootRequest<'a> {
        BootRequest {
            qemu: machine.qemu.clone(),
            qemu_args: machine.qemu_args.clone(),
            memory_mib: u32::try_from(machine.memory.0 >> 20).unwrap_or(u32::MAX),
            cpus: machine.cpus.unwrap_or(cpus),
            append: machine.append.clone(),
            boot_timeout: machine.boot_limit,
            ..BootRequest::new(kernel, accel, dir)
        }
    }
}

/// Builds the initramfs, starts QEMU and waits until the agent answers.
///
/// # Errors
/// Each names whose fault it is: [`BootError::blame`].
pub fn boot(request: &BootRequest<'_>) -> Result<Guest, BootError> {
    // Say that QEMU is missing before the work, not after.
    let program = qemu::find(request.qemu.as_deref())?;
    let output = |source| BootError::Output { path: request.dir.clone(), source };
    fs::create_dir_all(&request.dir).map_err(output)?;
    let missing_wishes = write_initramfs(request)?;
    copy_kernel(request)?;
    again::write(&program, &config(request), request.again.as_deref()).map_err(output)?;
    let mut qemu = Qemu::start(&request.dir, &config(request))?;
    let mut console = Console::follow(&request.dir.join(qemu::CONSOLE));
    let link = connect(&mut qemu, &request.dir)?;
    // The console's file exists before the socket does.
    console.look().map_err(GuestError::Link).map_err(BootError::Kernel)?;
    let mut guest = Guest {
        talk: Talk::new(qemu, console, link),
        release: String::new(),
        drivers: Vec::new(),
        missing_wishes,
        boot_timeout: request.boot_timeout,
        taint: 0,
    };
    match first_hello(&mut guest, request.boot_timeout) {
        Err(BootError::Kernel(error)) if request.kernel.modules.is_none() => {
            Err(BootError::KernelWithoutModules(error))
        }
        result => result.map(|()| guest),
    }
}

fn first_hello(guest: &mut Guest, limit: Duration) -> Result<(), BootError> {
    match guest.hello(limit) {
        // QEMU connects to its vhost-user backends after it has opened the link: when it ends
        // before the firmware has started a kernel, no kernel is to blame.
        Err(GuestError::QemuExited { status, .. }) if guest.talk.console.is_silent() => {
            Err(BootError::Qemu(QemuError::WouldNotStart {
                status,
                message: guest.talk.qemu.messages(),
            }))
        }
        result => result.map_err(BootError::Kernel),
    }
}

/// Puts the kernel beside everything else of the boot: a tree is built again, a cache deleted.
fn copy_kernel(request: &BootRequest<'_>) -> Result<(), BootError> {
    let path = request.dir.join(qemu::KERNEL);
    match fs::copy(&request.kernel.image, &path) {
        Ok(_) => Ok(()),
        Err(source) => {
            // Half a kernel would be taken for one; that it cannot be removed either changes nothing.
            let _ = fs::remove_file(&path);
            Err(BootError::Output { path, source })
        }
    }
}

/// Writes the initramfs, and tells which wished drivers the kernel does not have.
fn write_initramfs(request: &BootRequest<'_>) -> Result<Vec<String>, BootError> {
    let own = OWN_DRIVERS.iter().map(|name| (*name).to_owned());
    let require: Vec<String> = own.chain(request.require.iter().cloned()).collect();
    let closure = modules::resolve(request.kernel.modules.as_ref(), &require, &request.wish)?;
    let contents = Contents {
        modules: closure.modules,
        carried: request.carried.clone(),
        files: request.files.clone(),
    };
    let path = request.dir.join(qemu::INITRAMFS);
    initramfs::write(&path, &contents)?;
    let size = fs::metadata(&path).map_err(|source| BootError::Output { path, source })?.len();
    fits(size, request.memory_mib)?;
    Ok(closure.missing)
}

/// Whether a guest can hold an initramfs of `size` bytes.
fn fits(size: u64, memory_mib: u32) -> Result<(), BootError> {
    let mib = size.div_ceil(1 << 20);
    // 3 × mib ≤ memory − memory / 32 − KEPT
    let needed = mib.saturating_mul(3).saturating_add(KEPT_MIB).saturating_mul(32).div_ceil(31);
    if mib <= PLAIN_MIB || needed <= u64::from(memory_mib) {
        return Ok(());
    }
    Err(BootError::TooMuch { mib, memory_mib, needed })
}

fn config<'a>(request: &'a BootRequest<'_>) -> QemuConfig<'a> {
    QemuConfig {
        program: request.qemu.as_deref(),
        dir: &request.dir,
        plugin: request.plugin.as_ref(),
        accel: request.accel,
        memory_mib: request.memory_mib,
        cpus: request.cpus,
        disks: &request.disks,
        append: &request.append,
        more: &request.qemu_args,
        allow_reboot: request.allow_reboot,
    }
}

/// Connects to the agent's socket as soon as QEMU has made it.
fn connect(qemu: &mut Qemu, dir: &Path) -> Result<Link, BootError> {
    let started = Instant::now();
    loop {
        let refused = match Link::connect(dir, qemu::LINK) {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        if let Some(status) = qemu.process().try_wait().map_err(QemuError::Start)? {
            let message = qemu.messages();
            return Err(QemuError::WouldNotStart { status, message }.into());
        }
        if started.elapsed() > SOCKET_LIMIT {
            return Err(QemuError::Start(refused).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_unpack_is_refused() {
        let mib = |count: u64| count << 20;
        assert!(fits(mib(30), 128).is_ok());
        // 202 MiB were cut off in a guest of 615, and are not in one of 693.
        assert!(fits(mib(202), 693).is_ok());
        let error = fits(mib(202), 615).unwrap_err();
        assert_eq!(error.blame(), crate::runner::host::blame::Blame::Host);
        assert!(error.to_string().contains("give it --memory 692M"), "{error}");
        assert!(fits(u64::MAX, u32::MAX).is_err());
    }
}
