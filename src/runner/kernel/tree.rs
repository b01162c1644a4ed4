//! Kernels that lie about as files: an image with a directory of modules, and a built tree. Nothing is
//! written there; what depmod writes goes into a directory of links beside our other temporary files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Kernel, KernelError, image};
use crate::runner::modules::{ModuleTree, ModulesError};

/// The image that a build makes.
const BUILT_IMAGE: &str = "arch/x86/boot/bzImage";

/// A bzImage, with the modules in or below `modules`.
pub fn image(image: &Path, modules: Option<&Path>) -> Result<Kernel, KernelError> {
    let release = image::release(image)?;
    let view = modules
        .map(|dir| {
            let missing = || ModulesError::NoModules { path: dir.into(), release: release.clone() };
            let dir = module_dir(dir, &release).ok_or_else(missing)?;
            let view = View::new(&release)?;
            for entry in fs::read_dir(&dir).map_err(KernelError::file(&dir))?.flatten() {
                view.link(&entry.path(), Path::new(&entry.file_name()))?;
            }
            Ok::<_, KernelError>(view)
        })
        .transpose()?;
    kernel(image, release, view)
}

/// A built tree: its image, and its modules where they were built.
pub fn built(tree: &Path) -> Result<Kernel, KernelError> {
    let not_built = |missing| KernelError::NotBuilt { path: tree.to_owned(), missing };
    let image = tree.join(BUILT_IMAGE);
    if !image.is_file() {
        // A build directory (O=) has no Kconfig, but a Makefile and a .config of its own.
        if !["Kconfig", ".config"].iter().any(|name| tree.join(name).is_file()) {
            return Err(KernelError::NotATree { path: tree.to_owned() });
        }
        return Err(not_built(BUILT_IMAGE));
    }
    let release = image::release(&image)?;
    // A tree without modules (CONFIG_MODULES=n) has no list of them.
    let order = tree.join("modules.order");
    let Ok(list) = fs::read_to_string(&order) else { return kernel(&image, release, None) };
    let view = View::new(&release)?;
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        if tree.join(name).is_file() {
            view.link(&tree.join(name), Path::new(name))?;
        }
    }
    for module in list.lines().filter_map(module_path) {
        let file = tree.join(&module);
        // What "make modules" has not built yet is as good as not configured.
        if file.is_file() {
            view.link(&file, &Path::new("kernel").join(&module))?;
        }
    }
    kernel(&image, release, Some(view))
}

/// A module's place in the tree: modules.order has had "kernel/fs/x.ko", "fs/x.ko" and "fs/x.o".
fn module_path(line: &str) -> Option<PathBuf> {
    let path = line.trim().strip_prefix("kernel/").unwrap_or(line.trim());
    let stem = path.strip_suffix(".ko").or_else(|| path.strip_suffix(".o"))?;
    let inside = !stem.starts_with('/') && !stem.split('/').any(|part| part == "..");
    inside.then(|| PathBuf::from(format!("{stem}.ko")))
}

/// The modules' directory, which the user may have named by any directory above it.
fn module_dir(dir: &Path, release: &str) -> Option<PathBuf> {
    let above = ["", "lib/modules", "usr/lib/modules"].map(|part| dir.join(part).join(release));
    let itself = dir.join("modules.order").is_file() || dir.join("kernel").is_dir();
    above.into_iter().find(|path| path.is_dir()).or_else(|| itself.then(|| dir.to_owned()))
}

fn kernel(image: &Path, release: String, view: Option<View>) -> Result<Kernel, KernelError> {
    let origin = image.display().to_string();
    let image = fs::canonicalize(image).map_err(KernelError::file(image))?;
    let (modules, keep) = match view {
        Some(view) => {
            let tree = ModuleTree { base: view.dir.path().to_owned(), release: release.clone() };
            tree.index()?;
            (Some(tree), Some(Arc::new(view.dir)))
        }
        None => (None, None),
    };
    Ok(Kernel { image, modules, release, origin, _keep: keep })
}

/// A module directory made of links.
struct View {
    dir: TempDir,
    modules: PathBuf,
}

impl View {
    fn new(release: &str) -> Result<View, KernelError> {
        let dir = TempDir::with_prefix("dixtrap-modules-")
            .map_err(KernelError::file(&std::env::temp_dir()))?;
        let modules = dir.path().join("lib/modules").join(release);
        fs::create_dir_all(&modules).map_err(KernelError::file(&modules))?;
        fs::create_dir(dir.path().join("usr")).map_err(KernelError::file(dir.path()))?;
        symlink("../lib", dir.path().join("usr/lib")).map_err(KernelError::file(dir.path()))?;
        Ok(View { dir, modules })
    }

    fn link(&self, target: &Path, name: &Path) -> Result<(), KernelError> {
        let target = fs::canonicalize(target).map_err(KernelError::file(target))?;
        let link = self.modules.join(name);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(KernelError::file(parent))?;
        }
        symlink(target, &link).map_err(KernelError::file(&link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::blame::Blame;
    use crate::runner::modules::resolve;

    fn write(path: PathBuf, contents: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    #[test]
    fn a_built_tree_is_used_in_place() {
        let tree = tempfile::tempdir().unwrap();
        let error = built(tree.path()).unwrap_err();
        assert_eq!(error.blame(), Blame::Host, "{error}");
        write(tree.path().join("Kconfig"), b"");
        let error = built(tree.path()).unwrap_err();
        assert_eq!(error.blame(), Blame::Kernel, "{error}");
        write(tree.path().join(BUILT_IMAGE), &image::tests::head("6.9.0-mine"));
        assert!(built(tree.path()).unwrap().modules.is_none());
        write(tree.path().join("modules.order"), b"fs/ext4/ext4.o\nfs/gone/gone.o\n");
        write(tree.path().join("modules.builtin"), b"kernel/drivers/block/virtio_blk.ko\n");
        write(tree.path().join("fs/ext4/ext4.ko"), b"");
        let kernel = built(tree.path()).unwrap();
        assert_eq!(kernel.release, "6.9.0-mine");
        let entries = fs::read_dir(tree.path()).unwrap().count();
        assert_eq!(entries, 5, "nothing is written into the tree");
        let wish = ["virtio_blk".to_owned(), "gone".to_owned()];
        let closure = resolve(kernel.modules.as_ref(), &[], &wish).unwrap();
        assert_eq!(closure.missing, ["gone"]);
    }

    #[test]
    fn modules_may_be_named_by_any_directory_above() {
        let dir = tempfile::tempdir().unwrap();
        let image_path = dir.path().join("bzImage");
        write(image_path.clone(), &image::tests::head("6.9.0-mine"));
        let modules = dir.path().join("out/lib/modules/6.9.0-mine");
        write(modules.join("modules.order"), b"");
        for named in [dir.path().join("out"), dir.path().join("out/lib/modules"), modules.clone()] {
            let kernel = image(&image_path, Some(&named)).unwrap();
            assert!(kernel.modules.unwrap().dir().join("modules.dep.bin").is_file());
        }
        assert!(!modules.join("modules.dep").exists());
        let error = image(&image_path, Some(&dir.path().join("bz"))).unwrap_err();
        assert!(error.to_string().contains("no modules of kernel 6.9.0-mine"), "{error}");
    }

    #[test]
    fn module_order_has_had_three_forms() {
        for line in ["kernel/fs/a.ko", "fs/a.ko", "fs/a.o"] {
            assert_eq!(module_path(line), Some("fs/a.ko".into()));
        }
        assert_eq!(module_path("../../etc/passwd.ko"), None);
        assert_eq!(module_path(""), None);
    }
}
