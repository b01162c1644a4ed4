//! Kernels: what `--kernel` names, found, fetched and unpacked.

mod archive;
mod cache;
mod companions;
mod config;
mod debian;
mod folder;
mod image;
mod installed;
mod known;
pub mod modules;
mod package;
pub mod packing;
mod tree;
mod unpack;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::runner::host::beneath::BeneathError;
use crate::runner::host::blame::Blame;
use crate::runner::host::tools::ToolError;
use crate::runner::kernel::modules::{ModuleTree, ModulesError};
use crate::runner::select::meant::is_slip;

pub use archive::PackageError;
pub use config::configs;
pub use known::{Known, known};

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSpec {
    /// A bzImage, a vmlinux or a unified kernel image, and the directory of its modules where it has any.
    Image {
        /// The image.
        image: PathBuf,
        /// `lib/modules/RELEASE`, or a directory above it.
        modules: Option<PathBuf>,
    },
    /// A kernel package: .deb, .rpm, pacman's, or a tar archive of the kernel's own making.
    Package(PathBuf),
    /// The newest kernel of a Debian suite.
    Debian(String),
    /// A built kernel tree, or the folder of an unpacked package.
    Tree(PathBuf),
    /// The newest kernel in /boot that can be read, else that of the running Debian's suite.
    Default,
}

/// A kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The file for QEMU; absolute.
    pub image: PathBuf,
    /// Its modules; a kernel without any has everything built in.
    pub modules: Option<ModuleTree>,
    /// What its image says `uname -r` will be.
    pub release: String,
    /// Where it comes from, as the user named it.
    pub origin: String,
    /// What must live as long as the kernel is used.
    _keep: Vec<Arc<Keep>>,
}

/// What a kernel needs beside its paths.
#[derive(Debug)]
#[expect(dead_code, reason = "they are kept for what they do when they go")]
enum Keep {
    /// A file of our own making.
    Folder(TempDir),
    /// An entry of the cache, which nobody replaces meanwhile.
    Entry(cache::Held),
}

impl Kernel {
    /// The kernel in `file`, which lies at `path`; a part of a file becomes one of its own.
    fn of(
        mut file: &File,
        path: PathBuf,
        image: image::Image,
        origin: &str,
    ) -> Result<Kernel, KernelError> {
        let (release, origin) = (image.release, origin.to_owned());
        let Some(part) = image.part else {
            return Ok(Kernel { image: path, modules: None, release, origin, _keep: Vec::new() });
        };
        let dir = TempDir::with_prefix("dixtrap-kernel-")
            .map_err(KernelError::file(&std::env::temp_dir()))?;
        let copy = dir.path().join("vmlinuz");
        let mut out = File::create_new(&copy).map_err(KernelError::file(&copy))?;
        file.seek(SeekFrom::Start(part.offset)).map_err(KernelError::file(&path))?;
        let size = part.size.min(PART_LIMIT);
        let copied = io::copy(&mut file.take(size), &mut out).map_err(KernelError::file(&copy))?;
        if copied != part.size {
            return Err(KernelError::NotAnImage { path });
        }
        let keep = vec![Arc::new(Keep::Folder(dir))];
        Ok(Kernel { image: copy, modules: None, release, origin, _keep: keep })
    }

    /// The same kernel, from an entry of the cache.
    fn keeping(mut self, entry: cache::Held) -> Kernel {
        self._keep.push(Arc::new(Keep::Entry(entry)));
        self
    }
}

/// Kernels have a tenth of that.
const PART_LIMIT: u64 = 256 << 20;

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
    fn file(path: &Path) -> impl FnOnce(io::Error) -> KernelError + use<> {
        let path = path.to_owned();
        |source| KernelError::File { path, source }
    }
}

