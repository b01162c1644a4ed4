//! The header of a request (VIRTIO 1.2 §5.6.6.1): with T10_PI eight bytes longer.

use super::address::Address;
use super::config_space::Sizes;
use crate::memory::{MemoryError, Segments};
use crate::proto::scsi::drive::Cdb;

/// Unit, tag, attribute, priority, reference number.
const FIXED_BYTES: usize = 19;
/// PI_BYTESOUT and PI_BYTESIN.
const PI_BYTES: usize = 8;

/// How the parts of a request are cut: follows what the driver has acknowledged and chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// T10_PI was taken.
    pub protection: bool,
    /// Sense and command sizes.
    pub sizes: Sizes,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whom the request is for.
    pub address: Address,
    /// The driver's name for it.
    pub tag: u64,
    /// The command.
    pub cdb: Cdb,
    /// Bytes of protection information before the data that the driver sends.
    pub pi_out: u32,
    /// Bytes of protection information before the data that the driver gets.
    pub pi_in: u32,
}

impl Layout {
    /// The header's length.
    pub fn header_bytes(&self) -> usize {
        let cdb = usize::try_from(self.sizes.cdb).unwrap_or(0);
        FIXED_BYTES.saturating_add(cdb).saturating_add(if self.protection { PI_BYTES } else { 0 })
    }

    /// Reads a header; `None` where it is too short.
    pub fn read(&self, head: &Segments) -> Result<Option<Header>, MemoryError> {
        let mut bytes = vec![0; self.header_bytes()];
        if head.len() != bytes.len() as u64 {
            return Ok(None);
        }
        head.copy_out(&mut bytes)?;
        Ok(self.parse(&bytes))
    }

    fn parse(&self, bytes: &[u8]) -> Option<Header> {
        let (address, rest) = bytes.split_first_chunk::<8>()?;
        let (tag, rest) = rest.split_first_chunk::<8>()?;
        // Task attribute, priority and reference number: all tasks are simple ones.
        let (_, rest) = rest.split_first_chunk::<3>()?;
        let (pi_out, pi_in, cdb) = if self.protection {
            let (out, rest) = rest.split_first_chunk::<4>()?;
            let (into, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*out), u32::from_le_bytes(*into), rest)
        } else {
            (0, 0, rest)
        };
        Some(Header {
            address: Address::parse(*address),
            tag: u64::from_le_bytes(*tag),
            cdb: Cdb::new(cdb),
            pi_out,
            pi_in,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_follows_what_was_negotiated() {
        let plain = Layout { protection: false, sizes: Sizes::default() };
        let protected = Layout { protection: true, ..plain };
        assert_eq!((plain.header_bytes(), protected.header_bytes()), (51, 59));
        let mut bytes = [0; 59];
        bytes[0] = 1;
        bytes[8..16].copy_from_slice(&7u64.to_le_bytes());
        bytes[19] = 64;
        bytes[23] = 8;
        bytes[27] = 0x2A;
        let header = protected.parse(&bytes).unwrap();
        assert_eq!((header.tag, header.pi_out, header.pi_in), (7, 64, 8));
        assert_eq!((header.address, header.cdb.opcode()), (Address::Unit(0), 0x2A));
        assert_eq!(plain.parse(&bytes[..51]).unwrap().cdb.opcode(), 64);
    }
}
