//! What a process gives up once and for all: privileges, and its memory's way into a file.

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
