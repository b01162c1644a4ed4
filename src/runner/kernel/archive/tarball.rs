//! tar archives: what is in a .deb, and pacman's packages and `make tar-pkg`'s as they are.

use std::io::Read;

use tar::{Archive, EntryType, Header, PaxExtensions};

use super::entry::{Entry, NAME_LIMIT, PackageError, Visit};

/// Where a header says that it is one (POSIX ustar, and GNU).
const MAGIC: (usize, &[u8]) = (257, b"ustar");
/// A pax header has a few names and times.
const PAX_LIMIT: u64 = 64 << 10;

/// Whether a tar archive begins like this.
pub fn is_one(first: &[u8]) -> bool {
    first.get(MAGIC.0..).is_some_and(|rest| rest.starts_with(MAGIC.1))
}

/// Shows every entry. The crate's own reading of long names would take as much memory as an entry
/// claims: it gives the entries raw, and the names are put together here.
pub fn each_entry(input: impl Read, visit: &mut Visit<'_>) -> Result<(), PackageError> {
    let mut archive = Archive::new(input);
    let mut long_name = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let limit = u64::try_from(NAME_LIMIT).unwrap_or(0);
                let name = read(&mut entry, limit)?;
                long_name = Some(name.split(|byte| *byte == 0).next().unwrap_or(&name).to_vec());
            }
            EntryType::XHeader => {
                let header = read(&mut entry, PAX_LIMIT)?;
                long_name = pax_name(&header)?.or(long_name);
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            kind => {
                let name = long_name.take().unwrap_or_else(|| short_name(entry.header()));
                let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous)
                    && !name.ends_with(b"/");
                visit(Entry { name: &name, is_file, contents: &mut entry })?;
            }
        }
    }
    Ok(())
}

fn short_name(header: &Header) -> Vec<u8> {
    header.path_bytes().into_owned()
}

fn read(input: &mut impl Read, limit: u64) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    input.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= limit) {
        Ok(bytes)
    } else {
        Err(PackageError::broken("a name has no end"))
    }
}

/// The name that a pax header gives to the next entry. One that gives a size too is about a file of
/// 8 GiB, which no kernel has.
fn pax_name(header: &[u8]) -> Result<Option<Vec<u8>>, PackageError> {
    let mut name = None;
    for extension in PaxExtensions::new(header) {
        let extension = extension?;
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            b"size" => return Err(PackageError::broken("a file in it is too large")),
            _ => {}
        }
    }
    Ok(name)
}
