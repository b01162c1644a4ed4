//! The modules that a kernel needs for the wanted drivers, in the order to load them.

pub(crate) mod info;
mod tree;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use crate::runner::host::beneath::BeneathError;
use crate::runner::host::blame::Blame;
use info::plain;

pub use tree::{Meaning, ModuleTree};

/// A chain of modules that need each other has a dozen.
const DEPTH: usize = 64;

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
    /// A module needs one that the kernel does not have.
    #[error(
        "the driver {driver} of kernel {release} needs the module {needs}, which is not there: is a package of further modules missing?"
    )]
    MissingNeed {
        /// The driver's module name.
        driver: String,
        /// What it needs.
        needs: String,
        /// The kernel's release.
        release: String,
    },
    /// No kernel has that many, or that deep.
    #[error(
        "{path} has more files than the modules of a kernel, or folders in folders without end"
    )]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A module's file is not one.
    #[error("the module {path} cannot be read")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A file cannot be used.
    #[error(transparent)]
    Beneath(#[from] BeneathError),
}

impl ModulesError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            ModulesError::MissingDriver { .. } | ModulesError::MissingNeed { .. } => Blame::Kernel,
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
    /// The modules, each behind those it needs.
    pub modules: Vec<Module>,
    /// The wished drivers that the kernel does not have.
    pub missing: Vec<String>,
}

/// Finds the modules for the drivers in `require` and `wish`, and reads them. Without a tree, or
/// without its list of built-in modules, what is not found is taken to be built in; what the kernel has
/// then shows in the guest.
///
/// # Errors
/// [`ModulesError::MissingDriver`] and [`ModulesError::MissingNeed`] for a required driver, and where a
/// module cannot be read.
pub fn resolve(
    tree: Option<&ModuleTree>,
    require: &[String],
    wish: &[String],
) -> Result<Closure, ModulesError> {
    let Some(tree) = tree else { return Ok(Closure::default()) };
    let mut gathered = Gathered { tree, modules: Vec::new(), seen: HashMap::new() };
    for driver in require {
        match gathered.add(driver, DEPTH)? {
            Found::Yes => {}
            Found::Nothing if !tree.knows_built_in() => {}
            Found::Nothing => {
                let (driver, release) = (driver.clone(), tree.release().to_owned());
                return Err(ModulesError::MissingDriver { driver, release });
            }
            Found::Needs(needs) => {
                let (driver, release) = (driver.clone(), tree.release().to_owned());
                return Err(ModulesError::MissingNeed { driver, needs, release });
            }
        }
    }
    let mut missing = Vec::new();
    for driver in wish {
        match gathered.add(driver, DEPTH)? {
            Found::Yes => {}
            // Without the list of built-in modules nobody knows: the guest will tell.
            Found::Nothing if !tree.knows_built_in() => {}
            Found::Nothing | Found::Needs(_) => missing.push(driver.clone()),
        }
    }
    Ok(Closure { modules: gathered.modules, missing })
}

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// It is there, with all that it needs.
    Yes,
    /// The kernel has nothing of that name.
    Nothing,
    /// It is there, and this that it needs is not.
    Needs(String),
}

/// Modules, each behind those it needs, in modprobe's order.
struct Gathered<'t> {
    tree: &'t ModuleTree,
    modules: Vec<Module>,
    seen: HashMap<String, Found>,
}

