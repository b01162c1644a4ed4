//! What a process gives up once and for all: privileges, and its memory's way into a file. What it must be
//! for that: one thread.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};

/// No privileges by running a program; no core dump, for guest memory would be in it; and nobody but
/// root looks into the process (ptrace(2), `/proc/PID/mem`).
pub(super) fn give_up() -> Result<(), Errno> {
    set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_dumpable(false)
}

/// Why the sandbox was not entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Somebody would stay outside.
    #[error(
        "{0} threads run already, and would stay outside of the sandbox: report this, and start with --no-sandbox"
    )]
    Threads(usize),
}

/// Refuses where other threads run. Where the kernel does not show them, the caller is believed.
pub(super) fn require_one_thread() -> Result<(), SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 { Err(SandboxError::Threads(threads)) } else { Ok(()) }
}

impl From<SandboxError> for io::Error {
    fn from(error: SandboxError) -> io::Error {
        io::Error::other(error)
    }
}
