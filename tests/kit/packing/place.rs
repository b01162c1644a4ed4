//! A host that a package may not touch, and a cache for what comes out of it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::kit::programs::{dixtrap, text};

/// A folder with a host's folders in it, and a cache of its own.
pub struct Place {
    pub dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["share/doc/canary", "lib/modules/6.6.6-evil/canary", "canary", "vmlinuz"] {
            let path = dir.path().join("host").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "alive").unwrap();
        }
        fs::create_dir(dir.path().join("cache")).unwrap();
        let before = listing(&dir.path().join("host"));
        Place { dir, before }
    }

    pub fn host(&self) -> String {
        self.dir.path().join("host").display().to_string()
    }

    pub fn package(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs as far as the daemon, which is none.
    pub fn run(&self, kernel: &Path) -> (i32, String) {
        self.run_with(kernel, None)
    }

    pub fn run_with(&self, kernel: &Path, modules: Option<&Path>) -> (i32, String) {
        let words = ["run", "--accel", "tcg", "--fs", "raw", "--scenario", "direct-rewrite"];
        let mut command = dixtrap(&words);
        command.arg("--kernel").arg(kernel).env("DIXTRAPD", "/bin/false");
        command.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        if let Some(modules) = modules {
            command.arg("--modules").arg(modules);
        }
        let output = command.output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    }

    /// Nothing of the host has changed, and the cache has plain files of its own only.
    pub fn check(&self, what: &str) {
        assert_eq!(listing(&self.dir.path().join("host")), self.before, "{what}");
        let mut folders = vec![self.dir.path().join("cache")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
                let kind = meta.file_type();
                assert!(kind.is_file() || kind.is_dir(), "{what}: {}", path.display());
                assert!(!kind.is_symlink() && !kind.is_fifo() && !kind.is_block_device());
                assert_eq!(meta.permissions().mode() & 0o7000, 0, "{what}: {}", path.display());
                if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
    }

    /// The entries of the cache, whole or half.
    pub fn entries(&self) -> Vec<PathBuf> {
        let cache = self.dir.path().join("cache/dixtrap/kernels");
        let entries = fs::read_dir(cache).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

/// Every path below `dir` with what is there.
fn listing(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let meta = entry.path().symlink_metadata().unwrap();
            let contents = if meta.is_file() { fs::read(entry.path()).unwrap() } else { vec![] };
            // Inode, mode, links and times, but for that of the last look at it.
            let state = (meta.ino(), meta.mode(), meta.nlink(), meta.ctime(), meta.ctime_nsec());
            all.push(format!("{} {state:?} {}", entry.path().display(), text(&contents)));
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all.sort();
    all
}
