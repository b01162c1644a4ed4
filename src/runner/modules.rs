//! The modules that a kernel needs for the wanted drivers, in the order to load them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::runner::blame::Blame;
use crate::runner::tools::{Tool, ToolError};

/// A directory with `lib/modules/RELEASE` in it, `modules.dep` included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleTree {
    /// The directory above `lib`.
    pub base: PathBuf,
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
}

/// Why the modules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The kernel has no such driver, neither built in nor as a module.
    #[error("kernel {release} has no driver {driver}, neither built in nor as a module")]
    MissingDriver {
        /// The driver's module name.
        driver: String,
        /// The kernel's release.
        release: String,
    },
    /// There is no such directory of modules.
    #[error("there are no modules of kernel {release} in {path}")]
    NoModules {
        /// Where they were looked for.
        path: PathBuf,
        /// The kernel's release.
        release: String,
    },
    /// A file cannot be read or made.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// depmod, modprobe or an unpacker failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl ModulesError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            ModulesError::MissingDriver { .. } => Blame::Kernel,
            _ => Blame::Host,
        }
    }
}

/// A module, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its file's name, without compression's suffix: `virtio_blk.ko`.
    pub name: String,
    /// The ELF file.
    pub contents: Vec<u8>,
}

/// What [`resolve`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// The module files, each behind those it needs.
    pub files: Vec<PathBuf>,
    /// The wished drivers that the kernel does not have.
    pub missing: Vec<String>,
}

impl ModuleTree {
    /// `lib/modules/RELEASE`.
    pub fn dir(&self) -> PathBuf {
        self.base.join("lib/modules").join(&self.release)
    }

    /// Runs depmod where `modules.dep` is missing: kernel packages leave that to their installation.
    ///
    /// # Errors
    /// When there are no modules, and when depmod is missing or fails.
    pub fn index(&self) -> Result<(), ModulesError> {
        let dir = self.dir();
        if !dir.is_dir() {
            return Err(ModulesError::NoModules { path: dir, release: self.release.clone() });
        }
        if !dir.join("modules.dep.bin").is_file() {
            self.tool("depmod")?.arg("-b").arg(&self.base).arg(&self.release).output()?;
        }
        Ok(())
    }

    /// The module files behind `driver`, each behind those it needs; empty where it is built in.
    ///
    /// modprobe knows aliases, soft dependencies and built-in modules; the host's own configuration
    /// is kept from it.
    fn files_of(&self, driver: &str) -> Result<Vec<PathBuf>, ModulesError> {
        let tool = self.tool("modprobe")?.args(["-C", "/dev/null", "-d"]).arg(&self.base);
        let text = tool.args(["-S", &self.release, "--show-depends", driver]).text()?;
        let path = |line: &str| {
            let path = line.strip_prefix("insmod ")?.trim();
            Some(PathBuf::from(path.split(' ').next()?))
        };
        Ok(text.lines().filter_map(path).collect())
    }

    fn tool(&self, name: &str) -> Result<Tool, ModulesError> {
        Ok(Tool::find(name, "kmod")?)
    }
}

/// Finds the modules for the drivers in `require` and `wish`. Without a tree, or without its list of
/// built-in modules, what is not found is taken to be built in; what the kernel has then shows in the
/// guest.
///
/// # Errors
/// [`ModulesError::MissingDriver`] for a required driver; what [`ModuleTree::index`] says.
pub fn resolve(
    tree: Option<&ModuleTree>,
    require: &[String],
    wish: &[String],
) -> Result<Closure, ModulesError> {
    let Some(tree) = tree else { return Ok(Closure::default()) };
    tree.index()?;
    let knows_built_in = tree.dir().join("modules.builtin").is_file();
    let mut closure = Closure::default();
    let mut seen = HashSet::new();
    for (drivers, required) in [(require, true), (wish, false)] {
        for driver in drivers {
            match tree.files_of(driver) {
                Ok(files) => {
                    closure
                        .files
                        .extend(files.into_iter().filter(|file| seen.insert(file.clone())));
                }
                // Without the list of built-in modules nobody knows: the guest will tell.
                Err(ModulesError::Tool(ToolError::Failed { .. })) if !knows_built_in => {}
                Err(ModulesError::Tool(ToolError::Failed { .. })) if required => {
                    let (driver, release) = (driver.clone(), tree.release.clone());
                    return Err(ModulesError::MissingDriver { driver, release });
                }
                Err(ModulesError::Tool(ToolError::Failed { .. })) => {
                    closure.missing.push(driver.clone());
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(closure)
}

/// Reads a module's file and unpacks it: the guest's kernel takes plain ELF only.
///
/// # Errors
/// When the file cannot be read, or its unpacker is missing or fails.
pub fn unpack(path: &Path) -> Result<Module, ModulesError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (program, package) = match path.extension().and_then(OsStr::to_str) {
        Some("xz") => ("xz", "xz-utils"),
        Some("zst") => ("zstd", "zstd"),
        Some("gz") => ("gzip", "gzip"),
        _ => {
            let contents = fs::read(path)
                .map_err(|source| ModulesError::File { path: path.to_owned(), source })?;
            return Ok(Module { name, contents });
        }
    };
    let contents = Tool::find(program, package)?.arg("-dc").arg(path).output()?;
    let name = name.rsplit_once('.').map_or(name.clone(), |(stem, _)| stem.to_owned());
    Ok(Module { name, contents })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(base: &Path) -> ModuleTree {
        let tree = ModuleTree { base: base.to_owned(), release: "6.1.0-x".into() };
        fs::create_dir_all(tree.dir().join("kernel")).unwrap();
        tree
    }

    #[test]
    fn built_in_counts_and_missing_is_told_apart() {
        let base = tempfile::tempdir().unwrap();
        let tree = tree(base.path());
        fs::write(tree.dir().join("modules.builtin"), "kernel/drivers/block/virtio_blk.ko\n")
            .unwrap();
        fs::write(tree.dir().join("modules.order"), "").unwrap();
        let (blk, scsi) = (["virtio_blk".to_owned()], ["virtio_scsi".to_owned()]);
        let closure = resolve(Some(&tree), &blk, &scsi).unwrap();
        assert_eq!(closure, Closure { files: vec![], missing: vec!["virtio_scsi".into()] });
        let error = resolve(Some(&tree), &scsi, &blk).unwrap_err();
        assert_eq!(error.blame(), Blame::Kernel);
        assert!(error.to_string().contains("no driver virtio_scsi"), "{error}");
    }

    #[test]
    fn no_modules_is_not_the_kernels_fault() {
        let base = tempfile::tempdir().unwrap();
        let tree = ModuleTree { base: base.path().to_owned(), release: "6.1.0-x".into() };
        let error = resolve(Some(&tree), &[], &[]).unwrap_err();
        assert_eq!(error.blame(), Blame::Host);
        assert!(resolve(None, &["virtio_blk".to_owned()], &[]).unwrap().files.is_empty());
    }

    #[test]
    fn a_packed_module_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ko");
        fs::write(&path, b"ELF").unwrap();
        assert_eq!(unpack(&path).unwrap(), Module { name: "a.ko".into(), contents: b"ELF".into() });
        Tool::find("gzip", "gzip").unwrap().arg(&path).output().unwrap();
        let packed = unpack(&dir.path().join("a.ko.gz")).unwrap();
        assert_eq!(packed, Module { name: "a.ko".into(), contents: b"ELF".into() });
    }
}
