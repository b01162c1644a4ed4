//! Kernel packages (.deb), unpacked rather than installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Kernel, KernelError, cache, image};
use crate::runner::modules::ModuleTree;
use crate::runner::tools::Tool;

/// The kernel in the package `deb`, together with the module packages that lie beside it.
pub fn locate(deb: &Path, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
    let name = entry_name(deb)?;
    let root = cache::entry(&cache::kernels()?, &name, |dir| {
        say(&format!("unpacking {}", deb.display()));
        unpack(&companions(deb)?, dir)?;
        open(dir, "").map(drop)
    })
    .map_err(|error| match error {
        KernelError::NoKernelInPackage { .. } => {
            KernelError::NoKernelInPackage { path: deb.to_owned() }
        }
        other => other,
    })?;
    open(&root, &deb.display().to_string())
}

/// The name of a package's cache entry: another file under the same name gets another entry.
fn entry_name(deb: &Path) -> Result<String, KernelError> {
    let meta = deb.metadata().map_err(KernelError::file(deb))?;
    let modified = meta.modified().map_err(KernelError::file(deb))?;
    let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let stem = deb.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!("deb-{stem}-{}-{modified}", meta.len()))
}

/// The package itself, and the module packages of the same release in its directory: newer
/// distributions split the modules off.
fn companions(deb: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let file_name =
        |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let package = file_name(deb).split('_').next().unwrap_or_default().to_owned();
    let release = ["linux-image-unsigned-", "linux-image-", "linux-binary-"]
        .iter()
        .find_map(|prefix| package.strip_prefix(prefix));
    let mut all = vec![deb.to_owned()];
    let Some(release) = release else { return Ok(all) };
    let wanted = ["linux-modules-", "linux-modules-extra-", "linux-binary-", "linux-base-"]
        .map(|prefix| format!("{prefix}{release}_"));
    let dir = deb.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(dir).map_err(KernelError::file(dir))?.flatten() {
        let name = file_name(&entry.path());
        let matches = wanted.iter().any(|prefix| name.starts_with(prefix));
        if matches && name.ends_with(".deb") && entry.path() != deb {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// Unpacks packages into one directory, without what only documents them, and indexes the modules.
pub fn unpack(debs: &[PathBuf], root: &Path) -> Result<(), KernelError> {
    for deb in debs {
        Tool::find("dpkg-deb", "dpkg")?.arg("-x").arg(deb).arg(root).output()?;
    }
    // Nothing in there is needed to boot; it may not exist.
    let _ = fs::remove_dir_all(root.join("usr/share"));
    // kmod looks in lib/modules or in usr/lib/modules, as its distribution has it.
    for (real, alias, target) in [("usr/lib", "lib", "usr/lib"), ("lib", "usr/lib", "../lib")] {
        if root.join(real).join("modules").is_dir() && !root.join(alias).exists() {
            let alias = root.join(alias);
            if let Some(parent) = alias.parent() {
                fs::create_dir_all(parent).map_err(KernelError::file(parent))?;
            }
            symlink(target, &alias).map_err(KernelError::file(&alias))?;
        }
    }
    open(root, "")?.modules.map_or(Ok(()), |tree| Ok(tree.index()?))
}

/// The kernel in a directory of unpacked packages.
pub fn open(root: &Path, origin: &str) -> Result<Kernel, KernelError> {
    let image =
        find_image(root).ok_or_else(|| KernelError::NoKernelInPackage { path: root.to_owned() })?;
    let release = image::release(&image)?;
    let tree = ModuleTree { base: root.to_owned(), release: release.clone() };
    let modules = tree.dir().is_dir().then_some(tree);
    Ok(Kernel { image, modules, release, origin: origin.to_owned(), _keep: None })
}

/// The first kernel image: `boot/vmlinuz-RELEASE`, or `usr/lib/modules/RELEASE/vmlinuz`.
fn find_image(root: &Path) -> Option<PathBuf> {
    let list = |dir: &str| fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
    let in_boot = list("boot").map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    });
    let with_modules = list("lib/modules").map(|entry| entry.path().join("vmlinuz"));
    in_boot.chain(with_modules).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a package with these files.
    fn package(dir: &Path, file: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        let control =
            "Package: x\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@b>\nDescription: x\n";
        fs::write(tree.path().join("DEBIAN/control"), control).unwrap();
        for (path, contents) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        // tempdir() makes it private, which dpkg-deb takes for a mistake.
        fs::set_permissions(tree.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let deb = dir.join(file);
        let tool = Tool::find("dpkg-deb", "dpkg").unwrap();
        tool.arg("-b").arg(tree.path()).arg(&deb).output().unwrap();
        deb
    }

    #[test]
    fn a_split_kernel_is_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let head = image::tests::head("7.0-x");
        let deb =
            package(dir.path(), "linux-image-7.0-x_1_amd64.deb", &[("boot/vmlinuz-7.0-x", &head)]);
        let order = "usr/lib/modules/7.0-x/modules.order";
        package(dir.path(), "linux-modules-7.0-x_1_amd64.deb", &[(order, b"")]);
        package(dir.path(), "linux-modules-7.1-y_1_amd64.deb", &[("other", b"")]);
        let debs = companions(&deb).unwrap();
        assert_eq!(debs.len(), 2);
        let root = tempfile::tempdir().unwrap();
        unpack(&debs, root.path()).unwrap();
        let kernel = open(root.path(), "here").unwrap();
        assert_eq!((kernel.release.as_str(), kernel.origin.as_str()), ("7.0-x", "here"));
        assert!(kernel.modules.unwrap().dir().join("modules.dep").is_file());
    }

    #[test]
    fn a_package_without_a_kernel_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let deb = package(dir.path(), "linux-image-amd64_1_amd64.deb", &[("doc", b"")]);
        let error = unpack(&[deb], &dir.path().join("root")).unwrap_err();
        assert!(matches!(error, KernelError::NoKernelInPackage { .. }));
    }
}
