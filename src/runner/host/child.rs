//! Child processes that do not outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// How often an ending child is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A child process that is killed and reaped when this value is dropped, and by the kernel when the
/// thread that started it ends first, so that not even SIGKILL to us leaves it behind.
#[derive(Debug)]
pub struct ChildGuard {
    child: Child,
}

/// Starts `command` as a child that dies with the calling thread.
///
/// # Errors
/// The system's, where the program cannot be started.
pub fn spawn_tied(mut command: Command) -> io::Result<ChildGuard> {
    // SAFETY: the closure runs between fork and exec; prctl(2) is async-signal-safe, and turning its
    // errno into an io::Error allocates nothing.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
    Ok(ChildGuard { child: command.spawn()? })
}

impl ChildGuard {
    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits at most `limit` for the child to end by itself; `None` where it still runs.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_at_most(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now().checked_add(limit);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if deadline.is_none_or(|end| Instant::now() >= end) {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_dropped_guard_leaves_no_process() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let guard = spawn_tied(command).unwrap();
        let proc = format!("/proc/{}", guard.id());
        assert!(Path::new(&proc).exists());
        drop(guard);
        assert!(!Path::new(&proc).exists());
    }

    #[test]
    fn waiting_is_bounded() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut guard = spawn_tied(command).unwrap();
        assert!(guard.wait_at_most(Duration::from_millis(30)).unwrap().is_none());
        let mut quick = spawn_tied(Command::new("true")).unwrap();
        assert!(quick.wait_at_most(Duration::from_secs(10)).unwrap().unwrap().success());
    }
}
