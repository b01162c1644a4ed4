//! Why an initramfs cannot be built.

use std::io;
use std::path::PathBuf;

use crate::runner::host::tools::ToolError;

/// The helper's name, on the host and in the guest.
pub(super) const HELPER: &str = "dixtrap-guest";

/// What is missing on the host, or cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The helper is not beside the program.
    #[error(
        "{HELPER} is not beside {program}: build the whole package, or name it in DIXTRAP_GUEST"
    )]
    NoHelper {
        /// The running program.
        program: PathBuf,
    },
    /// The only busybox needs libraries.
    #[error("{path} is not a static program: install the package busybox-static")]
    DynamicBusybox {
        /// The busybox that was found.
        path: PathBuf,
    },
    /// The library of an interpreter is no such thing.
    #[error("{root} has more than {limit}, which the library of an interpreter does not")]
    Endless {
        /// The folder.
        root: PathBuf,
        /// How much it may have.
        limit: &'static str,
    },
    /// A library is missing on the host.
    #[error("{program} needs {library}, which this machine does not have")]
    Library {
        /// The library.
        library: String,
        /// Who needs it.
        program: PathBuf,
    },
    /// A program of the host is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
