//! The packages that one kernel is split into, where they lie beside each other.

use std::fs;
use std::path::{Path, PathBuf};

use super::KernelError;

/// What the names of a .deb with an image begin with; the release follows.
const IMAGES: [&str; 3] = ["linux-image-unsigned-", "linux-image-", "linux-binary-"];
/// What the names of its companions begin with. The list of built-in modules may be in linux-base.
const PARTS: [&str; 4] = ["linux-modules-", "linux-modules-extra-", "linux-binary-", "linux-base-"];

/// `package` itself, and the other packages of the same kernel in its folder.
pub fn with_companions(package: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let mut all = vec![package.to_owned()];
    let Some(is_companion) = companion_of(&file_name(package)) else { return Ok(all) };
    let folder = package.parent().filter(|dir| !dir.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).map_err(KernelError::file(folder))?;
    let beside = entries.flatten().map(|entry| entry.path());
    let mut companions: Vec<PathBuf> = beside
        .filter(|path| path != package && path.is_file() && is_companion(&file_name(path)))
        .collect();
    companions.sort();
    all.extend(companions);
    Ok(all)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether the package of that name is another part of the same kernel.
type IsCompanion = Box<dyn Fn(&str) -> bool>;

/// What tells the companions of the package called `name` by their names.
fn companion_of(name: &str) -> Option<IsCompanion> {
    if name.ends_with(".rpm") {
        return rpm_companion(name);
    }
    let package = name.split('_').next().unwrap_or_default();
    let release = IMAGES.iter().find_map(|prefix| package.strip_prefix(prefix))?;
    let wanted = PARTS.map(|prefix| format!("{prefix}{release}_"));
    Some(Box::new(move |other| {
        other.ends_with(".deb") && wanted.iter().any(|prefix| other.starts_with(prefix))
    }))
}

/// Fedora's kind: `kernel-core-VERSION`, with `kernel-modules…-VERSION` beside it; variants have their
/// name before `-core`, as `kernel-rt-core`.
fn rpm_companion(name: &str) -> Option<IsCompanion> {
    let (variant, version) = name.split_once("-core-")?;
    let (modules, end) = (format!("{variant}-modules-"), format!("-{version}"));
    let plain = format!("{modules}{version}");
    Some(Box::new(move |other| {
        let middle = other.strip_prefix(&modules).and_then(|rest| rest.strip_suffix(&end));
        // "kernel-modules-extra-6.9.rpm", and not "kernel-modules-6.8-6.9.rpm".
        other == plain
            || middle.is_some_and(|part| part.starts_with(|c: char| c.is_ascii_lowercase()))
    }))
}

/// The package of the same kernel that is not there although `depends` asks for it.
pub fn missing_companion(depends: &[String], there: &[PathBuf]) -> Option<String> {
    let has_digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let is_part = |name: &&String| {
        PARTS.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(has_digit))
    };
    let mut parts = depends.iter().filter(is_part);
    let present =
        |name: &str| there.iter().any(|path| file_name(path).starts_with(&format!("{name}_")));
    parts.find(|name| !present(name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(package: &str, others: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in others.iter().chain([&package]) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let all = with_companions(&dir.path().join(package)).unwrap();
        all.iter().skip(1).map(|path| file_name(path)).collect()
    }

    #[test]
    fn companions_are_of_the_same_kernel() {
        let debs = [
            "linux-modules-7.0-x_1_amd64.deb",
            "linux-modules-extra-7.0-x_1_amd64.deb",
            "linux-modules-7.1-y_1_amd64.deb",
            "linux-modules-7.0-xy_1_amd64.deb",
        ];
        assert_eq!(beside("linux-image-unsigned-7.0-x_1_amd64.deb", &debs), debs[..2]);
        let rpms = [
            "kernel-modules-6.9.4-200.fc40.x86_64.rpm",
            "kernel-modules-core-6.9.4-200.fc40.x86_64.rpm",
            "kernel-modules-6.9.5-200.fc40.x86_64.rpm",
            "kernel-devel-6.9.4-200.fc40.x86_64.rpm",
            "kernel-rt-modules-6.9.4-200.fc40.x86_64.rpm",
        ];
        assert_eq!(beside("kernel-core-6.9.4-200.fc40.x86_64.rpm", &rpms), rpms[..2]);
        assert_eq!(beside("linux-6.9.arch1-1-x86_64.pkg.tar.zst", &rpms), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let depends = ["kmod", "linux-base", "linux-modules-6.8.0-31-generic"].map(str::to_owned);
        let there = [PathBuf::from("a/linux-modules-6.8.0-31-generic_6.8_amd64.deb")];
        assert_eq!(missing_companion(&depends, &[]).as_ref(), Some(&depends[2]));
        assert_eq!(missing_companion(&depends, &there), None);
    }
}
