//! Who removes the sockets at the end: a process of its own, made before the daemon gives that up.
//!
//! The right to remove a file is one to a whole folder, and all that lies beneath it; the folder is often
//! where the user's images are. So the daemon keeps no such right. It asks this process, which can do
//! nothing else, has none of the daemon's descriptors, and ends with it.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, fork};

use super::{files, filter, process, refused};

/// How long the daemon waits for the work to be done.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon's end of it. Dropped, it has the work done.
#[derive(Debug)]
pub struct Janitor {
    line: UnixStream,
}

impl Janitor {
    /// Makes the process that does `work` when it is asked, and has the right to remove files in
    /// `folders`. Where the daemon is killed, the work is not done.
    ///
    /// What is captured by `work` exists twice then: the caller has to forget its own.
    pub fn hire(folders: &[PathBuf], work: impl FnOnce()) -> io::Result<Janitor> {
        super::require_one_thread()?;
        let (line, far) = UnixStream::pair()?;
        line.set_read_timeout(Some(PATIENCE))?;
        // Its end is noticed by nobody here, and by whoever started the daemon only after the daemon's.
        // SAFETY: no handler.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
        // SAFETY: this is the only thread, so the child has a whole process.
        match unsafe { fork() }? {
            ForkResult::Parent { .. } => {
                std::mem::forget(work);
                Ok(Janitor { line })
            }
            ForkResult::Child => {
                drop(line);
                serve(far, folders, work);
                // SAFETY: ends the process at once: what is left of the daemon in it is not its own.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let mut answer = Vec::new();
        // To its end, so that the process has gone, and leaves nothing for others to reap.
        let asked = self.line.write_all(&[1]).and_then(|()| self.line.read_to_end(&mut answer));
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let done = asked.and_then(|_| answer.first().map(drop).ok_or_else(gone));
        if let Err(error) = done {
            log::warn!("the sockets may not have been removed: {error}");
        }
    }
}

/// Waits to be asked; the daemon's end without a word is one too.
fn serve(mut line: UnixStream, folders: &[PathBuf], work: impl FnOnce()) {
    for ignored in
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE]
    {
        // SAFETY: no handler.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    keep_only(&line);
    // What cannot be had here is told by the daemon.
    let _ = (process::give_up(), files::restrict(folders), refused::install());
    let _ = filter::for_janitor().map(|program| seccompiler::apply_filter(&program));
    if line.read_exact(&mut [0]).is_ok() {
        work();
        let _ = line.write_all(&[1]);
    } else {
        // Undone, also by what its captures would do at their end: the next daemon may use the paths.
        std::mem::forget(work);
    }
}

/// Closes every descriptor but one: the daemon's files, and its standard streams, whose readers wait
/// for their end.
fn keep_only(line: &UnixStream) {
    let kept = line.as_raw_fd().unsigned_abs();
    // SAFETY: closes descriptors that this process got by being forked, and never touches again.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, kept.saturating_sub(1), 0);
        libc::syscall(libc::SYS_close_range, kept.saturating_add(1), u32::MAX, 0);
    }
}
