//! PID 1 of our guests: mounts what the kernel offers, loads the modules, keeps an agent running and
//! buries its dead.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::wait;
use nix::unistd::sync;

/// The file that names the modules to load, one a line, in order.
pub const MODULE_LIST: &str = "/modules.list";

/// The word of the kernel's command line that asks for a shell on the console instead of the agent.
pub const SHELL_WORD: &str = "dixtrap.shell";

/// Where the scenarios lie in the guest.
const SCRIPTS: &str = "/dixtrap";

/// PATH for everything in the guest; the host's programs stand before busybox's applets.
pub const PATH: &str = "/usr/local/bin:/usr/local/sbin:/sbin:/bin:/usr/sbin:/usr/bin";

/// Brings the guest up, runs the agent and powers off when it ends. Does not return as long as it is
/// PID 1: the kernel would panic.
pub fn run() {
    let mounts = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ];
    for (kind, place) in mounts {
        if let Err(error) = mount_at(kind, place) {
            complain(&format!("cannot mount {kind} on {place}: {error}"));
        }
    }
    load_modules(Path::new(MODULE_LIST));
    if is_for_a_shell(&fs::read_to_string("/proc/cmdline").unwrap_or_default()) {
        run_shell();
    } else if let Err(error) = run_agent() {
        complain(&format!("cannot run the agent: {error}"));
    }
    end(RebootMode::RB_POWER_OFF);
}

/// Writes the disks' data back and ends or restarts the guest.
pub fn end(mode: RebootMode) {
    sync();
    let Err(error) = reboot(mode);
    complain(&format!("cannot end the guest: {error}"));
}

/// The kernel gave /init its console as standard error.
fn complain(message: &str) {
    eprintln!("dixtrap-guest: {message}");
}

fn mount_at(kind: &str, place: &str) -> io::Result<()> {
    fs::create_dir_all(place)?;
    match mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>) {
        // The kernel may have mounted /dev itself.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn load_modules(list: &Path) {
    let Ok(names) = fs::read_to_string(list) else { return };
    for name in names.lines().filter(|line| !line.is_empty()) {
        match load(Path::new(name)) {
            // Loaded or built in already; or its hardware is not here, which is no one's fault.
            Ok(()) => {}
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    || error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
            Err(error) => complain(&format!("cannot load {name}: {error}")),
        }
    }
}

fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    Ok(finit_module(&file, c"", ModuleInitFlags::empty())?)
}

fn is_for_a_shell(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| word == SHELL_WORD)
}

/// Runs a shell on the serial line, which is to be its controlling terminal, until it ends.
fn run_shell() {
    complain(&format!(
        "a shell for you: the disk is in /proc/partitions, the scripts in {SCRIPTS}"
    ));
    let mut shell = Command::new("sh");
    // bash takes PS1 out of the environment where it is not interactive: env gives it to the one that is.
    let interactive = "exec env PS1='dixtrap# ' setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1";
    shell.args(["-c", interactive]).current_dir("/root");
    shell.env("PATH", PATH).env("HOME", "/root").env("TERM", "vt100");
    if let Err(error) = shell.status() {
        complain(&format!("cannot run a shell: {error}"));
    }
}

/// Runs the agent as a child, and waits for it; orphans come by on the way.
fn run_agent() -> io::Result<()> {
    let program = "/proc/self/exe";
    let agent =
        Command::new(program).arg("agent").env("PATH", PATH).env("HOME", "/root").spawn()?;
    loop {
        match wait() {
            Ok(status) => {
                let ended =
                    status.pid().is_some_and(|pid| pid.as_raw().unsigned_abs() == agent.id());
                if ended {
                    complain(&format!("the agent ended: {status:?}"));
                    return Ok(());
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_asked_for_by_its_word_alone() {
        assert!(is_for_a_shell("console=ttyS0 dixtrap.shell\n"));
        assert!(!is_for_a_shell("console=ttyS0 dixtrap.shellfish x=dixtrap.shell"));
    }
}
