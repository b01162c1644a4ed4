//! Who removes the sockets at the end: a process of its own, made before the daemon gives that up.
//!
//! The right to remove a file is one to a whole folder, and all that lies beneath it; the folder is often
//! where the user's images are. So the daemon keeps no such right. It asks this process, which can do
//! nothing else, has none of the daemon's descriptors, and ends with it.
//!
//! It also connects to the daemon's private socket, which nobody inside of the sandbox can: the daemon gets
//! the descriptor, and has no say in where it leads.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, fork};
use rustix::net::{RecvFlags, SendFlags};

use super::{files, filter, process, refused};
use crate::ancillary;

/// How long the daemon waits for the work to be done.
const PATIENCE: Duration = Duration::from_secs(5);

/// It is asked for its work, and ends after it.
const CLEAN: u8 = 1;
/// It is asked for a connection.
const CONNECT: u8 = 2;

/// A socket that the janitor can connect to.
pub trait Door: AsFd {
    /// Connects to the socket, as its client.
    fn connect(&self) -> io::Result<UnixStream>;
}

/// The daemon's end of it. Dropped, it has the work done.
#[derive(Debug)]
pub struct Janitor {
    line: UnixStream,
}

impl Janitor {
    /// Makes the process that does `work` when it is asked, and has the right to remove files in
    /// `folders`; it connects to `door` for its [`Porter`]. Where the daemon is killed, the work is not done.
    ///
    /// What is captured by `work` exists twice then: the caller has to forget its own.
    pub fn hire(
        folders: &[PathBuf],
        door: Option<&dyn Door>,
        work: impl FnOnce(),
    ) -> io::Result<Janitor> {
        process::require_one_thread()?;
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
                serve(far, folders, door, work);
                // SAFETY: ends the process at once: what is left of the daemon in it is not its own.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

/// Asks the janitor for connections.
#[derive(Debug)]
pub struct Porter {
    line: UnixStream,
}

impl Janitor {
    /// Who asks for connections to the door; never two at once, and not while the janitor is let go.
    pub fn porter(&self) -> io::Result<Porter> {
        Ok(Porter { line: self.line.try_clone()? })
    }
}

impl Porter {
    /// A new connection to the door.
    pub fn connect(&self) -> io::Result<UnixStream> {
        (&self.line).write_all(&[CONNECT])?;
        let (mut answer, mut files) = ([0], Vec::new());
        ancillary::receive(&self.line, &mut answer, &mut files, RecvFlags::empty())?;
        let none = || io::Error::other("the janitor made no connection");
        files.pop().map(UnixStream::from).ok_or_else(none)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let mut answer = Vec::new();
        // To its end, so that the process has gone, and leaves nothing for others to reap.
        let asked = self.line.write_all(&[CLEAN]).and_then(|()| self.line.read_to_end(&mut answer));
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let done = asked.and_then(|_| answer.first().map(drop).ok_or_else(gone));
        if let Err(error) = done {
            log::warn!("the sockets may not have been removed: {error}");
        }
    }
}

/// Does what it is asked; the daemon's end without a word is one too.
fn serve(mut line: UnixStream, folders: &[PathBuf], door: Option<&dyn Door>, work: impl FnOnce()) {
    for ignored in
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE]
    {
        // SAFETY: no handler.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    let opening = door.map(|door| door.as_fd());
    keep_only([Some(line.as_fd()), opening]);
    // What cannot be had here is told by the daemon.
    let _ = (process::give_up(), files::restrict(folders, opening), refused::install());
    let _ = filter::for_janitor(door.is_some()).map(|program| seccompiler::apply_filter(&program));
    let mut asked = [0];
    while line.read_exact(&mut asked).is_ok() {
        if asked == [CONNECT] {
            open(&line, door);
            continue;
        }
        work();
        let _ = line.write_all(&[1]);
        return;
    }
    // Undone, also by what its captures would do at their end: the next daemon may use the paths.
    std::mem::forget(work);
}

/// Answers with a connection, or with a byte alone.
fn open(line: &UnixStream, door: Option<&dyn Door>) {
    let made = door.and_then(|door| door.connect().ok());
    let files: Vec<_> = made.iter().map(AsFd::as_fd).collect();
    let _ = ancillary::send(line, &[1], &files, SendFlags::empty());
}

/// Closes every other descriptor: the daemon's files, and its standard streams, whose readers wait for
/// their end.
fn keep_only<const N: usize>(kept: [Option<BorrowedFd<'_>>; N]) {
    let mut kept: Vec<u32> =
        kept.into_iter().flatten().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(u32::MAX, |last| last.saturating_sub(1));
        if last.is_none_or(|last| last > first) {
            // SAFETY: closes descriptors that this process got by being forked, and never touches again.
            unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
        }
        first = last.unwrap_or(0).saturating_add(1);
    }
}
