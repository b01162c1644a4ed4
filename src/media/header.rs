//! The header page of a PI file.
//!
//! | offset | bytes | what (little-endian) |
//! |---|---|---|
//! | 0 | 8 | magic `DIXTRAPI` |
//! | 8 | 4 | format version: 1 |
//! | 12 | 4 | block size |
//! | 16 | 4 | protection type |
//! | 20 | 4 | state: 1 clean, 2 in use |
//! | 24 | 8 | number of blocks |
//! | 32 | 4 | CRC-32C of the bytes before it |
//!
//! All fields lie in the first sector, so a header is never half written. The second sector and those
//! after it may hold a note of the process that closed the file for the one that opens it next (see
//! [`super::note`]). The rest of the page is zero.

use crc::{CRC_32_ISCSI, Crc};

use super::error::HeaderError;
use crate::pi::PiType;
use crate::units::{BlockCount, BlockSize};

/// The length of the header: tuples begin here.
pub(super) const HEADER_BYTES: usize = 4096;

/// How a PI file begins.
pub(super) const MAGIC: [u8; 8] = *b"DIXTRAPI";
const VERSION: u32 = 1;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Whether data and tuples are known to belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Closed after the last write had reached both files.
    Clean,
    /// Being written to, or left so by a process that died.
    InUse,
}

/// What a PI file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) block_size: BlockSize,
    pub(super) pi_type: PiType,
    pub(super) blocks: BlockCount,
    pub(super) state: State,
}

impl Header {
    /// The header as it stands in the file, without the page's zeros.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let state: u32 = match self.state {
            State::Clean => 1,
            State::InUse => 2,
        };
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(u32::from(self.block_size).to_le_bytes());
        bytes.extend(u32::from(self.pi_type.number()).to_le_bytes());
        bytes.extend(state.to_le_bytes());
        bytes.extend(self.blocks.0.to_le_bytes());
        bytes.extend(CRC.checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the beginning of a file as a header.
    pub(super) fn parse(page: &[u8]) -> Result<Header, HeaderError> {
        let mut rest = page;
        if take::<8>(&mut rest) != Some(MAGIC) {
            return Err(HeaderError::Foreign);
        }
        let fields = Self::parse_fields(&mut rest)?;
        let covered = page.len().saturating_sub(rest.len());
        let computed = page.get(..covered).map(|bytes| CRC.checksum(bytes));
        let stored = take(&mut rest).map(u32::from_le_bytes);
        if stored.is_none() || stored != computed {
            return Err(HeaderError::Damaged);
        }
        fields.ok_or(HeaderError::Damaged)
    }

    /// The fields between magic and checksum; `None` where one has a value that nobody wrote.
    fn parse_fields(rest: &mut &[u8]) -> Result<Option<Header>, HeaderError> {
        let mut number = || take(rest).map(u32::from_le_bytes).ok_or(HeaderError::Damaged);
        let version = number()?;
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let block_size = BlockSize::try_from(number()?).ok();
        let pi_type = u8::try_from(number()?).ok().and_then(PiType::from_number);
        let state = match number()? {
            1 => Some(State::Clean),
            2 => Some(State::InUse),
            _ => None,
        };
        let blocks = take(rest).map(u64::from_le_bytes).ok_or(HeaderError::Damaged)?;
        let (Some(block_size), Some(pi_type), Some(state)) = (block_size, pi_type, state) else {
            return Ok(None);
        };
        if !pi_type.is_protected() {
            return Ok(None);
        }
        Ok(Some(Header { block_size, pi_type, blocks: BlockCount(blocks), state }))
    }
}

/// Takes the next `N` bytes off.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header = Header {
        block_size: BlockSize::B4096,
        pi_type: PiType::Type3,
        blocks: BlockCount(0x0102_0304_0506),
        state: State::InUse,
    };

    #[test]
    fn round_trip() {
        for state in [State::Clean, State::InUse] {
            let header = Header { state, ..HEADER };
            assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = HEADER.to_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(Header::parse(b""), Err(HeaderError::Foreign));
        assert_eq!(Header::parse(&[0; HEADER_BYTES]), Err(HeaderError::Foreign));
        let mut later = HEADER.to_bytes();
        later[8] = 2;
        assert_eq!(Header::parse(&later), Err(HeaderError::Version(2)));
        assert_eq!(Header::parse(&HEADER.to_bytes()[..35]), Err(HeaderError::Damaged));
    }

    proptest! {
        #[test]
        fn any_bytes_after_the_magic_are_parsed_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [MAGIC.as_slice(), &tail].concat();
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(&header.to_bytes(), &bytes[..36]);
            }
        }
    }
}
