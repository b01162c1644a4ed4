//! Files that a start has made, so that a start that is refused takes them away again.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that this process has made.
#[derive(Debug)]
pub struct MadeFile {
    path: PathBuf,
    file: File,
}

impl MadeFile {
    /// The file that was just made at `path`, and is open.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub fn of(path: &Path, file: &File) -> io::Result<MadeFile> {
        Ok(MadeFile { path: std::path::absolute(path)?, file: file.try_clone()? })
    }

    /// Removes it, unless something else lies at its path by now, or another process has locked it.
    fn remove(&self) -> io::Result<()> {
        self.file.try_lock()?;
        let (made, there) = (self.file.metadata()?, self.path.symlink_metadata()?);
        if (made.dev(), made.ino()) == (there.dev(), there.ino()) {
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

/// All files that a start has made. They are removed when this is dropped without [`MadeFiles::keep`].
#[derive(Debug, Default)]
pub struct MadeFiles(Vec<MadeFile>);

impl MadeFiles {
    /// Adds files to those that would be removed.
    pub fn add(&mut self, files: impl IntoIterator<Item = MadeFile>) {
        self.0.extend(files);
    }

    /// The start was not refused: nothing is removed.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFiles {
    fn drop(&mut self) {
        for made in &self.0 {
            if let Err(error) = made.remove() {
                log::debug!("{} stays: {error}", made.path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(path: &Path) -> MadeFiles {
        let mut files = MadeFiles::default();
        files.add([MadeFile::of(path, &File::create_new(path).unwrap()).unwrap()]);
        files
    }

    #[test]
    fn what_was_made_goes_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        drop(made(&path));
        assert!(!path.exists());
        made(&path).keep();
        assert!(path.exists());
    }

    #[test]
    fn what_another_one_put_there_or_locked_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        let files = made(&path);
        std::fs::write(dir.path().join("other"), "other").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        drop(files);
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        std::fs::remove_file(&path).unwrap();
        let files = made(&path);
        let theirs = File::open(&path).unwrap();
        theirs.try_lock().unwrap();
        drop(files);
        assert!(path.exists());
    }
}