impl KernelSpec {
    /// Reads `--kernel` and `--modules`.
    ///
    /// # Errors
    /// When nothing of that name exists, or the two do not go together.
    pub fn parse(kernel: Option<&str>, modules: Option<&Path>) -> Result<KernelSpec, KernelError> {
        let spec = match kernel {
            None => KernelSpec::Default,
            Some(text) => match text.strip_prefix("debian:") {
                Some(suite) => debian::check_suite(suite)?,
                None => by_path(Path::new(text), modules)?,
            },
        };
        match (&spec, modules) {
            (KernelSpec::Image { .. }, _) | (_, None) => Ok(spec),
            _ => Err(KernelError::ModulesWithoutImage),
        }
    }

    /// Finds the kernel, and fetches and unpacks it where that is needed; `say` is told what takes
    /// its time.
    ///
    /// # Errors
    /// When it is not there, cannot be fetched or is not a kernel.
    pub fn locate(&self, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
        self.locate_now(false, say)
    }

    /// Like [`KernelSpec::locate`]; with `refresh`, what a suite has now even where an older kernel of it
    /// is cached.
    ///
    /// # Errors
    /// As [`KernelSpec::locate`].
    pub fn locate_now(&self, refresh: bool, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
        match self {
            KernelSpec::Image { image, modules } => tree::image(image, modules.as_deref()),
            KernelSpec::Tree(tree) => tree::built(tree),
            KernelSpec::Package(path) => package::locate(path, say),
            KernelSpec::Debian(suite) => debian::locate(suite, refresh, say),
            KernelSpec::Default => match installed::newest(Path::new("/")) {
                Some(kernel) => Ok(kernel),
                None => debian::locate(&installed::running_suite()?, refresh, say),
            },
        }
    }
}

/// The suite that was meant by `word`, where that is one with a slip in its distribution's name.
pub fn suite_meant(word: &str) -> Option<String> {
    let (distribution, suite) = word.split_once(':')?;
    let meant =
        is_slip(&distribution.to_lowercase(), "debian") && debian::check_suite(suite).is_ok();
    meant.then(|| format!("debian:{suite}"))
}

fn by_path(path: &Path, modules: Option<&Path>) -> Result<KernelSpec, KernelError> {
    let owned = path.to_owned();
    if path.is_dir() {
        Ok(KernelSpec::Tree(owned))
    } else if !path.is_file() {
        let meant = path.to_str().and_then(suite_meant);
        let meant = meant.map_or_else(|| ".".to_owned(), |name| format!(", did you mean {name}?"));
        Err(KernelError::NoSuchKernel { path: owned, meant })
    } else if archive::is_package(path).map_err(KernelError::file(path))? {
        Ok(KernelSpec::Package(owned))
    } else {
        Ok(KernelSpec::Image { image: owned, modules: modules.map(Path::to_owned) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) use super::image::tests::head as image_of;

    #[test]
    fn what_kernel_means_is_told_by_its_form() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let (image, deb) = (file("bzImage", b"x"), file("linux-image", b"!<arch>\n"));
        let parse = |path: &Path, modules| KernelSpec::parse(path.to_str(), modules);
        let modules = Some(dir.path());
        assert_eq!(
            parse(&image, modules).unwrap(),
            KernelSpec::Image { image, modules: modules.map(Path::to_owned) }
        );
        assert_eq!(parse(&deb, None).unwrap(), KernelSpec::Package(deb.clone()));
        assert_eq!(parse(dir.path(), None).unwrap(), KernelSpec::Tree(dir.path().into()));
        assert_eq!(KernelSpec::parse(None, None).unwrap(), KernelSpec::Default);
        let suite = KernelSpec::parse(Some("debian:sid"), None).unwrap();
        assert_eq!(suite, KernelSpec::Debian("sid".into()));
        for (kernel, modules) in
            [(deb.to_str(), modules), (None, modules), (Some("debian:sid"), modules)]
        {
            let error = KernelSpec::parse(kernel, modules).unwrap_err();
            assert!(matches!(error, KernelError::ModulesWithoutImage));
        }
        let gone = parse(&dir.path().join("gone"), None).unwrap_err();
        assert!(matches!(&gone, KernelError::NoSuchKernel { meant, .. } if meant == "."));
        let slip = KernelSpec::parse(Some("debain:sid"), None).unwrap_err();
        assert!(slip.to_string().contains(", did you mean debian:sid?"), "{slip}");
    }
}
