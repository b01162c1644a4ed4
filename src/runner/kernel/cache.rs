//! Where fetched and unpacked kernels are kept. An entry is a directory that appears whole or not at
//! all, whoever else is filling the cache and whenever somebody is killed.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tempfile::{Builder, TempDir};

use super::KernelError;

/// The directory of unpacked kernels: `$XDG_CACHE_HOME/dixtrap/kernels`, or below `~/.cache`.
pub fn kernels() -> Result<PathBuf, KernelError> {
    Ok(ours()?.join("kernels"))
}

/// The directory of root file systems, beside it.
pub fn roots() -> Result<PathBuf, KernelError> {
    Ok(ours()?.join("roots"))
}

fn ours() -> Result<PathBuf, KernelError> {
    // A relative path is to be ignored (XDG Base Directory Specification 0.8, "Basics").
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base.ok_or(KernelError::NoCache)?.join("dixtrap"))
}

/// An entry, in use: nobody replaces it as long as this lives.
#[derive(Debug)]
pub struct CacheEntry {
    /// Where it is.
    pub path: PathBuf,
    _lock: Flock<File>,
}

/// The entry `name` in `cache`, filled by `fill` where it does not exist yet.
///
/// # Errors
/// What `fill` says, and when the cache cannot be written.
pub fn entry(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), KernelError>,
) -> Result<CacheEntry, KernelError> {
    let entry = cache.join(name);
    if let Some(held) = hold(&entry)? {
        return Ok(held);
    }
    fs::create_dir_all(cache).map_err(KernelError::file(cache))?;
    let _lock = lock(&cache.join(format!("{name}.lock")))?;
    // Somebody else may have filled it while we waited.
    if let Some(held) = hold(&entry)? {
        return Ok(held);
    }
    let part = filled(cache, name, fill)?;
    put(part, &entry)?;
    hold(&entry)?.ok_or_else(|| KernelError::file(&entry)(io::ErrorKind::NotFound.into()))
}

/// Fills the entry `name` anew; the old one goes when the new one stands.
///
/// # Errors
/// What `fill` says, when the cache cannot be written, and when somebody uses the old one.
pub fn replace(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), KernelError>,
) -> Result<CacheEntry, KernelError> {
    let entry = cache.join(name);
    fs::create_dir_all(cache).map_err(KernelError::file(cache))?;
    let _lock = lock(&cache.join(format!("{name}.lock")))?;
    // Before the work, not after it; nobody is kept waiting meanwhile.
    drop(alone(&entry)?);
    let part = filled(cache, name, fill)?;
    let old = alone(&entry)?;
    let gone = part_of(cache, name)?;
    if old.is_some() {
        fs::rename(&entry, gone.path()).map_err(KernelError::file(&entry))?;
    }
    put(part, &entry)?;
    drop((old, gone));
    hold(&entry)?.ok_or_else(|| KernelError::file(&entry)(io::ErrorKind::NotFound.into()))
}

/// A folder to work in, beside the entries: one at a time of each name.
#[derive(Debug)]
pub struct Workshop {
    folder: TempDir,
    _lock: Flock<File>,
}

impl Workshop {
    /// Opens it; what a killed run left of it goes.
    pub fn open(cache: &Path, name: &str) -> Result<Workshop, KernelError> {
        fs::create_dir_all(cache).map_err(KernelError::file(cache))?;
        let lock = lock(&cache.join(format!("{name}.lock")))?;
        remove_leftovers(cache, &part_prefix(name));
        Ok(Workshop { folder: part_of(cache, name)?, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Takes the entry into use, if it is there.
fn hold(entry: &Path) -> Result<Option<CacheEntry>, KernelError> {
    loop {
        let file = match File::open(entry) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(KernelError::file(entry)(error)),
        };
        let lock = Flock::lock(file, FlockArg::LockShared)
            .map_err(|(_, errno)| KernelError::file(entry)(errno.into()))?;
        let held = lock.metadata().map_err(KernelError::file(entry))?;
        // It may have been replaced while we waited.
        if entry.metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(CacheEntry { path: entry.to_owned(), _lock: lock }));
        }
    }
}

/// The right to replace the entry, if it is there.
fn alone(entry: &Path) -> Result<Option<Flock<File>>, KernelError> {
    let Ok(file) = File::open(entry) else { return Ok(None) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Err(KernelError::InUse { path: entry.to_owned() }),
        Err((_, errno)) => Err(KernelError::file(entry)(errno.into())),
    }
}

/// A new folder with what `fill` puts there. The lock of `name` is ours.
fn filled(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), KernelError>,
) -> Result<TempDir, KernelError> {
    remove_leftovers(cache, &part_prefix(name));
    let part = part_of(cache, name)?;
    fill(part.path())?;
    Ok(part)
}

fn part_prefix(name: &str) -> String {
    format!("{name}.part-")
}

fn part_of(cache: &Path, name: &str) -> Result<TempDir, KernelError> {
    Builder::new().prefix(&part_prefix(name)).tempdir_in(cache).map_err(KernelError::file(cache))
}

fn put(part: TempDir, entry: &Path) -> Result<(), KernelError> {
    fs::rename(part.path(), entry).map_err(KernelError::file(entry))?;
    // It has moved: there is nothing left to delete.
    let _moved = part.keep();
    Ok(())
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
                    assert_eq!(fs::read(dir.path.join("x")).unwrap(), b"whole");
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

    #[test]
    fn an_entry_in_use_is_not_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let with = |text: &'static str| {
            move |dir: &Path| fs::write(dir.join("x"), text).map_err(KernelError::file(dir))
        };
        let first = entry(cache.path(), "k", with("old")).unwrap();
        let second = entry(cache.path(), "k", with("unused")).unwrap();
        drop(first);
        let error = replace(cache.path(), "k", with("new")).unwrap_err();
        assert!(matches!(error, KernelError::InUse { .. }), "{error}");
        assert_eq!(fs::read(second.path.join("x")).unwrap(), b"old");
        drop(second);
        let third = replace(cache.path(), "k", with("new")).unwrap();
        assert_eq!(fs::read(third.path.join("x")).unwrap(), b"new");
        let fresh = replace(cache.path(), "other", with("first")).unwrap();
        assert_eq!(fs::read(fresh.path.join("x")).unwrap(), b"first");
        let parts = fs::read_dir(cache.path()).unwrap().flatten();
        let parts = parts.filter(|e| e.file_name().to_string_lossy().contains(".part-")).count();
        assert_eq!(parts, 0);
    }
}
