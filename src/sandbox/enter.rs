//! The way into the sandbox, for the process and then for each of its threads.

use std::cell::Cell;
use std::sync::OnceLock;

use seccompiler::BpfProgram;

use super::filter::Needs;
use super::process::{SandboxError, require_one_thread};
use super::thread::Thread;
use super::{files, filter, process, refused};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_while_another_thread_runs() {
        // The test itself is a thread beside the harness's.
        assert!(matches!(enter(Needs { uring: false }), Err(SandboxError::Threads(2..))));
    }
}
