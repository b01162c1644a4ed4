//! Kernels: what `--kernel` names, found, fetched and unpacked.

mod archive;
mod bootable;
pub(in crate::runner) mod cache;
mod companions;
mod config;
pub(in crate::runner) mod debian;
mod error;
mod folder;
mod image;
mod installed;
mod known;
pub mod modules;
mod package;
pub mod packing;
mod tree;
mod unpack;

use std::path::{Path, PathBuf};

use crate::runner::select::meant::is_slip;

pub use archive::PackageError;
pub use bootable::Kernel;
pub use config::configs;
pub use error::KernelError;
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

impl KernelSpec {
    /// Reads `--kernel` and `--modules`.
    ///
    /// # Errors
    /// When nothing of that name exists, or the two do not go together.
    pub fn parse(kernel: Option<&str>, modules: Option<&Path>) -> Result<KernelSpec, KernelError> {
        let spec = match kernel {
            None => KernelSpec::Default,
            Some(text) => match text.strip_prefix("debian:") {
                Some(suite) => {
                    debian::check_suite(suite)?;
                    KernelSpec::Debian(suite.to_owned())
                }
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
