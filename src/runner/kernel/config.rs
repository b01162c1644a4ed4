//! Where the configuration that a kernel was built with lies.

use std::path::PathBuf;

use super::Kernel;

/// Where the configuration of a kernel may lie: beside the image (`/boot`, packages), at the top of a
/// built tree, and with the modules (Fedora).
pub fn configs(kernel: &Kernel) -> Vec<PathBuf> {
    let image = kernel.image.as_path();
    let beside = image.with_file_name(format!("config-{}", kernel.release));
    // arch/x86/boot/bzImage
    let in_boot = image.parent().is_some_and(|dir| dir.ends_with("boot"));
    let top = image.ancestors().nth(4).filter(|_| in_boot).map(|tree| tree.join(".config"));
    let with_modules = kernel.modules.as_ref().map(|tree| tree.dir().join("config"));
    let all = [Some(beside), top, with_modules];
    all.into_iter().flatten().filter(|path| path.is_file()).collect()
}
