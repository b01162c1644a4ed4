//! A kernel that dies before its guest's agent answers: under TCG that may be QEMU's making, and the boot
//! is tried again, a bounded number of times.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::runner::guest::{BootError, BootRequest, Guest, GuestError};
use crate::runner::host::accel::Accel;
use crate::runner::host::progress::Progress;
use crate::runner::host::qemu::CONSOLE;

/// How often a boot is tried.
const TRIES: usize = 3;

/// The kernels of one boot that died before their agents answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deaths {
    lines: Vec<String>,
    tries: usize,
}

impl Deaths {
    /// What each said, and the file of its console.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// How often the kernel was booted.
    pub fn tries(&self) -> u32 {
        u32::try_from(self.tries).unwrap_or(u32::MAX)
    }

    fn add(&mut self, line: &str, console: &str) {
        self.lines.push(format!("{line} ({console})"));
    }
}

/// Boots the guest, and again where its kernel died before any cell could begin. The console of each try
/// stays, that of the last one where it always is.
///
/// # Errors
/// As [`super::boot()`]; where it was tried several times, the error says so.
pub fn boot(
    request: &BootRequest<'_>,
    deaths: &mut Deaths,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Result<Guest, BootError> {
    loop {
        deaths.tries = deaths.tries.saturating_add(1);
        let error = match super::boot(request) {
            Err(error) if request.accel == Accel::Tcg => error,
            result => return result,
        };
        let last = deaths.tries >= TRIES || interrupted.load(Ordering::Relaxed);
        let console =
            if last { CONSOLE.to_owned() } else { format!("console-{}.log", deaths.tries) };
        if let Some(line) = died_of(&error) {
            deaths.add(line, &console);
        } else if deaths.lines.is_empty() {
            return Err(error);
        }
        if last || died_of(&error).is_none() {
            return Err(told(error, deaths));
        }
        keep_console(&request.dir, &console);
        progress.note(&format!(
            "the kernel died before its agent answered, which may be QEMU's own making (TCG), and is booted again, \
             for the {} time of at most {TRIES}: {}",
            if deaths.tries == 1 { "second" } else { "third" },
            deaths.lines.last().map_or("", String::as_str),
        ));
    }
}

/// The console's line of a kernel that panicked, or had a fault of its own. Whatever else keeps a guest from
/// answering would do so again.
fn died_of(error: &BootError) -> Option<&str> {
    match error {
        BootError::Kernel(error) | BootError::KernelWithoutModules(error) => match error {
            GuestError::Panic { line, .. } | GuestError::Oops { line, .. } => Some(line),
            _ => None,
        },
        _ => None,
    }
}

fn told(error: BootError, deaths: &Deaths) -> BootError {
    if deaths.tries < 2 {
        return error;
    }
    BootError::Again { died: deaths.lines.len(), tries: deaths.tries, source: Box::new(error) }
}

fn keep_console(directory: &Path, name: &str) {
    if let Err(error) = fs::rename(directory.join(CONSOLE), directory.join(name)) {
        log::warn!("the console of the kernel that died is not kept in {name}: {error}");
    }
}
