//! Unpacked packages: in the cache, and where somebody unpacked them by hand. Read in place; nothing in
//! them is followed out of them.

use std::path::{Path, PathBuf};

use super::{Kernel, KernelError, image};
use crate::runner::host::beneath::Root;
use crate::runner::kernel::modules::{ModuleTree, ModulesError};

/// Where modules lie.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];
/// What kernels are called on this machine's kind, and what on others.
const NAMES: [&str; 2] = ["vmlinuz", "bzImage"];
const OTHER_NAMES: [&str; 2] = ["vmlinux", "Image"];

/// The kernel in the folder `root`, and its modules.
///
/// # Errors
/// Where there is none, where there are several, and where something leads out of the folder.
pub fn open(root: &Root, origin: &str) -> Result<Kernel, KernelError> {
    let mut found: Option<Kernel> = None;
    let mut others = Vec::new();
    let mut trouble = None;
    for name in candidates(root)? {
        match kernel(root, &name, origin) {
            Err(error) => drop(trouble.get_or_insert(error)),
            Ok(kernel) => match &found {
                None => found = Some(kernel),
                // Some packages have it in both places.
                Some(known) if known.release == kernel.release => {}
                Some(_) => others.push(kernel.release),
            },
        }
    }
    let missing = KernelError::NoKernelInPackage { path: root.path().to_owned() };
    let Some(mut kernel) = found else { return Err(trouble.unwrap_or(missing)) };
    if !others.is_empty() {
        others.insert(0, kernel.release);
        let (path, releases) = (root.path().to_owned(), others.join(", "));
        return Err(KernelError::SeveralKernels { path, releases });
    }
    kernel.modules = modules(root, &kernel.release)?;
    Ok(kernel)
}

/// The files that may be kernels, those of this machine's kind first.
fn candidates(root: &Root) -> Result<Vec<PathBuf>, KernelError> {
    let mut folders = vec![PathBuf::from("boot"), PathBuf::from(".")];
    for base in MODULES {
        let within = root.names(Path::new(base))?;
        folders.extend(within.into_iter().map(|(name, _)| Path::new(base).join(name)));
    }
    let mut found = Vec::new();
    for names in [NAMES, OTHER_NAMES] {
        for folder in &folders {
            for (name, is_dir) in root.names(folder)? {
                let text = name.to_string_lossy();
                if !is_dir && names.iter().any(|start| text.starts_with(start)) {
                    found.push(folder.join(name));
                }
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn kernel(root: &Root, name: &Path, origin: &str) -> Result<Kernel, KernelError> {
    let file = root.file(name)?;
    let path = root.real_path(name)?;
    let image = image::look(&file, &path)?;
    Kernel::of(&file, path, image, origin)
}

/// The modules of `release`, in their place or in the folder itself.
fn modules(root: &Root, release: &str) -> Result<Option<ModuleTree>, KernelError> {
    let places = MODULES.map(|base| Path::new(base).join(release));
    let mut there = places.iter().filter(|place| root.is_dir(place));
    let folder = match there.next() {
        Some(place) => root.folder(place)?,
        None if is_module_folder(root) => root.folder(Path::new("."))?,
        None => return Ok(None),
    };
    match ModuleTree::installed(folder, release) {
        Ok(tree) => Ok(Some(tree)),
        Err(ModulesError::NoModules { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The folder is a `lib/modules/RELEASE` itself.
pub fn is_module_folder(root: &Root) -> bool {
    root.is_file(Path::new("modules.order")) || root.is_dir(Path::new("kernel"))
}

/// The folder of the modules of `release`, which the user may have named by any folder above it.
pub fn module_folder(root: &Root, release: &str) -> Result<Option<Root>, KernelError> {
    let above = ["", MODULES[0], MODULES[1]].map(|part| Path::new(part).join(release));
    for place in above {
        match root.folder(&place) {
            Ok(folder) => return Ok(Some(folder)),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if is_module_folder(root) { Ok(Some(root.folder(Path::new("."))?)) } else { Ok(None) }
}
