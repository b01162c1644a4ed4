//! Why QEMU does not run.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::runner::host::tools::ToolError;

/// The program.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Why QEMU does not run.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not installed.
    #[error(transparent)]
    Missing(#[from] ToolError),
    /// The one that was asked for is not there.
    #[error("there is no program {}: name QEMU's with --qemu, or leave that out", .0.display())]
    NoSuchProgram(PathBuf),
    /// The one that was asked for is something else.
    #[error("{} is not QEMU: asked for its --version it {said}", .program.display())]
    NotQemu {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        said: String,
    },
    /// Its process or its files cannot be made.
    #[error("cannot start {PROGRAM}")]
    Start(#[from] io::Error),
    /// It ended before the guest's kernel said anything.
    #[error("QEMU would not start ({status}): {message}")]
    WouldNotStart {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
}
