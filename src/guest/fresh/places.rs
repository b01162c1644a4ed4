//! Folders in memory that scripts leave files in: they would fill it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The folders. All are empty in a guest that has just come up, or nearly.
const FOLDERS: [&str; 5] = ["/tmp", "/run", "/mnt", "/root", "/var"];
/// The beginning of names of our own, in `/run`.
const OURS: &str = "dixtrap-";

/// What lay in them.
#[derive(Debug, Default)]
pub struct Places(BTreeSet<PathBuf>);

impl Places {
    /// Notes what lies in the folders now.
    pub fn read() -> Places {
        Places(Places::all().collect())
    }

    /// Removes what is new.
    pub fn restore(&self) {
        for path in Places::all().filter(|path| !self.0.contains(path)) {
            let removed = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            if let Err(error) = removed {
                eprintln!("dixtrap-guest: cannot remove {}: {error}", path.display());
            }
        }
    }

    fn all() -> impl Iterator<Item = PathBuf> {
        let entries = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(OURS);
        entries.flatten().filter(move |entry| !ours(entry)).map(|entry| entry.path())
    }
}
