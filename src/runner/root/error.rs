//! Why there is no root file system to run in.

use std::path::PathBuf;

use crate::runner::host::tools::ToolError;
use crate::runner::kernel::KernelError;

/// Why there is no root file system to run in.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Neither a folder nor a file nor a word that is known.
    #[error(
        "--root {0}: there is no such folder or image; it may also be host, or debian:SUITE+PACKAGE,PACKAGE"
    )]
    Unknown(String),
    /// A suite's name with such characters.
    #[error("--root: '{0}' is no suite's name: use debian:SUITE, as in debian:trixie")]
    NotASuite(String),
    /// A package's name with characters that none has.
    #[error("--root: '{0}' is no package's name: use debian:SUITE+PACKAGE,PACKAGE")]
    NotAPackage(String),
    /// Neither folder nor file.
    #[error("--root {}: a root is a folder, or an image (raw or qcow2)", .0.display())]
    NotARoot(PathBuf),
    /// A folder without programs.
    #[error("--root {}: there is no bin/sh in it, which a command needs", .0.display())]
    NoShell(PathBuf),
    /// An image that cannot be read.
    #[error("--root {}: it cannot be read", .0.display())]
    Image(PathBuf, #[source] std::io::Error),
    /// An image that has other files behind it.
    #[error(
        "--root {}: it has a backing or data file, which the guest would read as well: make it one file with \
         'qemu-img convert -O qcow2'",
        .0.display()
    )]
    LeadsElsewhere(PathBuf),
    /// The suite, a mirror, or the cache.
    #[error("the root cannot be made")]
    Debian(#[source] Box<KernelError>),
    /// A program of the host.
    #[error("the root cannot be made")]
    Tool(#[from] ToolError),
    /// Packages that do not exist, or do not go together.
    #[error("no root of debian:{suite} with {packages} can be made")]
    Packages {
        /// The suite.
        suite: String,
        /// The packages that were asked for.
        packages: String,
        /// What mmdebstrap said.
        source: Box<KernelError>,
    },
}

impl From<KernelError> for RootError {
    fn from(error: KernelError) -> RootError {
        RootError::Debian(Box::new(error))
    }
}
