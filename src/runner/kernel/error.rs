//! Why there is no kernel, and whose fault that is.

use std::io;
use std::path::{Path, PathBuf};

use super::archive::PackageError;
use crate::runner::host::beneath::BeneathError;
use crate::runner::host::blame::Blame;
use crate::runner::host::tools::ToolError;
use crate::runner::kernel::modules::ModulesError;

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No such file or directory.
    #[error(
        "there is no kernel {path}{meant} Give a bzImage, a built tree, a package or debian:SUITE"
    )]
    NoSuchKernel {
        /// What was named.
        path: PathBuf,
        /// What may have been meant; ends the sentence.
        meant: String,
    },
    /// Not a suite's name.
    #[error("'{0}' is not a Debian suite: use debian:bookworm, debian:trixie, debian:sid, …")]
    BadSuite(String),
    /// `--modules` without an image that it could belong to.
    #[error(
        "--modules goes with --kernel and an image only: everything else brings its own modules"
    )]
    ModulesWithoutImage,
    /// The file is not a kernel.
    #[error(
        "{path} is not an x86-64 kernel image: give a bzImage or vmlinuz, a vmlinux with a PVH note, a unified kernel image or a package"
    )]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// A kernel for another machine: no commit is to blame for that.
    #[error(
        "{path} is a kernel for {arch}, and dixtrap boots kernels for x86-64: build it with ARCH=x86_64, or take the package for amd64 (x86_64)"
    )]
    OtherArchitecture {
        /// The kernel, its tree or its package.
        path: PathBuf,
        /// The machine.
        arch: String,
    },
    /// An ELF file that QEMU cannot start.
    #[error(
        "{path} is a vmlinux without a PVH note, which QEMU cannot start: give the bzImage of the same build, or build with CONFIG_PVH=y"
    )]
    NoPvh {
        /// The file.
        path: PathBuf,
    },
    /// A tree that is not built.
    #[error("{path} is not a built kernel tree (no {missing}): run make there first")]
    NotBuilt {
        /// The tree.
        path: PathBuf,
        /// The file that a build makes.
        missing: &'static str,
    },
    /// A directory of something else.
    #[error(
        "{path} is neither a kernel tree (no Kconfig) nor an unpacked package (no boot/vmlinuz): give a bzImage, a built tree, a package or debian:SUITE"
    )]
    NotATree {
        /// The directory.
        path: PathBuf,
    },
    /// A package without a kernel in it.
    #[error(
        "{path} has no kernel in it: give the package with the image (linux-image, kernel-core), and put those with its modules beside it"
    )]
    NoKernelInPackage {
        /// The package, or the directory where packages were unpacked.
        path: PathBuf,
    },
    /// More than one kernel in one place.
    #[error("{path} has several kernels in it ({releases}): give one, with its --modules")]
    SeveralKernels {
        /// The package or folder.
        path: PathBuf,
        /// Their releases.
        releases: String,
    },
    /// A kernel whose other half is not there.
    #[error("{path} needs the package {package}, which is not beside it: put it there")]
    MissingCompanion {
        /// The package.
        path: PathBuf,
        /// The missing package's name.
        package: String,
    },
    /// A package that is broken, or means harm.
    #[error("cannot use the package {path}")]
    Package {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        source: PackageError,
    },
    /// Nothing to boot by default.
    #[error("no kernel in /boot can be read, and this is not Debian: name one with --kernel")]
    NoDefault,
    /// apt knows no Debian mirror.
    #[error("apt has no Debian source on this machine: give --kernel a bzImage or a .deb")]
    NoMirror,
    /// The suite has no kernel package that we know.
    #[error("the suite {suite} has no package {wanted}")]
    NoPackage {
        /// The suite.
        suite: String,
        /// The packages that were looked for.
        wanted: String,
    },
    /// A suite cannot be fetched.
    #[error(
        "cannot fetch the kernel of {suite}: is the network up, and is it a suite of this mirror?"
    )]
    Fetch {
        /// The suite.
        suite: String,
        /// What apt said.
        source: ToolError,
    },
    /// The mirror does not have the suite, or has lost its kernel.
    #[error(
        "the Debian mirror of this machine does not have {suite}, or not all of it: is the name right? A release whose support has ended moves to Debian's archive (archive.debian.org): make that a source of apt, or fetch its linux-image package there and give --kernel that file"
    )]
    NotServed {
        /// The suite.
        suite: String,
        /// What apt said.
        source: ToolError,
    },
    /// A cached kernel that is to be replaced is in use.
    #[error("another run uses the kernel in {path}: try again when it has ended")]
    InUse {
        /// The entry.
        path: PathBuf,
    },
    /// There is nowhere to keep fetched kernels.
    #[error("neither XDG_CACHE_HOME nor HOME is set: there is nowhere to keep kernels")]
    NoCache,
    /// Something in a folder cannot be used.
    #[error(transparent)]
    Beneath(#[from] BeneathError),
    /// The modules cannot be used.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// A program of the host is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file cannot be read or made.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl KernelError {
    /// Whose fault it is: in a bisection a tree that did not build is the commit's own doing.
    pub fn blame(&self) -> Blame {
        match self {
            KernelError::NotBuilt { .. } => Blame::Kernel,
            KernelError::Modules(error) => error.blame(),
            _ => Blame::Host,
        }
    }

    /// For `map_err`: the system's reason, with the path it is about.
    pub(in crate::runner) fn file(path: &Path) -> impl FnOnce(io::Error) -> KernelError + use<> {
        let path = path.to_owned();
        |source| KernelError::File { path, source }
    }
}
