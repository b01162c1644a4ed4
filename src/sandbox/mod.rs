//! What the daemon gives up once everything is open.
//!
//! A guest that breaks into the daemon should find itself with the disk it had anyway. The parts hold
//! each on its own, so that a kernel that lacks one still has the others:
//!
//! | file | what it knows |
//! |---|---|
//! | `calls` | which system calls each kind of thread may make, and why: no path, no process, no network |
//! | `filter` | the same as programs for the kernel (seccomp) |
//! | `refused` | what becomes of a call that is not in the table |
//! | `files` | no files, addresses and other processes (Landlock) |
//! | `process` | no privileges, no core dumps |
//! | `janitor` | who removes the sockets at the end, and connects to the private one |
//!
//! Landlock holds for a thread and those that it starts, and threads share their memory: one that is
//! outside lets all of them out. So [`enter`] comes before any other thread, and looks.

mod calls;
mod files;
mod filter;
mod janitor;
mod process;
mod refused;

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use seccompiler::BpfProgram;

pub use filter::Needs;
pub use janitor::{Door, Janitor, Porter};
pub use refused::EXIT_STATUS;

/// A kind of thread: what it may ask of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// Accepts front ends, sets their connections up, closes the disk at the end.
    Server,
    /// Hears one front end.
    Connection,
    /// Works on one queue.
    Queue,
    /// Accepts control clients.
    Control,
    /// Answers one of them.
    Client,
    /// Writes the records.
    Records,
    /// Waits for signals.
    Signals,
    /// Looks whether images have grown.
    Growth,
    /// Writes the daemon's messages.
    Messages,
    /// Looks for the guest's kernel in its memory.
    Explain,
    /// Passes a front end's messages on.
    Relay,
}

impl Thread {
    /// All kinds.
    const ALL: [Thread; 11] = [
        Thread::Server,
        Thread::Connection,
        Thread::Queue,
        Thread::Control,
        Thread::Client,
        Thread::Records,
        Thread::Signals,
        Thread::Growth,
        Thread::Messages,
        Thread::Explain,
        Thread::Relay,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// What it is called in documents.
    #[cfg(test)]
    const fn name(self) -> &'static str {
        match self {
            Thread::Server => "server",
            Thread::Connection => "connection",
            Thread::Queue => "queue",
            Thread::Control => "control",
            Thread::Client => "client",
            Thread::Records => "records",
            Thread::Signals => "signals",
            Thread::Growth => "growth",
            Thread::Messages => "messages",
            Thread::Explain => "explain",
            Thread::Relay => "relay",
        }
    }
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

/// The programs of the kinds of threads, once the process is inside.
static PROGRAMS: OnceLock<Vec<(Thread, BpfProgram)>> = OnceLock::new();

/// Enters the sandbox, with all threads that will ever be. What this kernel cannot do is left out, and
/// one line says so.
pub fn enter(needs: Needs) -> Result<(), SandboxError> {
    require_one_thread()?;
    let mut missing = Vec::new();
    if let Err(errno) = process::give_up() {
        missing.push(format!("privileges and core dumps stay as they were ({errno})"));
    }
    let landlock = files::restrict(&[], None).inspect_err(|error| log::debug!("Landlock: {error}"));
    let landlock = landlock.unwrap_or(files::Landlock::Absent);
    let partial = matches!(landlock, files::Landlock::Without(..));
    let filtered = take_filters(needs);
    let severe = !missing.is_empty() || landlock == files::Landlock::Absent || filtered.is_err();
    missing.extend(landlock.in_words());
    missing.extend(filtered.err().map(|error| format!("system calls are not filtered: {error}")));
    let missing = missing.join("; ");
    if severe {
        log::warn!("the sandbox has holes: {missing}");
    } else if partial {
        log::info!("the sandbox rests on its filter of system calls where {missing}");
    }
    Ok(())
}

/// Takes the filter of the server's thread, and keeps those of the others for them to take.
fn take_filters(needs: Needs) -> Result<(), Box<dyn std::error::Error>> {
    let programs = Thread::ALL
        .into_iter()
        .map(|thread| Ok((thread, filter::program(thread, needs)?)))
        .collect::<Result<Vec<_>, seccompiler::BackendError>>()?;
    refused::install()?;
    let server = programs.iter().find(|(thread, _)| *thread == Thread::Server);
    if let Some((_, program)) = server {
        seccompiler::apply_filter_all_threads(program)?;
    }
    // Nobody else has set it: there is one thread.
    let _ = PROGRAMS.set(programs);
    Ok(())
}

/// Takes away from the calling thread what its kind does not need; only once, and only inside.
pub fn confine(thread: Thread) {
    thread_local! {
        static CONFINED: Cell<bool> = const { Cell::new(false) };
    }
    let Some(programs) = PROGRAMS.get() else { return };
    if CONFINED.replace(true) {
        return;
    }
    let program = programs.iter().find(|(kind, _)| *kind == thread);
    let confined = program.map_or(Ok(()), |(_, program)| seccompiler::apply_filter(program));
    if let Err(error) = confined {
        log::warn!("a thread keeps the system calls of the whole daemon: {error}");
    }
}

/// Refuses where other threads run. Where the kernel does not show them, the caller is believed.
fn require_one_thread() -> Result<(), SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 { Err(SandboxError::Threads(threads)) } else { Ok(()) }
}

impl From<SandboxError> for io::Error {
    fn from(error: SandboxError) -> io::Error {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_while_another_thread_runs() {
        // The test itself is a thread beside the harness's.
        assert!(matches!(enter(Needs { uring: false }), Err(SandboxError::Threads(2..))));
    }
}
