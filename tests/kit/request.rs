//! virtio-blk requests (VIRTIO 1.2 §5.2.6): laid out in guest memory, then cut into the pieces of a
//! chain any way a test likes.

use std::sync::Arc;

use super::memory::Memory;
use super::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};

/// What the status byte holds until the device writes it.
pub const UNTOUCHED: u8 = 0xA5;

/// A piece of a chain: what one descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub addr: u64,
    pub len: u32,
    pub writable: bool,
}

/// A piece the device reads.
pub fn readable(addr: u64, len: usize) -> Piece {
    Piece { addr, len: len as u32, writable: false }
}

/// A piece the device writes.
pub fn writable(addr: u64, len: usize) -> Piece {
    Piece { addr, len: len as u32, writable: true }
}

/// A request in guest memory: header, data, status byte. The data begins on a page.
pub struct Draft {
    memory: Arc<Memory>,
    pub header: u64,
    pub data: u64,
    pub len: usize,
    pub status: u64,
    data_writable: bool,
}

impl Draft {
    fn new(memory: &Arc<Memory>, kind: u32, sector: u64, len: usize, data_writable: bool) -> Draft {
        let draft = Draft {
            memory: Arc::clone(memory),
            header: memory.alloc(16, 16),
            data: memory.alloc(len, 4096),
            len,
            status: memory.alloc(1, 1),
            data_writable,
        };
        draft.set_header(kind, sector);
        memory.write(draft.status, &[UNTOUCHED]);
        draft
    }

    /// Writes the header again, with any type and sector.
    pub fn set_header(&self, kind: u32, sector: u64) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write(self.header, &header);
    }

    /// A write of `data` at `sector` (512 bytes each, whatever the block size).
    pub fn write(memory: &Arc<Memory>, sector: u64, data: &[u8]) -> Draft {
        Draft::with_data(memory, VIRTIO_BLK_T_OUT, sector, data)
    }

    /// A request of any type whose data the device reads.
    pub fn with_data(memory: &Arc<Memory>, kind: u32, sector: u64, data: &[u8]) -> Draft {
        let draft = Draft::new(memory, kind, sector, data.len(), false);
        memory.write(draft.data, data);
        draft
    }

    /// A read of `len` bytes at `sector`.
    pub fn read(memory: &Arc<Memory>, sector: u64, len: usize) -> Draft {
        Draft::new(memory, VIRTIO_BLK_T_IN, sector, len, true)
    }

    /// A flush.
    pub fn flush(memory: &Arc<Memory>) -> Draft {
        Draft::new(memory, VIRTIO_BLK_T_FLUSH, 0, 0, false)
    }

    /// A question for the disk's name.
    pub fn get_id(memory: &Arc<Memory>) -> Draft {
        Draft::new(memory, VIRTIO_BLK_T_GET_ID, 0, 20, true)
    }

    /// A discard of these ranges.
    pub fn discard(memory: &Arc<Memory>, ranges: &[Range]) -> Draft {
        Draft::with_data(memory, VIRTIO_BLK_T_DISCARD, 0, &Range::bytes(ranges))
    }

    /// Zeroes over these ranges.
    pub fn write_zeroes(memory: &Arc<Memory>, ranges: &[Range]) -> Draft {
        Draft::with_data(memory, VIRTIO_BLK_T_WRITE_ZEROES, 0, &Range::bytes(ranges))
    }

    /// The plain chain: header, data where there is any, status.
    pub fn pieces(&self) -> Vec<Piece> {
        let data = Piece { addr: self.data, len: self.len as u32, writable: self.data_writable };
        let mut pieces = vec![readable(self.header, 16)];
        if self.len > 0 {
            pieces.push(data);
        }
        pieces.push(writable(self.status, 1));
        pieces
    }

    /// The same chain with every piece cut at random places, the header too.
    pub fn shredded(&self, random: &mut super::Random, cuts: u64) -> Vec<Piece> {
        let mut pieces = self.pieces();
        for _ in 0..cuts {
            let which = random.below(pieces.len() as u64) as usize;
            let piece = pieces[which];
            if piece.len > 1 {
                let at = 1 + random.below(u64::from(piece.len) - 1) as u32;
                pieces[which].len = at;
                let rest = Piece { addr: piece.addr + u64::from(at), len: piece.len - at, ..piece };
                pieces.insert(which + 1, rest);
            }
        }
        pieces
    }

    /// The status byte as it is now.
    pub fn status(&self) -> u8 {
        self.memory.read(self.status, 1)[0]
    }

    /// The data as it is now.
    pub fn bytes(&self) -> Vec<u8> {
        self.memory.read(self.data, self.len)
    }
}

/// A range of a discard or write-zeroes request.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub sector: u64,
    pub count: u32,
    pub flags: u32,
}

impl Range {
    /// The ranges as they travel.
    pub fn bytes(ranges: &[Range]) -> Vec<u8> {
        ranges
            .iter()
            .flat_map(|range| {
                let mut bytes = range.sector.to_le_bytes().to_vec();
                bytes.extend(range.count.to_le_bytes());
                bytes.extend(range.flags.to_le_bytes());
                bytes
            })
            .collect()
    }
}
