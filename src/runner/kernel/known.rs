//! The kernels that `--kernel` can be given on this machine, as far as can be told without a network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{cache, folder, installed};
use crate::runner::host::beneath::Root;

/// Debian's suites, oldest first; those that were fetched already come on top.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
/// How the cache names a suite's entry.
const ENTRY: &str = "debian-";

/// A kernel to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// What `--kernel` takes.
    pub kernel: String,
    /// What `--modules` takes with it.
    pub modules: Option<PathBuf>,
    /// `uname -r`, where it is known already.
    pub release: Option<String>,
    /// It is on this machine and needs no network.
    pub ready: bool,
}

/// The kernels installed in /boot, and Debian's.
pub fn known() -> Vec<Known> {
    let cache = cache::kernels().ok();
    let installed = installed::usable_in(Path::new("/")).into_iter().map(|kernel| Known {
        kernel: kernel.image.display().to_string(),
        modules: kernel.modules.map(|tree| tree.dir().to_owned()),
        release: Some(kernel.release),
        ready: true,
    });
    installed.chain(suites(cache.as_deref())).collect()
}

fn suites(cache: Option<&Path>) -> Vec<Known> {
    let entries = cache.and_then(|path| fs::read_dir(path).ok()).into_iter().flatten().flatten();
    let cached: BTreeSet<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(ENTRY)?.to_owned()))
        // A name with a dot is an entry that is only being filled.
        .filter(|suite| !suite.contains('.'))
        .collect();
    let more = cached.iter().map(String::as_str).filter(|suite| !SUITES.contains(suite));
    let all: Vec<&str> = SUITES.into_iter().chain(more).collect();
    all.into_iter()
        .map(|suite| suite_row(suite, cache.filter(|_| cached.contains(suite))))
        .collect()
}

fn suite_row(suite: &str, cache: Option<&Path>) -> Known {
    let entry = cache.map(|cache| cache.join(format!("{ENTRY}{suite}")));
    let open = |entry: PathBuf| folder::open(&Root::open(&entry).ok()?, "").ok();
    let release = entry.and_then(open).map(|kernel| kernel.release);
    Known { kernel: format!("debian:{suite}"), modules: None, ready: release.is_some(), release }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_listed_whether_fetched_or_not() {
        let names = |known: &[Known]| known.iter().map(|k| k.kernel.clone()).collect::<Vec<_>>();
        let none = suites(None);
        assert_eq!(none.len(), SUITES.len());
        assert!(none.iter().all(|k| !k.ready && k.release.is_none()));
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("debian-forky")).unwrap();
        fs::create_dir(cache.path().join("debian-sid.part-x")).unwrap();
        fs::write(cache.path().join("debian-sid.lock"), "").unwrap();
        let some = suites(Some(cache.path()));
        assert_eq!(names(&some)[SUITES.len()..], ["debian:forky"]);
        // An entry without a kernel is not one that can be booted.
        assert!(some.iter().all(|k| !k.ready));
    }
}
