//! What can go wrong with a guest, and whose fault it is.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::runner::guest::console::ConsoleTail;
use crate::runner::guest::initramfs::InitramfsError;
use crate::runner::host::blame::Blame;
use crate::runner::host::qemu::QemuError;
use crate::runner::kernel::modules::ModulesError;

/// Why a guest did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The directory for the boot's files cannot be written.
    #[error("cannot write {path}")]
    Output {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The modules cannot be put together, or a driver is missing.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The initramfs cannot be put together.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    /// The guest cannot hold what it takes along.
    #[error(
        "the guest takes {mib} MiB of this machine along, which does not fit into its memory of {memory_mib} MiB: give it --memory {needed}M, or less to take along"
    )]
    TooMuch {
        /// What it would take along, in MiB.
        mib: u64,
        /// Its memory.
        memory_mib: u32,
        /// What it would need.
        needed: u64,
    },
    /// QEMU is missing or would not start.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// The kernel was started and did not come up to our agent.
    #[error("the kernel did not come up")]
    Kernel(#[source] GuestError),
    /// The same, and the kernel was given without modules.
    #[error(
        "the kernel did not come up; it was given without modules: name them with --modules, unless everything is built in"
    )]
    KernelWithoutModules(#[source] GuestError),
    /// It was booted several times, and did not come up at last.
    #[error(
        "in {died} of {tries} boots the kernel died before its agent answered, possibly of QEMU's own making (TCG), and the last"
    )]
    Again {
        /// How many of them died.
        died: usize,
        /// How many there were.
        tries: usize,
        /// What became of the last.
        source: Box<BootError>,
    },
}

impl BootError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            BootError::Modules(error) => error.blame(),
            BootError::Kernel(error) | BootError::KernelWithoutModules(error) => error.blame(),
            BootError::Again { source, .. } => source.blame(),
            BootError::Output { .. }
            | BootError::Initramfs(_)
            | BootError::TooMuch { .. }
            | BootError::Qemu(_) => Blame::Host,
        }
    }
}

/// What ended a guest, or a request to it. Each message ends with the console's last lines.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The kernel panicked.
    #[error("the guest kernel panicked: {line}{console}")]
    Panic {
        /// The console's line that says so.
        line: String,
        /// The console's end.
        console: ConsoleTail,
    },
    /// The kernel reported a fault of its own (Oops, BUG:) and cannot be trusted any more.
    #[error("the guest kernel reported a fault: {line}{console}")]
    Oops {
        /// The console's line that says so.
        line: String,
        /// The console's end.
        console: ConsoleTail,
    },
    /// A task hangs inside the guest kernel.
    #[error("a task hangs in the guest kernel: {line}{console}")]
    HungTask {
        /// The console's line that says so.
        line: String,
        /// The console's end.
        console: ConsoleTail,
    },
    /// The kernel says that it came to harm, and the console did not.
    #[error("the guest kernel is not to be trusted any more: {why}{console}")]
    Tainted {
        /// What its taint says.
        why: &'static str,
        /// The console's end.
        console: ConsoleTail,
    },
    /// QEMU was killed, or failed, while the guest ran.
    #[error("QEMU ended unasked ({status}){console}")]
    QemuExited {
        /// How QEMU ended.
        status: ExitStatus,
        /// The console's end.
        console: ConsoleTail,
    },
    /// The guest switched itself off, or restarted, unasked.
    #[error("the guest ended by itself{console}")]
    Ended {
        /// The console's end.
        console: ConsoleTail,
    },
    /// Nothing was heard in time.
    #[error("no answer to '{asked}' within {} s{}{console}", .limit.as_secs(), last_note(.noted))]
    TimedOut {
        /// What was asked of the guest.
        asked: String,
        /// How long was waited.
        limit: Duration,
        /// What the kernel had said of itself meanwhile, last: that a CPU is stuck, as a rule.
        noted: Option<String>,
        /// The console's end.
        console: ConsoleTail,
    },
    /// The agent cannot do what was asked (no such program, no such file).
    #[error("the guest's agent says: {message}")]
    Refused {
        /// The agent's words.
        message: String,
    },
    /// Whoever watched a program gave it up.
    #[error("a program in the guest was given up")]
    Abandoned,
    /// The agent's line is not of the protocol.
    #[error("the guest's agent sent a line that is not of the protocol: {line}")]
    Protocol {
        /// The line's beginning.
        line: String,
    },
    /// The socket to the agent, the console's file or QEMU's process cannot be used.
    #[error("cannot talk to the guest")]
    Link(#[from] std::io::Error),
}

fn last_note(noted: &Option<String>) -> String {
    noted.as_ref().map_or_else(String::new, |line| format!(" (its kernel had said: {line})"))
}

impl GuestError {
    /// Whose fault it is: QEMU that died and a broken link are the host's, the rest is the kernel's.
    pub fn blame(&self) -> Blame {
        match self {
            GuestError::QemuExited { .. }
            | GuestError::Refused { .. }
            | GuestError::Abandoned
            | GuestError::Protocol { .. }
            | GuestError::Link(_) => Blame::Host,
            _ => Blame::Kernel,
        }
    }

    /// The guest is lost: no further request can be answered.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, GuestError::Refused { .. })
    }
}
