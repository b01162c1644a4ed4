//! Reads cpio archives of the "newc" format, as RPM packages have them.

use std::io::Read;

use super::entry::{Entry, NAME_LIMIT, PackageError, Visit, skip};

/// The header: a magic of six characters, and thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 110;
const END: &[u8] = b"TRAILER!!!";
/// The file's type among the bits of its mode, and that of a plain file.
const TYPE: u32 = 0o170_000;
const PLAIN: u32 = 0o100_000;

/// Shows every entry.
pub fn each_entry(mut input: impl Read, visit: &mut Visit<'_>) -> Result<(), PackageError> {
    loop {
        let mut header = [0; HEADER];
        input.read_exact(&mut header)?;
        if !matches!(header.get(..6), Some(b"070701" | b"070702")) {
            return Err(PackageError::broken("an entry has no header that is read here"));
        }
        let [mode, links, size, name_size] = [1, 4, 6, 11].map(|index| field(&header, index));
        let (mode, links, size, name_size) = (mode?, links?, u64::from(size?), name_size?);
        let name = name(&mut input, name_size)?;
        if name == END {
            return Ok(());
        }
        // Of a file with several names the last entry has the contents.
        let elsewhere = links > 1 && size == 0;
        let mut contents = input.by_ref().take(size);
        let is_file = mode & TYPE == PLAIN && !elsewhere;
        visit(Entry { name: &name, is_file, contents: &mut contents })?;
        let left = contents.limit();
        skip(&mut input, left.saturating_add(size.wrapping_neg() % 4))?;
    }
}

fn field(header: &[u8; HEADER], index: usize) -> Result<u32, PackageError> {
    let start = index.saturating_mul(8).saturating_add(6);
    let digits = header.get(start..).and_then(|rest| rest.first_chunk::<8>());
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    u32::from_str_radix(text, 16).map_err(|_| PackageError::broken("an entry has no numbers"))
}

/// The name, without the zero that ends it; header and name end on a multiple of four bytes.
fn name(input: &mut impl Read, size: u32) -> Result<Vec<u8>, PackageError> {
    let size = usize::try_from(size).ok().filter(|size| (1..=NAME_LIMIT).contains(size));
    let mut name = vec![0; size.ok_or_else(|| PackageError::broken("a name has no end"))?];
    input.read_exact(&mut name)?;
    let padding = HEADER.wrapping_add(name.len()).wrapping_neg() % 4;
    skip(input, u64::try_from(padding).unwrap_or(0))?;
    name.pop();
    Ok(name)
}
