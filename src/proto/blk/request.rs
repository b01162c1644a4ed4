//! A request's bytes → a command (VIRTIO 1.2 §5.2.6).

use virtio_bindings::virtio_blk as blk;

use crate::units::{BlockCount, BlockSize, Lba};

/// Sectors are 512 bytes whatever the block size (VIRTIO 1.2 §5.2.6: "sector number … in units of 512").
pub const SECTOR_BYTES: u64 = 512;
/// The header's length: type, reserved, sector.
pub const HEADER_BYTES: usize = 16;
/// A discard or write-zeroes range's length: sector, number of sectors, flags.
pub const RANGE_BYTES: usize = 16;
/// The length of a device identification (VIRTIO 1.2 §5.2.6).
pub const ID_BYTES: usize = 20;

/// The most segments a driver should put into a request: what fits a ring of 128 descriptors.
pub const SEG_MAX: u32 = 126;
/// The longest segment.
pub const MAX_SEGMENT_BYTES: u32 = 512 << 10;
/// The longest request that is carried out: no driver that keeps to the limits above reaches it, and
/// one request cannot take the daemon's memory.
pub const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// The most sectors of one discard or write-zeroes range.
pub const MAX_DISCARD_SECTORS: u32 = 1 << 22;
/// The most ranges of one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 16;

/// Write-zeroes flag: the blocks need not stay allocated.
const FLAG_UNMAP: u32 = blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

/// How many bytes a request carries each way, header and status byte not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes that the device may read.
    pub data_out: u64,
    /// Bytes that the device may write.
    pub data_in: u64,
}

/// Blocks to discard or to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first block.
    pub lba: Lba,
    /// How many blocks from there on.
    pub blocks: BlockCount,
    /// They need not stay allocated.
    pub unmap: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read blocks.
    Read {
        /// The first block.
        lba: Lba,
        /// How many blocks from there on.
        blocks: BlockCount,
    },
    /// Write blocks.
    Write {
        /// The first block.
        lba: Lba,
        /// How many blocks from there on.
        blocks: BlockCount,
    },
    /// Make completed writes durable.
    Flush,
    /// Say who you are.
    GetId,
    /// Discard the ranges in the payload.
    Discard,
    /// Zero the ranges in the payload.
    WriteZeroes,
}

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A type that this device does not know, or flags that it does not (UNSUPP).
    #[error("request type or flags are not supported")]
    Unsupported,
    /// A request that cannot be carried out as it stands (IOERR).
    #[error("{0}")]
    Malformed(&'static str),
}

impl Command {
    /// Reads a header.
    pub fn parse(
        header: &[u8; HEADER_BYTES],
        layout: Layout,
        size: BlockSize,
    ) -> Result<Command, RequestError> {
        let [t0, t1, t2, t3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = *header;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            blk::VIRTIO_BLK_T_IN => {
                none_of(layout.data_out, "a read that carries data to the device")?;
                let (lba, blocks) = extent(sector, layout.data_in, size)?;
                Ok(Command::Read { lba, blocks })
            }
            blk::VIRTIO_BLK_T_OUT => {
                none_of(layout.data_in, "a write with room for data from the device")?;
                let (lba, blocks) = extent(sector, layout.data_out, size)?;
                Ok(Command::Write { lba, blocks })
            }
            blk::VIRTIO_BLK_T_FLUSH => Ok(Command::Flush),
            blk::VIRTIO_BLK_T_GET_ID => Ok(Command::GetId),
            blk::VIRTIO_BLK_T_DISCARD => ranges_fit(layout).map(|()| Command::Discard),
            blk::VIRTIO_BLK_T_WRITE_ZEROES => ranges_fit(layout).map(|()| Command::WriteZeroes),
            _ => Err(RequestError::Unsupported),
        }
    }
}

fn none_of(bytes: u64, what: &'static str) -> Result<(), RequestError> {
    if bytes == 0 { Ok(()) } else { Err(RequestError::Malformed(what)) }
}

/// Sectors and bytes → blocks.
fn extent(sector: u64, bytes: u64, size: BlockSize) -> Result<(Lba, BlockCount), RequestError> {
    if bytes > MAX_REQUEST_BYTES {
        return Err(RequestError::Malformed("a request longer than 64 MiB"));
    }
    let blocks = size.blocks_in(bytes).ok_or(RequestError::Malformed("a part of a block"))?;
    Ok((block_at(sector, size)?, blocks))
}

