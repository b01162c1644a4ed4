//! Which QEMU there is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::{PROGRAM, QemuError};
use super::files::absolute;
use crate::runner::host::child::spawn_tied;
use crate::runner::host::tools::{ToolError, find_program, is_program};

/// Finds QEMU: the one that was named, by path or by a name in PATH, else the distribution's.
///
/// # Errors
/// [`QemuError::Missing`], which names the package; [`QemuError::NoSuchProgram`] for one that was named.
pub fn find(named: Option<&Path>) -> Result<PathBuf, QemuError> {
    let Some(named) = named else {
        return find_program(PROGRAM).ok_or_else(|| {
            let (program, package) = (PROGRAM.to_owned(), "qemu-system-x86".to_owned());
            QemuError::Missing(ToolError::Missing { program, package })
        });
    };
    let found = match named.to_str() {
        Some(name) if !name.contains('/') => find_program(name),
        // QEMU works in a directory of its own.
        _ => Some(absolute(named)).filter(|path| is_program(path)),
    };
    found.ok_or_else(|| QemuError::NoSuchProgram(named.to_owned()))
}

/// How long QEMU may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Asks `program` for its version: the first line of what it says.
///
/// # Errors
/// [`QemuError::NotQemu`] where it is something else, or does not answer.
pub fn version(program: &Path) -> Result<String, QemuError> {
    let not = |said: String| QemuError::NotQemu { program: program.to_owned(), said };
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        spawn_tied(command).map_err(|error| not(format!("would not start: {error}")))?;
    let ended = child.wait_at_most(VERSION_LIMIT)?;
    let status =
        ended.ok_or_else(|| not(format!("said nothing for {} s", VERSION_LIMIT.as_secs())))?;
    let mut said = Vec::new();
    if let Some(pipe) = child.child().stdout.take() {
        // It has ended: what it said lies in the pipe.
        pipe.take(4096).read_to_end(&mut said)?;
    }
    let said = String::from_utf8_lossy(&said);
    let line: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
    if line.starts_with("QEMU emulator version ") {
        return Ok(line);
    }
    Err(not(match line.is_empty() {
        true => format!("ended without a word ({status})"),
        false => format!("said '{line}'"),
    }))
}
