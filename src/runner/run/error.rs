//! Why a kernel gave no result, and whose fault that is.

use std::path::PathBuf;

use crate::report::SessionError;
use crate::runner::guest::BootError;
use crate::runner::guest::probe::AccelError;
use crate::runner::host::blame::Blame;
use crate::runner::host::daemon::DaemonError;
use crate::runner::kernel::KernelError;
use crate::runner::select::catalogue::CatalogueError;

/// Why a kernel gave no result, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no kernel to boot.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Nothing to run it on.
    #[error(transparent)]
    Accel(#[from] AccelError),
    /// It did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It booted and found no disk.
    #[error("the guest's kernel did not find its disk: there is no {0}")]
    NoDisk(String),
    /// The disk's daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The scenarios.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The records.
    #[error(transparent)]
    Records(#[from] SessionError),
    /// The directory for the files of the boot.
    #[error("cannot make a directory in {}", .0.display())]
    Output(PathBuf, #[source] std::io::Error),
}

impl RunError {
    /// Whose fault it is; this alone decides between 125 and 129.
    pub fn blame(&self) -> Blame {
        match self {
            RunError::Kernel(error) => error.blame(),
            RunError::Accel(AccelError::Boot(error)) | RunError::Boot(error) => error.blame(),
            RunError::NoDisk(_) => Blame::Kernel,
            RunError::Accel(AccelError::NoKvm { .. })
            | RunError::Daemon(_)
            | RunError::Catalogue(_)
            | RunError::Records(_)
            | RunError::Output(..) => Blame::Host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_blame() {
        let path = || PathBuf::from("x");
        let kernel_missing = KernelError::NoSuchKernel { path: path(), meant: ".".into() };
        let no_kvm = AccelError::NoKvm { reason: "hangs".into() };
        let not_built = KernelError::NotBuilt { path: path(), missing: "bzImage" };
        for (error, blame) in [
            (RunError::from(kernel_missing), Blame::Host),
            (RunError::from(not_built), Blame::Kernel),
            (RunError::from(no_kvm), Blame::Host),
            (RunError::from(DaemonError::Missing(path())), Blame::Host),
            (RunError::from(SessionError::Empty(path())), Blame::Host),
        ] {
            assert_eq!(error.blame(), blame, "{error}");
        }
    }
}
