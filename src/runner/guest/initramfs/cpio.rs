//! Writes cpio archives of the "newc" format, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
//! describes it. Makes the directories above each entry, and device nodes without being root.

use std::collections::HashSet;
use std::io::{self, Write};

const TYPE_DIR: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_CHAR: u32 = 0o020_000;

/// An archive being written.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inode: u32,
    names: HashSet<String>,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    rdev: (u32, u32),
    contents: &'a [u8],
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Archive<W> {
        Archive { out, inode: 0, names: HashSet::new() }
    }

    /// Adds a file; the first of a name stays, later ones are left out.
    ///
    /// # Errors
    /// When the writer fails, or the contents are 4 GiB or more.
    pub fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.add(path, TYPE_FILE | mode, (0, 0), contents)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.add(path, TYPE_LINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn dir(&mut self, path: &str) -> io::Result<()> {
        self.add(path, TYPE_DIR | 0o755, (0, 0), b"")
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.add(path, TYPE_CHAR | 0o600, (major, minor), b"")
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(&Entry { name: "TRAILER!!!", mode: 0, rdev: (0, 0), contents: b"" })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn add(&mut self, path: &str, mode: u32, rdev: (u32, u32), contents: &[u8]) -> io::Result<()> {
        let name = path.trim_matches('/');
        if let Some((parent, _)) = name.rsplit_once('/')
            && !self.names.contains(parent)
        {
            self.dir(parent)?;
        }
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.entry(&Entry { name, mode, rdev, contents })
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.inode = self.inode.wrapping_add(1);
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let size = u32::try_from(entry.contents.len()).map_err(too_long)?;
        let name_size = u32::try_from(entry.name.len()).map_err(too_long)?.saturating_add(1);
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let (major, minor) = entry.rdev;
        let fields = [self.inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        let mut header = String::from("070701");
        fields.iter().for_each(|field| header.push_str(&format!("{field:08X}")));
        header.push_str(entry.name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(entry.contents)
    }

    /// Header with name, and contents, each end on a multiple of four bytes.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let padding = bytes.len().wrapping_neg() % 4;
        self.out.write_all([0; 4].get(..padding).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::tools::Tool;

    #[test]
    fn busybox_unpacks_what_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/odd", 0o640, b"12345").unwrap();
        archive.file("a/b/odd", 0o640, b"later ones are left out").unwrap();
        archive.link("/a/link", "b/odd").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        std::fs::write(dir.path().join("x.cpio"), bytes).unwrap();
        let unpack = ["-c", "busybox cpio -i <x.cpio && cat a/link && stat -c %a a/b/odd"];
        let text = Tool::find("sh", "dash").unwrap().args(unpack).dir(dir.path()).text().unwrap();
        assert_eq!(text, "12345640\n");
    }
}
