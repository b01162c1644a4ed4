//! The kernel that is installed on this machine.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::Path;

use super::{Kernel, KernelError, image};
use crate::runner::host::beneath::Root;
use crate::runner::kernel::modules::ModuleTree;

/// The newest kernel in `boot` below `root` that we may read and that has its modules.
pub fn newest(root: &Path) -> Option<Kernel> {
    usable_in(root).pop()
}

/// All of them, the newest last.
pub fn usable_in(root: &Path) -> Vec<Kernel> {
    let entries = fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
    let mut kernels: Vec<Kernel> =
        entries.filter_map(|entry| usable(root, &entry.path())).collect();
    kernels.sort_by(|a, b| by_version(&a.release, &b.release));
    kernels
}

fn usable(root: &Path, image: &Path) -> Option<Kernel> {
    let named = image.file_name()?.to_str()?.starts_with("vmlinuz-");
    if !named {
        return None;
    }
    // Some distributions keep their kernels from plain users.
    let file = File::open(image).ok()?;
    let look = image::look(&file, image).ok()?;
    let folder = Root::open(&root.join("lib/modules").join(&look.release)).ok()?;
    let modules = ModuleTree::installed(folder, &look.release).ok()?;
    let mut kernel =
        Kernel::of(&file, image.to_owned(), look, &image.display().to_string()).ok()?;
    kernel.modules = Some(modules);
    Some(kernel)
}

/// Compares releases the way people number them: 6.9 is before 6.10.
fn by_version(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

fn numbers(release: &str) -> Vec<u64> {
    let parts = release.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// The suite of the running Debian.
///
/// # Errors
/// [`KernelError::NoDefault`] where something else runs.
pub fn running_suite() -> Result<String, KernelError> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    suite_in(&text).ok_or(KernelError::NoDefault)
}

fn suite_in(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = os_release.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    // Debian testing and unstable name no codename in older releases.
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME").unwrap_or_else(|| "sid".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_with_modules_is_taken() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("boot")).unwrap();
        for (release, has_modules) in [("6.9.1", true), ("6.10.0", true), ("7.0", false)] {
            let image = root.path().join(format!("boot/vmlinuz-{release}"));
            fs::write(image, image::tests::head(release)).unwrap();
            if has_modules {
                let dir = root.path().join("lib/modules").join(release);
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("modules.order"), b"").unwrap();
            }
        }
        assert_eq!(newest(root.path()).unwrap().release, "6.10.0");
        assert!(newest(&root.path().join("boot")).is_none());
    }

    #[test]
    fn the_suite_is_debians_only() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(suite_in(debian).as_deref(), Some("bookworm"));
        assert_eq!(suite_in("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
    }
}
