//! Every file and directory below a mount point, with the places of its bytes.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::ioctl::{self, Extent};

/// More files than a scenario leaves behind; the rest has no name.
const MOST_FILES: usize = 50_000;

/// A file or directory.
#[derive(Debug)]
pub struct Entry {
    /// Its path from the root of the file system.
    pub path: String,
    /// Its inode.
    pub inode: u64,
    /// A directory.
    pub directory: bool,
    /// When it was made, in microseconds since 1970, where the file system keeps that.
    pub born_us: Option<u64>,
    /// Where its bytes lie.
    pub extents: Vec<Extent>,
}

/// Visits everything on the file system mounted at `root`. What vanishes on the way, or cannot be
/// opened, is left out.
pub fn walk(root: &Path, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
    let device = fs::symlink_metadata(root)?.dev();
    let mut waiting: Vec<PathBuf> = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        seen += 1;
        if metadata.dev() != device || seen > MOST_FILES {
            continue;
        }
        if metadata.is_dir() {
            let children = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(children.map(|child| child.path()));
        }
        if has_bytes(metadata.file_type())
            && let Ok(file) = open(&path)
        {
            visit(entry(root, &path, &metadata, &file));
        }
    }
    Ok(())
}

fn has_bytes(kind: FileType) -> bool {
    kind.is_file() || kind.is_dir()
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOATIME;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn entry(root: &Path, path: &Path, metadata: &Metadata, file: &File) -> Entry {
    let below = path.strip_prefix(root).unwrap_or(path);
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Entry {
        path: format!("/{}", below.to_string_lossy()),
        inode: metadata.ino(),
        directory: metadata.is_dir(),
        born_us: born.and_then(|age| u64::try_from(age.as_micros()).ok()),
        extents: extents(file, metadata),
    }
}

/// By the first of the calls that the file system has.
fn extents(file: &File, metadata: &Metadata) -> Vec<Extent> {
    ioctl::extents(file)
        .or_else(|_| {
            if metadata.is_dir() {
                ioctl::xfs_extents(file)
            } else {
                ioctl::blocks(file, metadata.len())
            }
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_of_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), "x").unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("a/link")).unwrap();
        let mut paths = Vec::new();
        walk(dir.path(), &mut |entry| paths.push((entry.path, entry.directory))).unwrap();
        paths.sort();
        let expected =
            [("/", true), ("/a", true), ("/a/b", false)].map(|(path, dir)| (path.to_owned(), dir));
        assert_eq!(paths, expected);
    }
}
