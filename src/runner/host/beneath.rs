//! Folders whose contents are strangers' work: unpacked packages, trees, modules. Nothing in them is
//! followed out of them, whatever their links say; the kernel (openat2, RESOLVE_BENEATH) sees to that
//! through cap-std.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

/// Why something in a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// A link leads out of the folder.
    #[error(
        "{path} leads out of {root}, and nothing in there is followed out of it: put the file itself there"
    )]
    LeadsOut {
        /// The file or folder.
        path: PathBuf,
        /// The folder that it should lie in.
        root: PathBuf,
    },
    /// Something other than a plain file.
    #[error("{path} is not a plain file")]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// A file larger than such a file can be.
    #[error("{path} is larger than {limit} bytes, which no such file is")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The system's reason.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl BeneathError {
    /// There is nothing of that name.
    pub fn is_missing(&self) -> bool {
        matches!(self, BeneathError::File { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// A folder that is not left. The path that the user named leads to it, wherever that is.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
}

impl Root {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> Result<Root, BeneathError> {
        let failed = |source| BeneathError::File { path: path.to_owned(), source };
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        // The words of an error, and what QEMU is told, hold wherever the process stands.
        let path = std::fs::canonicalize(path).map_err(failed)?;
        Ok(Root { dir, path })
    }

    /// The folder `name` in it.
    ///
    /// # Errors
    /// Where there is none, and where it lies outside.
    pub fn folder(&self, name: &Path) -> Result<Root, BeneathError> {
        let dir = self.dir.open_dir(name).map_err(|error| self.error(name, error))?;
        Ok(Root { dir, path: self.path.join(name) })
    }

    /// Where it is, for people and for programs that are told a path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the plain file `name`. Pipes and devices are not waited for.
    ///
    /// # Errors
    /// Where it is no plain file, and where it lies outside.
    pub fn file(&self, name: &Path) -> Result<File, BeneathError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = self.dir.open_with(name, &options).map_err(|error| self.error(name, error))?;
        let file = file.into_std();
        let meta = file.metadata().map_err(|error| self.error(name, error))?;
        if meta.is_file() {
            Ok(file)
        } else {
            Err(BeneathError::NotAFile { path: self.path.join(name) })
        }
    }

    /// The contents of the plain file `name`, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::file`], and where it is larger.
    pub fn read(&self, name: &Path, limit: u64) -> Result<Vec<u8>, BeneathError> {
        self.read_with_mode(name, limit).map(|(contents, _)| contents)
    }

    /// The contents of the plain file `name`, and the permission bits of that same file.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn read_with_mode(&self, name: &Path, limit: u64) -> Result<(Vec<u8>, u32), BeneathError> {
        let file = self.file(name)?;
        let meta = file.metadata().map_err(|error| self.error(name, error))?;
        let mut contents = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut contents);
        read.map_err(|error| self.error(name, error))?;
        if u64::try_from(contents.len()).is_ok_and(|len| len <= limit) {
            Ok((contents, meta.permissions().mode()))
        } else {
            Err(BeneathError::TooLarge { path: self.path.join(name), limit })
        }
    }

    /// The text of the plain file `name`; nothing where there is none.
    ///
    /// # Errors
    /// As [`Root::read`], but for a file that is missing.
    pub fn text(&self, name: &Path, limit: u64) -> Result<Option<String>, BeneathError> {
        match self.read(name, limit) {
            Ok(contents) => Ok(Some(String::from_utf8_lossy(&contents).into_owned())),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `name` is a plain file, here and not elsewhere.
    pub fn is_file(&self, name: &Path) -> bool {
        self.dir.metadata(name).is_ok_and(|meta| meta.is_file())
    }

    /// `name` is a folder, here and not elsewhere.
    pub fn is_dir(&self, name: &Path) -> bool {
        self.dir.metadata(name).is_ok_and(|meta| meta.is_dir())
    }

    /// The names in the folder `name`, sorted, with whether each is itself a folder: a link to one is
    /// not. Nothing where there is no such folder.
    ///
    /// # Errors
    /// Where the folder lies outside, and the system's.
    pub fn names(&self, name: &Path) -> Result<Vec<(PathBuf, bool)>, BeneathError> {
        let entries = match self.dir.read_dir(name).map_err(|error| self.error(name, error)) {
            Ok(entries) => entries,
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.error(name, error))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            found.push((PathBuf::from(entry.file_name()), is_dir));
        }
        found.sort();
        Ok(found)
    }

    /// The path of `name` with no link left in it.
    ///
    /// # Errors
    /// Where it lies outside, and the system's.
    pub fn real_path(&self, name: &Path) -> Result<PathBuf, BeneathError> {
        let inside = self.dir.canonicalize(name).map_err(|error| self.error(name, error))?;
        Ok(self.path.join(inside))
    }

    /// Writes the new plain file `name`, the folders above it too, with the bytes of `contents`. A file
    /// of that name gives way; a link of that name is not followed.
    ///
    /// # Errors
    /// Where one of the names leads outside or is something else already, and the system's.
    pub fn write(&self, name: &Path, contents: &mut dyn Read) -> Result<u64, BeneathError> {
        let failed = |error| self.error(name, error);
        if let Some(parent) = name.parent() {
            self.dir.create_dir_all(parent).map_err(failed)?;
        }
        match self.dir.remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o644);
        let mut file = self.dir.open_with(name, &options).map_err(failed)?;
        io::copy(contents, &mut file).map_err(failed)
    }

    fn error(&self, name: &Path, source: io::Error) -> BeneathError {
        let path = self.path.join(name);
        // cap-std's own word for it has no number; openat2's is EXDEV.
        let leads_out = source.raw_os_error() == Some(libc::EXDEV)
            || (source.kind() == io::ErrorKind::PermissionDenied
                && source.raw_os_error().is_none());
        if leads_out {
            BeneathError::LeadsOut { path, root: self.path.clone() }
        } else {
            BeneathError::File { path, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A folder with a canary beside it.
    fn beside_a_canary() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("host/share")).unwrap();
        fs::write(dir.path().join("host/share/canary"), "alive").unwrap();
        fs::create_dir_all(dir.path().join("root/in/deep")).unwrap();
        fs::write(dir.path().join("root/in/deep/file"), "inside").unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn links_within_are_followed_and_links_out_are_not() {
        let (dir, root) = beside_a_canary();
        let at = dir.path().join("root");
        symlink("in/deep", at.join("within")).unwrap();
        assert_eq!(root.read(Path::new("within/file"), 100).unwrap(), b"inside");
        let real = root.real_path(Path::new("within/file")).unwrap();
        assert_eq!(real, at.canonicalize().unwrap().join("in/deep/file"));
        symlink(dir.path().join("host"), at.join("absolute")).unwrap();
        symlink("../host", at.join("relative")).unwrap();
        symlink("in/../../host", at.join("hidden")).unwrap();
        for out in ["absolute", "relative", "hidden", "in/../../host"] {
            let file = Path::new(out).join("share/canary");
            let error = root.read(&file, 100).unwrap_err();
            assert!(matches!(error, BeneathError::LeadsOut { .. }), "{out}: {error}");
            assert!(!root.is_file(&file) && !root.is_dir(Path::new(out)), "{out}");
            assert!(root.names(Path::new(out)).is_err() && root.folder(Path::new(out)).is_err());
            root.write(&Path::new(out).join("share/new"), &mut &b"x"[..]).unwrap_err();
            root.write(&file, &mut &b"dead"[..]).unwrap_err();
        }
        let host = dir.path().join("host/share");
        assert_eq!(fs::read(host.join("canary")).unwrap(), b"alive");
        assert_eq!(fs::read_dir(host).unwrap().count(), 1);
    }

    #[test]
    fn a_link_of_the_same_name_is_replaced_and_not_followed() {
        let (dir, root) = beside_a_canary();
        symlink("../host/share/canary", dir.path().join("root/vmlinuz")).unwrap();
        root.write(Path::new("vmlinuz"), &mut &b"kernel"[..]).unwrap();
        assert_eq!(root.read(Path::new("vmlinuz"), 100).unwrap(), b"kernel");
        assert_eq!(fs::read(dir.path().join("host/share/canary")).unwrap(), b"alive");
        // A file where a folder is expected, and the other way round.
        root.write(Path::new("vmlinuz/x"), &mut &b""[..]).unwrap_err();
        root.write(Path::new("in"), &mut &b""[..]).unwrap_err();
    }

    #[test]
    fn only_plain_files_of_a_bounded_size_are_read() {
        let (dir, root) = beside_a_canary();
        let pipe = dir.path().join("root/pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = root.read(Path::new("pipe"), 100).unwrap_err();
        assert!(matches!(error, BeneathError::NotAFile { .. }), "{error}");
        let error = root.read(Path::new("in/deep/file"), 5).unwrap_err();
        assert!(matches!(error, BeneathError::TooLarge { .. }), "{error}");
        assert_eq!(root.text(Path::new("gone"), 5).unwrap(), None);
        assert_eq!(root.names(Path::new("in")).unwrap(), [("deep".into(), true)]);
    }
}
