//! Kernels that lie about as files: an image with a folder of modules, and a built tree. Nothing is
//! written there.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Kernel, KernelError, folder, image};
use crate::runner::host::beneath::Root;
use crate::runner::kernel::modules::{ModuleTree, ModulesError};

/// The image that a build makes.
const BUILT_IMAGE: &str = "arch/x86/boot/bzImage";
/// Images that builds for other machines make, below `arch/NAME/boot`.
const OTHER_IMAGES: [&str; 5] = ["Image", "Image.gz", "zImage", "vmlinuz.efi", "bzImage"];
/// A configuration has some 10,000 lines.
const CONFIG_LIMIT: u64 = 4 << 20;

/// A kernel's file, with the modules in or below `modules`.
pub fn image(path: &Path, modules: Option<&Path>) -> Result<Kernel, KernelError> {
    // A pipe of that name is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(KernelError::file(path))?;
    let image = image::look(&file, path)?;
    let real = std::fs::canonicalize(path).map_err(KernelError::file(path))?;
    let mut kernel = Kernel::of(&file, real, image, &path.display().to_string())?;
    if let Some(dir) = modules {
        let missing =
            || ModulesError::NoModules { path: dir.into(), release: kernel.release.clone() };
        let root = match Root::open(dir) {
            Err(error) if error.is_missing() => return Err(missing().into()),
            root => root?,
        };
        let folder = folder::module_folder(&root, &kernel.release)?.ok_or_else(missing)?;
        kernel.modules = Some(ModuleTree::installed(folder, &kernel.release)?);
    }
    Ok(kernel)
}

/// A built tree with its modules where they were built, or the folder of an unpacked package.
pub fn built(tree: &Path) -> Result<Kernel, KernelError> {
    let root = Root::open(tree)?;
    let origin = tree.display().to_string();
    let image = Path::new(BUILT_IMAGE);
    let file = match root.file(image) {
        Err(error) if error.is_missing() => return not_built(&root, tree, &origin),
        file => file?,
    };
    let look = image::look(&file, &tree.join(image))?;
    let mut kernel = Kernel::of(&file, root.real_path(image)?, look, &origin)?;
    kernel.modules = ModuleTree::built(root, &kernel.release)?;
    Ok(kernel)
}

/// What a folder is that has no x86 image where a build puts it.
fn not_built(root: &Root, tree: &Path, origin: &str) -> Result<Kernel, KernelError> {
    let path = tree.to_owned();
    // A build directory (O=) has no Kconfig, but a Makefile and a .config of its own.
    let is_tree = ["Kconfig", ".config"].iter().any(|name| root.is_file(Path::new(name)));
    if let Some(arch) = other_architecture(root)? {
        return Err(KernelError::OtherArchitecture { path, arch });
    }
    if is_tree {
        return Err(KernelError::NotBuilt { path, missing: BUILT_IMAGE });
    }
    match folder::open(root, origin) {
        Err(KernelError::NoKernelInPackage { .. }) => Err(KernelError::NotATree { path }),
        found => found,
    }
}

/// The machine that the tree is configured for, or was built for, if that is another one.
fn other_architecture(root: &Root) -> Result<Option<String>, KernelError> {
    let config = root.text(Path::new(".config"), CONFIG_LIMIT)?.unwrap_or_default();
    if let Some(arch) = configured_for(&config) {
        let ours = ["x86", "x86_64"].contains(&arch.as_str());
        return Ok((!ours).then_some(arch));
    }
    for (name, is_dir) in root.names(Path::new("arch"))? {
        let boot = Path::new("arch").join(&name).join("boot");
        let built = OTHER_IMAGES.iter().any(|image| root.is_file(&boot.join(image)));
        if is_dir && built {
            let name = name.to_string_lossy();
            return Ok(Some(name.escape_debug().collect()));
        }
    }
    Ok(None)
}

