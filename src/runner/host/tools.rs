//! The host's own programs that the runner calls.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::runner::host::child::spawn_tied;

/// Why a program of the host did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{program} is not installed: install the package {package}")]
    Missing {
        /// The program.
        program: String,
        /// Debian's package that brings it.
        package: String,
    },
    /// It cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It did not end.
    #[error("{command} did not end within {} s and was stopped", .limit.as_secs())]
    TimedOut {
        /// The program with its arguments.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// It failed.
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// The path of a program of the host: in PATH, or where administrators' programs are, which a plain
/// user's PATH leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    program_folders(&path).map(|dir| dir.join(name)).find(|path| is_program(path))
}

/// The folders that programs are looked for in, with `path` as PATH.
pub fn program_folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(path).chain(more)
}

/// Whether a program lies in one of the folders that programs are looked for in, by its path as it stands.
pub fn is_in_path(program: &Path) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = program_folders(&path).filter(|folder| folder.is_absolute());
    folders.any(|folder| program.parent() == Some(&folder))
}

/// Whether there is a file that may be executed.
pub fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A program of the host, ready for its arguments.
#[derive(Debug)]
pub struct Tool {
    name: String,
    command: Command,
    limit: Duration,
}

/// How long a program may take that has not been given longer.
const LIMIT: Duration = Duration::from_secs(120);
/// What is kept of a program's words; more is read, and left.
const KEPT: u64 = 64 << 20;

impl Tool {
    /// Finds the program `name`, which `package` brings.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub fn find(name: &str, package: &str) -> Result<Tool, ToolError> {
        let path = find_program(name).ok_or_else(|| ToolError::Missing {
            program: name.to_owned(),
            package: package.to_owned(),
        })?;
        Ok(Tool { name: name.to_owned(), ..Tool::at(&path) })
    }

    /// The program at `path`.
    pub fn at(path: &Path) -> Tool {
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("LC_ALL", "C");
        Tool { name: path.display().to_string(), command, limit: LIMIT }
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Tool {
        self.limit = limit;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.command.args(args);
        self
    }

    /// Sets the directory it works in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Tool {
        self.command.current_dir(dir);
        self
    }

    /// Runs it, and returns what it wrote to its standard output. It is stopped when its time is over,
    /// and when we end.
    ///
    /// # Errors
    /// When it cannot be started, does not end in time or does not exit with 0.
    pub fn output(self) -> Result<Vec<u8>, ToolError> {
        let (words, limit, name) = (self.words(), self.limit, self.name);
        let start = |source| ToolError::Start { program: name.clone(), source };
        let mut child = spawn_tied(self.command).map_err(start)?;
        let told = read_along(child.child().stdout.take());
        let complaints = read_along(child.child().stderr.take());
        let over = || ToolError::TimedOut { command: words.clone(), limit };
        let status = child.wait_at_most(limit).map_err(start)?.ok_or_else(over)?;
        // A child of its own may hold the pipe open for longer than it lived itself.
        let output = told.recv_timeout(limit).map_err(|_| over())?;
        if status.success() {
            return Ok(output);
        }
        let stderr = complaints.recv_timeout(limit).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        Err(ToolError::Failed { command: words, status, stderr })
    }

    /// The program with its arguments.
    fn words(&self) -> String {
        let args = self.command.get_args().map(|arg| arg.to_string_lossy().into_owned());
        std::iter::once(self.name.clone()).chain(args).collect::<Vec<_>>().join(" ")
    }

    /// Runs it, and returns its standard output as text.
    ///
    /// # Errors
    /// As [`Tool::output`].
    pub fn text(self) -> Result<String, ToolError> {
        self.output().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Reads a program's words while it runs: it would wait for ever for somebody to take them.
fn read_along(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before a failure is all that there is.
            let _ = pipe.by_ref().take(KEPT).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        // Whoever does not wait any more needs nothing.
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Tool::find("no-such-program", "some-package").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-program is not installed: install the package some-package"
        );
    }

    #[test]
    fn a_failure_tells_what_was_said() {
        let failing = Tool::find("sh", "dash").unwrap().args(["-c", "echo no >&2; exit 3"]);
        let text = failing.output().unwrap_err().to_string();
        assert!(text.contains("exit status: 3") && text.ends_with(": no"), "{text}");
        assert_eq!(Tool::find("echo", "coreutils").unwrap().arg("hi").text().unwrap(), "hi\n");
    }

    #[test]
    fn a_program_without_an_end_is_stopped() {
        let second = Duration::from_secs(1);
        let endless = Tool::find("sleep", "coreutils").unwrap().arg("1000").limit(second);
        let text = endless.output().unwrap_err().to_string();
        assert_eq!(text, "sleep 1000 did not end within 1 s and was stopped");
        // One that ends, and leaves a child that holds its output open.
        let tool = Tool::find("sh", "dash").unwrap().args(["-c", "sleep 5 & echo x"]);
        let text = tool.limit(second).output().unwrap_err().to_string();
        assert!(text.contains("did not end within 1 s"), "{text}");
    }

    #[test]
    fn a_program_may_say_more_than_a_pipe_holds() {
        let script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2";
        let tool = Tool::find("sh", "dash").unwrap().args(["-c", script]);
        assert_eq!(tool.output().unwrap().len(), 300_000);
    }
}