impl Gathered<'_> {
    fn add(&mut self, name: &str, depth: usize) -> Result<Found, ModulesError> {
        let modules = match self.tree.meaning(name) {
            Meaning::BuiltIn => return Ok(Found::Yes),
            Meaning::Nothing => return Ok(Found::Nothing),
            Meaning::Modules(modules) => modules,
        };
        let mut found = Found::Nothing;
        for module in modules {
            // One of several that a name stands for is enough.
            match self.add_module(&module, depth)? {
                Found::Yes => found = Found::Yes,
                other if found == Found::Nothing => found = other,
                _ => {}
            }
        }
        Ok(found)
    }

    fn add_module(&mut self, name: &str, depth: usize) -> Result<Found, ModulesError> {
        if let Some(known) = self.seen.get(name) {
            return Ok(known.clone());
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(Found::Needs(format!("{name} and so on without an end")));
        };
        // Modules that need each other in a circle: each is loaded once.
        self.seen.insert(name.to_owned(), Found::Yes);
        let (module, info) = self.tree.load(name)?;
        for soft in &info.before {
            self.add(soft, depth)?;
        }
        for needed in &info.depends {
            let found = match self.add(needed, depth)? {
                Found::Nothing if self.tree.knows_built_in() => Found::Needs(plain(needed)),
                Found::Nothing => Found::Yes,
                other => other,
            };
            if found != Found::Yes {
                self.seen.insert(name.to_owned(), found.clone());
                return Ok(found);
            }
        }
        self.modules.push(module);
        for soft in &info.after {
            self.add(soft, depth)?;
        }
        Ok(Found::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::info::tests::module;
    use super::*;
    use crate::runner::host::beneath::Root;
    use std::fs;
    use std::path::Path;

    /// A tree of these modules: path and words.
    fn tree(base: &Path, modules: &[(&str, &[&str])]) -> ModuleTree {
        fs::write(base.join("modules.order"), "").unwrap();
        for (path, words) in modules {
            let path = base.join("kernel").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, module(words)).unwrap();
        }
        ModuleTree::installed(Root::open(base).unwrap(), "6.1.0-x").unwrap()
    }

    fn drivers(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(closure: &Closure) -> Vec<&str> {
        closure.modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn built_in_counts_and_missing_is_told_apart() {
        let base = tempfile::tempdir().unwrap();
        let builtin = base.path().join("modules.builtin");
        fs::write(builtin, "kernel/drivers/block/virtio_blk.ko\n").unwrap();
        let tree = tree(base.path(), &[]);
        let (blk, scsi) = (drivers(&["virtio_blk"]), drivers(&["virtio_scsi"]));
        let closure = resolve(Some(&tree), &blk, &scsi).unwrap();
        assert_eq!(closure, Closure { modules: vec![], missing: vec!["virtio_scsi".into()] });
        let error = resolve(Some(&tree), &scsi, &blk).unwrap_err();
        assert_eq!(error.blame(), Blame::Kernel);
        assert!(error.to_string().contains("no driver virtio_scsi"), "{error}");
    }

    #[test]
    fn no_modules_is_not_the_kernels_fault() {
        let base = tempfile::tempdir().unwrap();
        let error = ModuleTree::installed(Root::open(base.path()).unwrap(), "6.1.0-x").unwrap_err();
        assert_eq!(error.blame(), Blame::Host);
        assert!(resolve(None, &drivers(&["virtio_blk"]), &[]).unwrap().modules.is_empty());
    }

    #[test]
    fn each_comes_behind_what_it_needs() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("modules.builtin"), "kernel/lib/libcrc.ko\n").unwrap();
        let tree = tree(
            base.path(),
            &[
                ("fs/ext4.ko", &["depends=jbd2,libcrc", "softdep=pre: crc32c post: late"]),
                ("fs/jbd2.ko", &["depends="]),
                ("crypto/crc32c_generic.ko", &["alias=crc32c"]),
                ("crypto/crc32c-intel.ko", &["alias=crc32c", "depends=gone"]),
                ("late.ko", &["softdep=pre: ext4"]),
                ("circle-a.ko", &["depends=circle_b"]),
                ("circle-b.ko", &["depends=circle_a"]),
            ],
        );
        let closure = resolve(Some(&tree), &drivers(&["ext4", "circle-a"]), &[]).unwrap();
        let expected =
            ["crc32c_generic.ko", "jbd2.ko", "ext4.ko", "late.ko", "circle_b.ko", "circle_a.ko"];
        assert_eq!(names(&closure), expected);
        let error = resolve(Some(&tree), &drivers(&["crc32c_intel"]), &[]).unwrap_err();
        assert!(error.to_string().contains("needs the module gone"), "{error}");
        let closure = resolve(Some(&tree), &[], &drivers(&["crc32c_intel", "nothing"])).unwrap();
        assert_eq!(closure.missing, ["crc32c_intel", "nothing"]);
    }

    /// A package may have modules that need each other ten thousand deep.
    #[test]
    fn a_chain_without_an_end_has_one() {
        let base = tempfile::tempdir().unwrap();
        let words: Vec<String> = (1..300).map(|next| format!("depends=m{next}")).collect();
        let paths: Vec<String> = (0..299).map(|number| format!("m{number}.ko")).collect();
        for (path, word) in paths.iter().zip(&words) {
            tree(base.path(), &[(path, &[word])]);
        }
        let error = resolve(Some(&tree(base.path(), &[])), &drivers(&["m0"]), &[]).unwrap_err();
        assert!(error.to_string().contains("without an end"), "{error}");
    }
}