/// The third line of a configuration: "# Linux/arm64 6.9.0 Kernel Configuration".
fn configured_for(config: &str) -> Option<String> {
    let line = config.lines().take(5).find_map(|line| line.strip_prefix("# Linux/"))?;
    let arch = line.split_whitespace().next()?;
    arch.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| arch.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::blame::Blame;
    use crate::runner::kernel::modules::{info::tests::module, resolve};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

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
        write(tree.path().join("fs/ext4/ext4.ko"), &module(&["depends="]));
        let kernel = built(tree.path()).unwrap();
        assert_eq!(kernel.release, "6.9.0-mine");
        let entries = fs::read_dir(tree.path()).unwrap().count();
        assert_eq!(entries, 5, "nothing is written into the tree");
        let wish = ["virtio_blk", "gone", "ext4"].map(str::to_owned);
        let closure = resolve(kernel.modules.as_ref(), &[], &wish).unwrap();
        assert_eq!(closure.missing, ["gone"]);
        assert_eq!(closure.modules.len(), 1);
    }

    /// A tree for another machine is not built for this one at any commit: no bisection ends there.
    #[test]
    fn a_tree_for_another_machine_is_named_and_no_commit_is_blamed() {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path().join("Kconfig"), b"");
        write(tree.path().join("arch/arm64/boot/Image"), &image::tests::arm64());
        let named = |tree: &Path| {
            let error = built(tree).unwrap_err();
            assert_eq!(error.blame(), Blame::Host, "{error}");
            assert!(error.to_string().contains("for arm64"), "{error}");
        };
        named(tree.path());
        let configured = tempfile::tempdir().unwrap();
        let config = "#\n# Automatically generated file; DO NOT EDIT.\n\
                      # Linux/arm64 6.9.0 Kernel Configuration\n#\n";
        write(configured.path().join(".config"), config.as_bytes());
        named(configured.path());
        // Last built for the one, and now configured for the other.
        let config = config.replace("arm64", "x86");
        write(tree.path().join(".config"), config.as_bytes());
        assert_eq!(built(tree.path()).unwrap_err().blame(), Blame::Kernel);
        let image_path = tree.path().join("arch/arm64/boot/Image");
        let error = image(&image_path, None).unwrap_err();
        assert!(error.to_string().contains("is a kernel for arm64"), "{error}");
        write(tree.path().join(BUILT_IMAGE), &image::tests::head("6.9.0-mine"));
        built(tree.path()).unwrap();
    }

    #[test]
    fn modules_may_be_named_by_any_directory_above() {
        let dir = tempfile::tempdir().unwrap();
        let image_path = dir.path().join("bzImage");
        write(image_path.clone(), &image::tests::head("6.9.0-mine"));
        let modules = dir.path().join("out/lib/modules/6.9.0-mine");
        write(modules.join("modules.order"), b"");
        write(modules.join("kernel/x.ko"), &module(&[]));
        symlink("/usr/src/linux-headers-6.9.0-mine", modules.join("build")).unwrap();
        for named in [dir.path().join("out"), dir.path().join("out/lib/modules"), modules.clone()] {
            let kernel = image(&image_path, Some(&named)).unwrap();
            assert_eq!(kernel.modules.unwrap().names().count(), 1);
        }
        assert_eq!(fs::read_dir(&modules).unwrap().count(), 3, "nothing is written there");
        for wrong in ["bz", "bzImage"] {
            let error = image(&image_path, Some(&dir.path().join(wrong))).unwrap_err();
            assert!(error.to_string().contains("no modules of kernel 6.9.0-mine"), "{error}");
        }
    }

    #[test]
    fn an_unpacked_package_is_taken_as_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(at("boot/vmlinuz-6.9.0-x"), &image::tests::head("6.9.0-x"));
        write(at("usr/lib/modules/6.9.0-x/kernel/x.ko"), &module(&[]));
        write(at("usr/lib/modules/6.9.0-x/modules.order"), b"kernel/x.ko\n");
        symlink("usr/lib", at("lib")).unwrap();
        let kernel = built(dir.path()).unwrap();
        assert_eq!(kernel.release, "6.9.0-x");
        assert_eq!(kernel.modules.unwrap().names().collect::<Vec<_>>(), ["x"]);
        // As Fedora and Arch have it, and the folder of the modules itself.
        fs::rename(at("boot/vmlinuz-6.9.0-x"), at("usr/lib/modules/6.9.0-x/vmlinuz")).unwrap();
        for folder in [dir.path().to_owned(), at("usr/lib/modules/6.9.0-x")] {
            let kernel = built(&folder).unwrap();
            assert_eq!(kernel.modules.unwrap().names().count(), 1, "{}", folder.display());
        }
        write(at("boot/vmlinuz-6.8.0-y"), &image::tests::head("6.8.0-y"));
        let error = built(dir.path()).unwrap_err();
        assert!(matches!(error, KernelError::SeveralKernels { .. }), "{error}");
    }

    /// Somebody unpacked a stranger's package: what it points to is not shown to QEMU.
    #[test]
    fn an_unpacked_package_does_not_lead_out_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        write(host.join("vmlinuz-6.9.0-x"), &image::tests::head("6.9.0-x"));
        write(host.join("modules/6.9.0-x/kernel/x.ko"), &module(&[]));
        let absolute = host.display().to_string();
        let cases = [
            ("boot", absolute.as_str()),
            ("boot", "../host"),
            ("boot", "../../../../../../../../../../../etc"),
            ("lib", absolute.as_str()),
            ("usr/lib", "../../host"),
            ("boot/vmlinuz-6.9.0-x", "../../host/vmlinuz-6.9.0-x"),
        ];
        for (link, target) in cases {
            let root = tempfile::tempdir_in(dir.path()).unwrap();
            fs::create_dir_all(root.path().join(link).parent().unwrap()).unwrap();
            symlink(target, root.path().join(link)).unwrap();
            let error = built(root.path()).unwrap_err();
            assert!(error.to_string().contains("leads out of"), "{link} -> {target}: {error}");
            assert_eq!(error.blame(), Blame::Host);
        }
        let root = tempfile::tempdir_in(dir.path()).unwrap();
        write(root.path().join("boot/vmlinuz-6.9.0-x"), &image::tests::head("6.9.0-x"));
        fs::create_dir_all(root.path().join("lib/modules")).unwrap();
        symlink(host.join("modules/6.9.0-x"), root.path().join("lib/modules/6.9.0-x")).unwrap();
        let error = built(root.path()).unwrap_err();
        assert!(error.to_string().contains("leads out of"), "{error}");
    }
}