/// The block that begins at a sector.
fn block_at(sector: u64, size: BlockSize) -> Result<Lba, RequestError> {
    let sectors_a_block = size.bytes_u64() / SECTOR_BYTES;
    if sector.is_multiple_of(sectors_a_block) {
        Ok(Lba(sector / sectors_a_block))
    } else {
        Err(RequestError::Malformed("a sector in the middle of a block"))
    }
}

fn ranges_fit(layout: Layout) -> Result<(), RequestError> {
    let range = RANGE_BYTES as u64;
    let whole = layout.data_out > 0 && layout.data_out.is_multiple_of(range);
    if !whole || layout.data_out / range > u64::from(MAX_RANGES) {
        return Err(RequestError::Malformed(
            "a discard or write-zeroes without 1 to 16 whole ranges",
        ));
    }
    Ok(())
}

impl Range {
    /// Reads one range of a discard (`zeroing` false) or write-zeroes request.
    pub fn parse(
        bytes: &[u8; RANGE_BYTES],
        zeroing: bool,
        size: BlockSize,
    ) -> Result<Range, RequestError> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3] = *bytes;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        // VIRTIO 1.2 §5.2.6.2: unknown flags, and `unmap` on a discard, are UNSUPP.
        let known = if zeroing { FLAG_UNMAP } else { 0 };
        if flags & !known != 0 {
            return Err(RequestError::Unsupported);
        }
        if sectors > MAX_DISCARD_SECTORS {
            return Err(RequestError::Malformed("a range longer than the maximum"));
        }
        let blocks = size
            .blocks_in(u64::from(sectors) * SECTOR_BYTES)
            .ok_or(RequestError::Malformed("a range that ends in the middle of a block"))?;
        Ok(Range { lba: block_at(sector, size)?, blocks, unmap: flags & FLAG_UNMAP != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(kind: u32, sector: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&sector.to_le_bytes());
        bytes
    }

    fn parse(kind: u32, sector: u64, data_out: u64, data_in: u64) -> Result<Command, RequestError> {
        Command::parse(&header(kind, sector), Layout { data_out, data_in }, BlockSize::B4096)
    }

    #[test]
    fn sectors_become_blocks() {
        let read = Command::Read { lba: Lba(2), blocks: BlockCount(1) };
        assert_eq!(parse(0, 16, 0, 4096), Ok(read));
        let write = Command::Write { lba: Lba(0), blocks: BlockCount(3) };
        assert_eq!(parse(1, 0, 3 * 4096, 0), Ok(write));
    }

    #[test]
    fn parts_of_blocks_are_malformed() {
        for (sector, bytes) in [(1, 4096), (8, 512), (8, 4097)] {
            assert!(matches!(parse(0, sector, 0, bytes), Err(RequestError::Malformed(_))));
        }
    }

    #[test]
    fn data_in_the_wrong_direction_is_malformed() {
        assert!(matches!(parse(0, 0, 4096, 0), Err(RequestError::Malformed(_))));
        assert!(matches!(parse(1, 0, 0, 4096), Err(RequestError::Malformed(_))));
    }

    #[test]
    fn unknown_types_and_flags_are_unsupported() {
        assert_eq!(parse(77, 0, 0, 0), Err(RequestError::Unsupported));
        let mut range = [0; RANGE_BYTES];
        range[12] = 1;
        assert_eq!(Range::parse(&range, false, BlockSize::B512), Err(RequestError::Unsupported));
        assert!(Range::parse(&range, true, BlockSize::B512).unwrap().unmap);
        range[12] = 2;
        assert_eq!(Range::parse(&range, true, BlockSize::B512), Err(RequestError::Unsupported));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(header: [u8; 16], kind in 0u32..20, data_out: u64, data_in: u64) {
            let layout = Layout { data_out, data_in };
            let mut typed = header;
            typed[..4].copy_from_slice(&kind.to_le_bytes());
            for bytes in [header, typed] {
                for size in [BlockSize::B512, BlockSize::B4096] {
                    let _ = Command::parse(&bytes, layout, size);
                    let _ = Range::parse(&bytes, true, size);
                }
            }
        }
    }
}
