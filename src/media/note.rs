//! A note that a process leaves in the PI file when it stops in order, for the one that opens it next.
//!
//! | offset | bytes | what (little-endian) |
//! |---|---|---|
//! | 512 | 8 | magic `DIXTNOTE` |
//! | 520 | 4 | length of the note |
//! | 524 | … | the note |
//! | … | 4 | CRC-32C of the bytes from 512 on |
//!
//! It is good for one opening: whoever opens the file to write erases it, on stable storage, before
//! anything else. What a process that was killed left behind can then never be taken for an orderly end.

use crc::{CRC_32_ISCSI, Crc};

use super::header::HEADER_BYTES;

/// Where the note begins.
pub(super) const NOTE_AT: usize = 512;

const MAGIC: [u8; 8] = *b"DIXTNOTE";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The note as it stands in the file; `None` where it is too long.
pub(super) fn to_bytes(note: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(u32::try_from(note.len()).ok()?.to_le_bytes());
    bytes.extend(note);
    bytes.extend(CRC.checksum(&bytes).to_le_bytes());
    (bytes.len() <= HEADER_BYTES - NOTE_AT).then_some(bytes)
}

/// The note in what follows the header's first sector, where there is one.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<u8>> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (note, rest) = rest.split_at_checked(len)?;
    let covered = bytes.get(..12 + len)?;
    let stored = rest.first_chunk().map(|stored| u32::from_le_bytes(*stored))?;
    (*magic == MAGIC && stored == CRC.checksum(covered)).then(|| note.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trip_and_every_flipped_bit_is_noticed() {
        for note in [&b""[..], b"rings", &[7; 3000]] {
            let mut bytes = to_bytes(note).unwrap();
            assert_eq!(parse(&bytes).as_deref(), Some(note));
            bytes.extend([0; 99]);
            assert_eq!(parse(&bytes).as_deref(), Some(note));
        }
        let good = to_bytes(b"rings").unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bad), None, "bit {bit}");
        }
        assert_eq!(to_bytes(&[0; HEADER_BYTES]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [MAGIC.as_slice(), &tail].concat();
            if let Some(note) = parse(&bytes) {
                prop_assert!(bytes.starts_with(&to_bytes(&note).unwrap()));
            }
        }
    }
}
