//! The host's own programs that the runner calls.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

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
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|path| is_program(path))
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
}

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
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).env("LC_ALL", "C");
        Ok(Tool { name: name.to_owned(), command })
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

    /// Runs it, and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0.
    pub fn output(mut self) -> Result<Vec<u8>, ToolError> {
        let output = self
            .command
            .output()
            .map_err(|source| ToolError::Start { program: self.name.clone(), source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let args = self.command.get_args().map(|arg| arg.to_string_lossy().into_owned());
        Err(ToolError::Failed {
            command: std::iter::once(self.name.clone()).chain(args).collect::<Vec<_>>().join(" "),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs it, and returns its standard output as text.
    ///
    /// # Errors
    /// As [`Tool::output`].
    pub fn text(self) -> Result<String, ToolError> {
        self.output().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
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
}
