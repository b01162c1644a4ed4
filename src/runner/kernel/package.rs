//! Kernel packages, unpacked rather than installed: .deb, .rpm, pacman's, and the kernel's own tar-pkg.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crc::{CRC_64_XZ, Crc};

use super::archive::Told;
use super::companions::{missing_companion, with_companions};
use super::{Kernel, KernelError, cache, folder, unpack};
use crate::runner::host::beneath::Root;

/// Bytes of a package's name that its cache entry shows.
const SHOWN: usize = 80;

/// The kernel in the package at `package`, together with the module packages that lie beside it.
pub fn locate(package: &Path, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
    let packages = with_companions(package)?;
    let held = cache::entry(&cache::kernels()?, &entry_name(&packages)?, |dir| {
        say(&format!("unpacking {}", package.display()));
        unpack(&packages, &Root::open(dir)?).map_err(|error| named(error, package))
    })?;
    folder::open(&Root::open(&held.path)?, &package.display().to_string())
        .map(|kernel| kernel.keeping(held))
        .map_err(|error| named(error, package))
}

/// Names the package instead of the folder that it was unpacked to.
fn named(error: KernelError, package: &Path) -> KernelError {
    let path = package.to_owned();
    match error {
        KernelError::NoKernelInPackage { .. } => KernelError::NoKernelInPackage { path },
        KernelError::OtherArchitecture { arch, .. } => {
            KernelError::OtherArchitecture { path, arch }
        }
        KernelError::SeveralKernels { releases, .. } => {
            KernelError::SeveralKernels { path, releases }
        }
        other => other,
    }
}

/// The name of the packages' cache entry: another file under the same name, and a companion that was
/// not there before, get another entry.
fn entry_name(packages: &[PathBuf]) -> Result<String, KernelError> {
    let mut all = String::new();
    for package in packages {
        let meta = package.metadata().map_err(KernelError::file(package))?;
        let modified = meta.modified().map_err(KernelError::file(package))?;
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = package.file_name().unwrap_or_default().display();
        all.push_str(&format!("{name}\0{}\0{modified}\0", meta.len()));
    }
    let hash = Crc::<u64>::new(&CRC_64_XZ).checksum(all.as_bytes());
    let first = packages.first().and_then(|package| package.file_name()).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._+-".contains(*c);
    let shown: String = first.to_string_lossy().chars().filter(plain).take(SHOWN).collect();
    Ok(format!("package-{shown}-{hash:016x}"))
}

/// Unpacks the packages of one kernel into the new folder `root`.
pub fn unpack(packages: &[PathBuf], root: &Root) -> Result<(), KernelError> {
    let mut told = Told::default();
    for package in packages {
        let size = package.metadata().map_err(KernelError::file(package))?.len();
        let broken = |source| KernelError::Package { path: package.clone(), source };
        let one = unpack::unpack(package, root, unpack::limit(size)).map_err(broken)?;
        told.depends.extend(one.depends);
    }
    let found = folder::open(root, "");
    let alone = match &found {
        Ok(kernel) => kernel.modules.is_none(),
        Err(error) => matches!(error, KernelError::NoKernelInPackage { .. }),
    };
    if alone && let Some(package) = missing_companion(&told.depends, packages) {
        let path = packages.first().cloned().unwrap_or_default();
        return Err(KernelError::MissingCompanion { path, package });
    }
    if let Some(tree) = found?.modules {
        tree.write_aliases()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::Tool;
    use crate::runner::kernel::image::tests::head;
    use std::fs;

    /// Builds a package with these files.
    fn package(dir: &Path, file: &str, depends: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        let control = format!(
            "Package: x\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@b>\nDepends: {depends}\n\
             Description: x\n"
        );
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

    fn unpacked(packages: &[PathBuf]) -> Result<Kernel, KernelError> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        unpack(packages, &root)?;
        assert!(!dir.path().join("usr").exists(), "everything has one place");
        folder::open(&root, "here")
    }

    #[test]
    fn a_split_kernel_is_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let (head, needs) = (head("7.0-x"), "kmod, linux-modules-7.0-x (= 1)");
        let files: [(&str, &[u8]); 1] = [("boot/vmlinuz-7.0-x", &head)];
        let deb = package(dir.path(), "linux-image-7.0-x_1_amd64.deb", needs, &files);
        let alone = with_companions(&deb).unwrap();
        let name = entry_name(&alone).unwrap();
        let error = unpacked(&alone).unwrap_err();
        assert!(matches!(error, KernelError::MissingCompanion { .. }), "{error}");
        assert!(error.to_string().contains("linux-modules-7.0-x,"), "{error}");
        let module = crate::runner::kernel::modules::info::tests::module(&["alias=other"]);
        let files: [(&str, &[u8]); 3] = [
            ("usr/lib/modules/7.0-x/modules.order", b""),
            ("usr/lib/modules/7.0-x/kernel/x.ko", &module),
            ("usr/share/doc/x/copyright", b""),
        ];
        package(dir.path(), "linux-modules-7.0-x_1_amd64.deb", "kmod", &files);
        package(dir.path(), "linux-modules-7.1-y_1_amd64.deb", "kmod", &[("other", b"")]);
        let debs = with_companions(&deb).unwrap();
        assert_eq!(debs.len(), 2);
        assert_ne!(entry_name(&debs).unwrap(), name, "what was cached without its modules");
        let kernel = unpacked(&debs).unwrap();
        assert_eq!((kernel.release.as_str(), kernel.origin.as_str()), ("7.0-x", "here"));
        assert_eq!(kernel.modules.unwrap().names().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn a_package_without_a_kernel_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let deb = package(dir.path(), "linux-image-amd64_1_amd64.deb", "kmod", &[("doc", b"")]);
        let error = unpacked(&[deb]).unwrap_err();
        assert!(matches!(error, KernelError::NoKernelInPackage { .. }), "{error}");
        let files: [(&str, &[u8]); 2] =
            [("boot/vmlinuz-1", &head("6.1-a")), ("boot/vmlinuz-2", &head("6.2-b"))];
        let deb = package(dir.path(), "linux-image-2_1_amd64.deb", "kmod", &files);
        let error = unpacked(&[deb]).unwrap_err().to_string();
        assert!(error.contains("6.1-a, 6.2-b"), "{error}");
    }

    #[test]
    fn the_name_of_an_entry_is_a_plain_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("a b\n{}.deb", "x".repeat(200)));
        fs::write(&path, "").unwrap();
        let name = entry_name(&[path]).unwrap();
        assert!(name.starts_with("package-abxxx") && name.len() < 120, "{name}");
    }
}
