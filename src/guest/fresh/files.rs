//! The files of the guest's root, which lies in memory: what is new is removed, small files of the system
//! and the scripts are written again, and what else was changed cannot be put back.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::swept::Swept;

/// Folders of which contents are kept.
const KEPT: [&str; 2] = ["etc", "dixtrap"];
/// The largest file that is kept, and how much of all.
const LARGEST: u64 = 64 << 10;
const MOST: u64 = 8 << 20;

/// The files that lay there, with the contents of the small ones.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    is_dir: bool,
    mode: u32,
    contents: Option<Vec<u8>>,
}

/// What changes with any change of a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(u64, i64, i64);

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        Stamp(meta.ino(), meta.ctime(), meta.ctime_nsec())
    }
}

impl Files {
    /// Looks at everything below `root` that is not another file system's.
    pub fn read(root: &Path) -> Files {
        let (mut known, mut left) = (BTreeMap::new(), MOST);
        for (path, meta) in walk(root) {
            let small = meta.is_file() && meta.len() <= LARGEST.min(left);
            let mut contents = None;
            if small && KEPT.iter().any(|folder| path.starts_with(root.join(folder))) {
                contents = fs::read(&path).ok();
                left = left.saturating_sub(meta.len());
            }
            let (stamp, is_dir, mode) = (Stamp::of(&meta), meta.is_dir(), meta.mode());
            known.insert(path, Known { stamp, is_dir, mode, contents });
        }
        Files { root: root.to_owned(), known }
    }

    /// Makes it like that again.
    pub fn restore(&self, swept: &mut Swept) {
        for (path, meta) in walk(&self.root) {
            let parent_is_known = path.parent().is_some_and(|parent| self.is_known(parent));
            if parent_is_known && !self.is_known(&path) {
                let removed =
                    if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                swept.add(&format!("file {}", path.display()), removed);
            }
        }
        for (path, known) in self.known.iter().filter(|(path, known)| !known.is_there(path)) {
            swept.add(&format!("file {}", path.display()), known.write(path));
        }
    }

    fn is_known(&self, path: &Path) -> bool {
        path == self.root || self.known.contains_key(path)
    }
}

impl Known {
    fn is_there(&self, path: &Path) -> bool {
        let Ok(meta) = path.symlink_metadata() else { return false };
        if self.is_dir {
            return meta.is_dir();
        }
        // What was written again has another stamp, and is the same.
        let same =
            || self.contents.as_ref().is_some_and(|was| fs::read(path).is_ok_and(|is| is == *was));
        Stamp::of(&meta) == self.stamp || (meta.is_file() && meta.mode() == self.mode && same())
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let lost = || io::Error::other("it was changed or removed");
        let contents = self.contents.as_ref().ok_or_else(lost)?;
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path)?,
            Ok(_) => fs::remove_file(path)?,
            Err(_) => {}
        }
        fs::write(path, contents)?;
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }
}

/// Everything below `root` on its own file system, folders before what is in them.
fn walk(root: &Path) -> Vec<(PathBuf, Metadata)> {
    let Ok(device) = root.symlink_metadata().map(|meta| meta.dev()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.dev() == device {
                if meta.is_dir() {
                    open.push(path.clone());
                }
                found.push((path, meta));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_put_back_or_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["etc/deep", "bin"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["etc/one", "etc/deep/two", "bin/program"] {
            fs::write(at(file), file).unwrap();
        }
        symlink("one", at("etc/link")).unwrap();
        let files = Files::read(dir.path());
        let restored = || {
            let mut swept = Swept::default();
            files.restore(&mut swept);
            swept
        };
        assert_eq!(restored(), Swept::default());
        fs::create_dir_all(at("opt/new/deep")).unwrap();
        fs::write(at("bin/new"), "").unwrap();
        fs::write(at("etc/one"), "scribbled").unwrap();
        fs::remove_file(at("etc/deep/two")).unwrap();
        let swept = restored();
        let told = |name: &str| format!("file {}", at(name).display());
        let mut undone = swept.undone.clone();
        undone.sort();
        assert_eq!(undone, ["bin/new", "etc/deep/two", "etc/one", "opt"].map(told));
        assert!(swept.left.is_empty() && !at("opt").exists() && !at("bin/new").exists());
        assert_eq!(fs::read(at("etc/one")).unwrap(), b"etc/one");
        // Once more there is nothing to do.
        assert_eq!(restored(), Swept::default());
        // The programs are too many to keep; a file in the place of a folder stands for them.
        fs::write(at("bin/program"), "another").unwrap();
        fs::remove_file(at("etc/link")).unwrap();
        let left = restored().left;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with(&told("bin/program")) && left[0].ends_with("or removed"));
    }
}
