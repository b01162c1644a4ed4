//! Where fetched and unpacked kernels are kept. An entry is a directory that appears whole or not at
//! all, whoever else is filling the cache and whenever somebody is killed.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tempfile::Builder;

use super::KernelError;

/// The directory of unpacked kernels: `$XDG_CACHE_HOME/dixtrap/kernels`, or below `~/.cache`.
pub fn kernels() -> Result<PathBuf, KernelError> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base.ok_or(KernelError::NoCache)?.join("dixtrap/kernels"))
}

/// The entry `name` in `cache`, filled by `fill` where it does not exist yet.
///
/// # Errors
/// What `fill` says, and when the cache cannot be written.
pub fn entry(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), KernelError>,
) -> Result<PathBuf, KernelError> {
    let entry = cache.join(name);
    if entry.is_dir() {
        return Ok(entry);
    }
    fs::create_dir_all(cache).map_err(KernelError::file(cache))?;
    let _lock = lock(&cache.join(format!("{name}.lock")))?;
    // Somebody else may have filled it while we waited.
    if entry.is_dir() {
        return Ok(entry);
    }
    let prefix = format!("{name}.part-");
    remove_leftovers(cache, &prefix);
    let part =
        Builder::new().prefix(&prefix).tempdir_in(cache).map_err(KernelError::file(cache))?;
    fill(part.path())?;
    fs::rename(part.path(), &entry).map_err(KernelError::file(&entry))?;
    // It has moved: there is nothing left to delete.
    let _moved = part.keep();
    Ok(entry)
}

fn lock(path: &Path) -> Result<Flock<File>, KernelError> {
    let mut options = OpenOptions::new();
    // A link of that name would have its target made, or emptied.
    options.write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(KernelError::file(path))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| KernelError::file(path)(errno.into()))
}

/// Deletes what a killed run left; the lock says that nobody is at work on it.
fn remove_leftovers(cache: &Path, prefix: &str) {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    for leftover in entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)) {
        // What cannot be deleted wastes space and does no other harm.
        let _ = fs::remove_dir_all(leftover.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn two_at_once_fill_it_once() {
        let cache = tempfile::tempdir().unwrap();
        let filled = AtomicU32::new(0);
        let fill = |dir: &Path| {
            filled.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(50));
            fs::write(dir.join("x"), "whole").map_err(KernelError::file(dir))
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let dir = entry(cache.path(), "k", fill).unwrap();
                    assert_eq!(fs::read(dir.join("x")).unwrap(), b"whole");
                });
            }
        });
        assert_eq!(filled.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_leaves_no_entry_and_leftovers_go() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("k.part-dead")).unwrap();
        let fail = |_: &Path| Err(KernelError::NoDefault);
        entry(cache.path(), "k", fail).unwrap_err();
        let names: Vec<_> =
            fs::read_dir(cache.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(names, ["k.lock"]);
        entry(cache.path(), "k", |_| Ok(())).unwrap();
    }
}
