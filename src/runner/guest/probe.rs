//! Which accelerator: KVM where a boot proves that it works, else TCG.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use crate::runner::guest::{BootError, BootRequest};
use crate::runner::host::accel::{Accel, AccelMode};
use crate::runner::host::machine::Machine;
use crate::runner::host::qemu::CONSOLE;
use crate::runner::kernel::Kernel;

/// How long the probe may take: a guest under a working KVM is up in two or three seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// Why there is no accelerator.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// KVM was asked for and does not work.
    #[error("KVM does not work here ({reason}): use --accel tcg or --accel auto")]
    NoKvm {
        /// What was seen.
        reason: String,
    },
    /// The probe's guest would not boot for a reason that has nothing to do with KVM.
    #[error(transparent)]
    Boot(#[from] BootError),
}

/// Chooses an accelerator for `kernel` on `machine`, and says in one line what was given up, if anything was.
/// The probe's files go into `dir`, which is made if missing.
///
/// # Errors
/// When KVM was asked for and does not work; when nothing at all can be booted.
pub fn choose(
    mode: AccelMode,
    kernel: &Kernel,
    machine: &Machine,
    dir: &Path,
) -> Result<(Accel, Option<String>), AccelError> {
    if mode == AccelMode::Tcg {
        return Ok((Accel::Tcg, None));
    }
    match probe(mode, kernel, machine, dir)? {
        Probe::Works => Ok((Accel::Kvm, None)),
        // Nobody asked for TCG, and a kernel that began to run is no failure of KVM's.
        Probe::KernelFailed(error) if mode == AccelMode::Kvm => Err(AccelError::Boot(error)),
        Probe::Fails(reason) if mode == AccelMode::Kvm => Err(AccelError::NoKvm { reason }),
        // Whatever QEMU or the guest did, TCG will show whether KVM was to blame.
        Probe::KernelFailed(error) => Ok(fall_back(&first_line(&error.to_string()))),
        Probe::Fails(reason) => Ok(fall_back(&reason)),
    }
}

fn fall_back(reason: &str) -> (Accel, Option<String>) {
    (Accel::Tcg, Some(format!("KVM does not work here ({reason}): using TCG")))
}

/// What a boot under KVM came to.
enum Probe {
    Works,
    /// KVM does not get as far as the kernel.
    Fails(String),
    /// The kernel ran and spoke, and did not come up.
    KernelFailed(BootError),
}

/// The first words of every Linux kernel.
const KERNEL_SPEAKS: &str = "Linux version ";

/// Boots the kernel under KVM.
///
/// That /dev/kvm opens proves nothing: nested KVM may hang behind the firmware or stop on an MSR.
fn probe(
    mode: AccelMode,
    kernel: &Kernel,
    machine: &Machine,
    dir: &Path,
) -> Result<Probe, BootError> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Ok(Probe::Fails(format!("/dev/kvm: {error}")));
    }
    let mut request = BootRequest::on(machine, kernel, Accel::Kvm, dir, 2);
    // Who asked for KVM has nothing else, and gets all the time that a boot may take.
    if mode == AccelMode::Auto {
        request.boot_timeout = PROBE_LIMIT;
    }
    match super::boot(&request) {
        Ok(mut guest) => {
            // It has proven what it should; whether it also powers off in time does not matter.
            let _ = guest.power_off();
            Ok(Probe::Works)
        }
        Err(error @ (BootError::Kernel(_) | BootError::KernelWithoutModules(_))) => {
            let console = std::fs::read(dir.join(CONSOLE)).unwrap_or_default();
            if String::from_utf8_lossy(&console).contains(KERNEL_SPEAKS) {
                return Ok(Probe::KernelFailed(error));
            }
            Ok(Probe::Fails(first_line(&error.to_string())))
        }
        Err(BootError::Qemu(error)) => Ok(Probe::Fails(first_line(&error.to_string()))),
        Err(error) => Err(error),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    format!("a test boot failed: {}", line.split(';').next().unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line() {
        assert_eq!(first_line("no answer; its console:\n x"), "a test boot failed: no answer");
    }
}
