//! RPM packages: a lead, two headers that nobody needs here, and a packed cpio archive (rpm's
//! docs/manual/format_v4.md).

use std::io::BufRead;

use super::cpio;
use super::entry::{PackageError, Visit, bounded, skip};

/// The beginning of the lead.
pub const MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD: u64 = 96;
/// The beginning of a header; four bytes that are not used and two counts follow.
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
/// rpm's own limit for a header.
const HEADER_LIMIT: u64 = 256 << 20;

/// Shows the files of the package.
pub fn each_entry(
    mut input: impl BufRead,
    limit: u64,
    visit: &mut Visit<'_>,
) -> Result<(), PackageError> {
    skip(&mut input, LEAD)?;
    // The signature's header is filled up to a multiple of eight bytes, the other is not.
    let signature = header(&mut input)?;
    skip(&mut input, signature.wrapping_neg() % 8)?;
    header(&mut input)?;
    cpio::each_entry(bounded(input, limit)?, visit)
}

/// Passes over a header; the length of what its index points into.
fn header(input: &mut impl BufRead) -> Result<u64, PackageError> {
    let (mut start, mut counts) = ([0; 8], [0; 8]);
    input.read_exact(&mut start)?;
    input.read_exact(&mut counts)?;
    if !start.starts_with(HEADER_MAGIC) {
        return Err(PackageError::broken("it has no header"));
    }
    let both = u64::from_be_bytes(counts);
    let (entries, data) = (both >> 32, both & u64::from(u32::MAX));
    let length = entries.saturating_mul(16).saturating_add(data);
    if length > HEADER_LIMIT {
        return Err(PackageError::broken("its header has no end"));
    }
    skip(input, length)?;
    Ok(data)
}
