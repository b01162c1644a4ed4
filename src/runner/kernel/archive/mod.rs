//! Packages read from their first byte to their last, entry by entry: nothing is unpacked that nobody
//! asked for, and no entry's word is taken for where it goes.

mod cpio;
mod deb;
mod entry;
mod rpm;
mod tarball;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::runner::kernel::packing::unpacking;
use entry::bounded;
pub use entry::{Entry, PackageError, Told, Visit};

/// Kernels have a tenth of these files.
const ENTRY_LIMIT: usize = 500_000;

/// What kind of package a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deb,
    Rpm,
    Tarball,
}

/// Names that are given to nothing else, whatever is in the file.
const ENDINGS: [&str; 8] =
    [".deb", ".rpm", ".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz", ".tar.bz2"];

/// Whether the file at `path` is a package, by its contents or its name: a .deb, an .rpm or a tar
/// archive, packed or not.
///
/// # Errors
/// When the file cannot be read.
pub fn is_package(path: &Path) -> io::Result<bool> {
    let name = path.to_string_lossy();
    if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Ok(true);
    }
    Ok(kind(path)?.is_some())
}

fn kind(path: &Path) -> io::Result<Option<Kind>> {
    let mut input = BufReader::new(File::open(path)?);
    let head = input.fill_buf()?;
    if head.starts_with(deb::MAGIC) {
        return Ok(Some(Kind::Deb));
    }
    if head.starts_with(rpm::MAGIC) {
        return Ok(Some(Kind::Rpm));
    }
    let mut first = Vec::new();
    // What cannot be unpacked may be anything, but is no tar archive.
    if let Ok(unpacked) = unpacking(input) {
        let _ = unpacked.take(512).read_to_end(&mut first);
    }
    Ok(tarball::is_one(&first).then_some(Kind::Tarball))
}

/// Shows everything that the package at `path` holds to `visit`, as long as it unpacks to no more than
/// `limit` bytes.
///
/// # Errors
/// What `visit` says, and where the file is not a whole package.
pub fn each_entry(path: &Path, limit: u64, visit: &mut Visit<'_>) -> Result<Told, PackageError> {
    let kind = kind(path)?;
    let input = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut left = ENTRY_LIMIT;
    let mut counted = |entry: Entry<'_>| {
        left = left.checked_sub(1).ok_or_else(|| PackageError::broken("it has no end of files"))?;
        visit(entry)
    };
    match kind {
        Some(Kind::Deb) => deb::each_entry(input, limit, &mut counted),
        Some(Kind::Rpm) => rpm::each_entry(input, limit, &mut counted).map(|()| Told::default()),
        Some(Kind::Tarball) => {
            tarball::each_entry(bounded(input, limit)?, &mut counted).map(|()| Told::default())
        }
        None => Err(PackageError::broken(
            "it is no .deb, .rpm or tar archive, or its beginning is damaged",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tarball() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        // A name of this length needs an entry of its own.
        let long = format!("boot/{}", "x".repeat(150));
        for name in ["boot/vmlinuz-1", long.as_str()] {
            let mut header = tar::Header::new_gnu();
            header.set_size(5);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &b"hello"[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn deb() -> Vec<u8> {
        let data = tarball();
        let mut out = deb::MAGIC.to_vec();
        out.extend(format!("{:<48}{:<10}`\n", "data.tar", data.len()).as_bytes());
        out.extend(data);
        out
    }

    fn rpm() -> Vec<u8> {
        let mut out = rpm::MAGIC.to_vec();
        out.resize(96, 0);
        for _ in 0..2 {
            out.extend(b"\x8e\xad\xe8\x01\0\0\0\0\0\0\0\0\0\0\0\0");
        }
        for (name, contents) in [("boot/vmlinuz-1", "hello"), ("TRAILER!!!", "")] {
            let (size, name_size) = (contents.len(), name.len() + 1);
            out.extend(b"070701");
            for field in [1, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
                out.extend(format!("{field:08x}").as_bytes());
            }
            out.extend(name.as_bytes());
            out.push(0);
            out.resize((out.len() - 128).next_multiple_of(4) + 128, 0);
            out.extend(contents.as_bytes());
            out.resize((out.len() - 128).next_multiple_of(4) + 128, 0);
        }
        out
    }

    /// The names in a package, and how many bytes they hold.
    fn read(bytes: &[u8]) -> Result<(Vec<String>, u64), PackageError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        let (mut names, mut size) = (Vec::new(), 0);
        each_entry(file.path(), 1 << 20, &mut |entry: Entry<'_>| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            size += io::copy(entry.contents, &mut io::sink())?;
            Ok(())
        })?;
        Ok((names, size))
    }

    #[test]
    fn every_kind_is_read() {
        for (package, files) in [(tarball(), 2), (deb(), 2), (rpm(), 1)] {
            let (names, size) = read(&package).unwrap();
            assert_eq!((names.len(), size), (files, 5 * files as u64));
            assert_eq!(names[0], "boot/vmlinuz-1");
        }
        assert_eq!(read(&tarball()).unwrap().0[1].len(), 155);
    }

    proptest! {
        /// A package that was tampered with, or cut, is read or refused: within its limit, and its end.
        #[test]
        fn no_package_makes_it_panic(
            kind in 0..3_usize,
            changes in prop::collection::vec((0..2_500_usize, any::<u8>()), 0..8),
            keep in 0..6_000_usize,
        ) {
            let mut package = [tarball, deb, rpm][kind]();
            for (at, byte) in changes {
                if let Some(place) = package.get_mut(at) {
                    *place = byte;
                }
            }
            package.truncate(keep);
            if let Ok((_, size)) = read(&package) {
                prop_assert!(size <= 1 << 20);
            }
        }
    }
}
