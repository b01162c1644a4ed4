//! One walk over a descriptor chain.
//!
//! The walk reads every descriptor once, so that nothing the guest changes afterwards matters. It
//! tells two kinds of trouble apart: a chain whose shape cannot be followed breaks the ring, and a
//! chain that can be followed but asks for something impossible is a flawed request, which can still
//! be answered.

use std::sync::Arc;

use vm_memory::{ByteValued, Bytes, GuestAddress};

use super::token::Token;
use crate::memory::{MemoryMap, Segment, Segments, is_lost};

/// The most descriptors that a chain may have: eight times what the largest request that is asked for
/// (`seg_max`) needs. A ring may be longer.
const MAX_DESCRIPTORS: usize = 1024;

// Descriptor flags (VIRTIO 1.2 §2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A descriptor as it lies in guest memory (VIRTIO 1.2 §2.7.5), little-endian.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

// SAFETY: `repr(C)` with no padding (8 + 4 + 2 + 2), and every bit pattern is a value.
unsafe impl ByteValued for Descriptor {}

impl Descriptor {
    const BYTES: u64 = 16;

    fn to_native(self) -> Self {
        Descriptor {
            addr: u64::from_le(self.addr),
            len: u32::from_le(self.len),
            flags: u16::from_le(self.flags),
            next: u16::from_le(self.next),
        }
    }

    fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// A request as it left the ring.
#[derive(Debug)]
pub struct Request {
    /// What the device may read.
    pub readable: Segments,
    /// What the device may write; empty where a flaw leaves no trustworthy last byte.
    pub writable: Segments,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
    /// Another process took it before this one, and did not answer.
    pub resubmitted: bool,
    /// Answers it.
    pub token: Token,
}

/// A request that can be answered but not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// VIRTIO 1.2 §2.7.4.2: all device-readable descriptors come first.
    #[error("a readable descriptor follows a writable one")]
    Misordered,
    /// A buffer that is not guest memory.
    #[error("a buffer at {addr:#x}, {len} bytes, is not guest memory")]
    OutsideMemory {
        /// Where the buffer begins.
        addr: u64,
        /// How long it is.
        len: u32,
    },
    /// VIRTIO 1.2 §2.7.5.2: a chain's buffers are at most 2^32 bytes together.
    #[error("the buffers are longer than 2^32 bytes together")]
    TooLong,
}

/// A chain that cannot be followed; its ring is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// VIRTIO 1.2 §2.7.5: an index is below the number of descriptors.
    #[error("descriptor {index} is past the table's {size}")]
    IndexOutOfRange {
        /// The index.
        index: u16,
        /// The number of descriptors in the table.
        size: u16,
    },
    /// The chain is longer than any ring: it loops.
    #[error("the chain has more than {MAX_DESCRIPTORS} descriptors: it loops")]
    Loop,
    /// A table that is not guest memory.
    #[error("the descriptor at {0:#x} is not guest memory")]
    Unreadable(u64),
    /// VIRTIO 1.2 §2.7.5.3.1: whole descriptors, and not none.
    #[error("an indirect table of {0} bytes is not a whole number of descriptors")]
    IndirectLength(u32),
    /// VIRTIO 1.2 §2.7.5.3.1: no table inside a table, and nothing behind one.
    #[error("an indirect descriptor stands inside an indirect table or has a successor")]
    IndirectMisplaced,
}

/// A descriptor table: the ring's own or an indirect one.
#[derive(Debug, Clone, Copy)]
struct Table {
    addr: u64,
    size: u16,
}

impl Table {
    fn read(self, map: &MemoryMap, index: u16) -> Result<Descriptor, ChainError> {
        if index >= self.size {
            return Err(ChainError::IndexOutOfRange { index, size: self.size });
        }
        let addr = self
            .addr
            .checked_add(u64::from(index) * Descriptor::BYTES)
            .ok_or(ChainError::Unreadable(self.addr))?;
        let read = map.read_obj::<Descriptor>(GuestAddress(addr));
        match read {
            Ok(descriptor) if !is_lost(map, addr, Descriptor::BYTES) => Ok(descriptor.to_native()),
            _ => Err(ChainError::Unreadable(addr)),
        }
    }
}

/// Walks the chain that begins at `head` in the ring's table of `size` descriptors at `table`.
pub fn collect(map: &MemoryMap, table: u64, size: u16, head: u16) -> Result<Request, ChainError> {
    let mut parts = Parts::new(map);
    walk(map, Table { addr: table, size }, head, |descriptor| parts.add(descriptor))?;
    Ok(parts.into_request(Token::new(head)))
}

/// Visits every buffer descriptor of a chain, following at most one indirect table.
fn walk(
    map: &MemoryMap,
    table: Table,
    head: u16,
    mut visit: impl FnMut(Descriptor),
) -> Result<(), ChainError> {
    let (mut table, mut index, mut inside) = (table, head, false);
    for _ in 0..=MAX_DESCRIPTORS {
        let descriptor = table.read(map, index)?;
        if descriptor.has(INDIRECT) {
            if inside || descriptor.has(NEXT) {
                return Err(ChainError::IndirectMisplaced);
            }
            table = indirect_table(descriptor)?;
            (index, inside) = (0, true);
            continue;
        }
        visit(descriptor);
        if !descriptor.has(NEXT) {
            return Ok(());
        }
        index = descriptor.next;
    }
    Err(ChainError::Loop)
}

/// The table that an indirect descriptor points at.
fn indirect_table(descriptor: Descriptor) -> Result<Table, ChainError> {
    let bytes = u64::from(descriptor.len);
    let size = u16::try_from(bytes / Descriptor::BYTES)
        .ok()
        .filter(|size| *size > 0 && bytes.is_multiple_of(Descriptor::BYTES))
        .ok_or(ChainError::IndirectLength(descriptor.len))?;
    Ok(Table { addr: descriptor.addr, size })
}

/// The two lists of a request while they grow.
struct Parts {
    readable: Segments,
    writable: Segments,
    flaw: Option<Flaw>,
    /// The chain's last descriptor can be written: an answer has a place to go.
    tail_is_writable: bool,
}

impl Parts {
    fn new(map: &MemoryMap) -> Self {
        Parts {
            readable: Segments::new(Arc::clone(map)),
            writable: Segments::new(Arc::clone(map)),
            flaw: None,
            tail_is_writable: false,
        }
    }

    fn add(&mut self, descriptor: Descriptor) {
        let writable = descriptor.has(WRITE);
        if !writable && !self.writable.is_empty() {
            self.note(Flaw::Misordered);
        }
        let list = if writable { &mut self.writable } else { &mut self.readable };
        let added = list.push(Segment { addr: descriptor.addr, len: descriptor.len });
        if added.is_err() {
            self.note(Flaw::OutsideMemory { addr: descriptor.addr, len: descriptor.len });
        }
        if self.readable.len() + self.writable.len() > u64::from(u32::MAX) {
            self.note(Flaw::TooLong);
        }
        self.tail_is_writable = writable && added.is_ok() && descriptor.len > 0;
    }

    /// Keeps the first flaw: it is the one that explains the others.
    fn note(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }

    fn into_request(self, token: Token) -> Request {
        let Parts { readable, writable, flaw, tail_is_writable } = self;
        let writable = match flaw {
            Some(_) if !tail_is_writable => writable.split_at(0).0,
            _ => writable,
        };
        Request { readable, writable, flaw, resubmitted: false, token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestMemoryMmap;

    const TABLE: u64 = 0x1000;
    const INDIRECT_TABLE: u64 = 0x3000;
    const RAM: usize = 0x10000;

    fn ram() -> MemoryMap {
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap())
    }

    fn put(map: &MemoryMap, table: u64, index: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let at = GuestAddress(table + index * Descriptor::BYTES);
        map.write_obj(Descriptor { addr, len, flags, next }, at).unwrap();
    }

    fn collected(map: &MemoryMap) -> Result<(u64, u64, Option<Flaw>), ChainError> {
        collect(map, TABLE, 8, 0).map(|request| {
            request.token.abandon();
            (request.readable.len(), request.writable.len(), request.flaw)
        })
    }

    #[test]
    fn readable_then_writable() {
        let map = ram();
        put(&map, TABLE, 0, 0x8000, 16, NEXT, 5);
        put(&map, TABLE, 5, 0x9000, 512, NEXT, 2);
        put(&map, TABLE, 2, 0xA000, 1, WRITE, 0);
        assert_eq!(collected(&map), Ok((528, 1, None)));
    }

    #[test]
    fn an_indirect_table_is_followed_once() {
        let map = ram();
        put(&map, TABLE, 0, INDIRECT_TABLE, 48, INDIRECT, 0);
        put(&map, INDIRECT_TABLE, 0, 0x8000, 16, NEXT, 2);
        put(&map, INDIRECT_TABLE, 2, 0xA000, 1, WRITE, 0);
        assert_eq!(collected(&map), Ok((16, 1, None)));
        put(&map, INDIRECT_TABLE, 2, 0x4000, 16, INDIRECT, 0);
        assert_eq!(collected(&map), Err(ChainError::IndirectMisplaced));
        put(&map, INDIRECT_TABLE, 2, 0xA000, 1, WRITE | NEXT, 3);
        assert_eq!(collected(&map), Err(ChainError::IndexOutOfRange { index: 3, size: 3 }));
    }

    #[test]
    fn bad_indirect_tables_break_the_ring() {
        let map = ram();
        for len in [0, 15, 17, u32::MAX] {
            put(&map, TABLE, 0, INDIRECT_TABLE, len, INDIRECT, 0);
            assert_eq!(collected(&map), Err(ChainError::IndirectLength(len)));
        }
        put(&map, TABLE, 0, u64::MAX - 7, 32, INDIRECT, 0);
        assert_eq!(collected(&map), Err(ChainError::Unreadable(u64::MAX - 7)));
        put(&map, TABLE, 0, INDIRECT_TABLE, 16, INDIRECT | NEXT, 1);
        assert_eq!(collected(&map), Err(ChainError::IndirectMisplaced));
    }

    #[test]
    fn loops_and_wild_indices_break_the_ring() {
        let map = ram();
        put(&map, TABLE, 0, 0x8000, 16, NEXT, 0);
        assert_eq!(collected(&map), Err(ChainError::Loop));
        put(&map, TABLE, 0, 0x8000, 16, NEXT, 8);
        assert_eq!(collected(&map), Err(ChainError::IndexOutOfRange { index: 8, size: 8 }));
    }

    #[test]
    fn flaws_keep_the_answer_possible_where_the_tail_is_good() {
        let map = ram();
        put(&map, TABLE, 0, RAM as u64, 16, NEXT, 1);
        put(&map, TABLE, 1, 0xA000, 1, WRITE, 0);
        let outside = Some(Flaw::OutsideMemory { addr: RAM as u64, len: 16 });
        assert_eq!(collected(&map), Ok((0, 1, outside)));

        put(&map, TABLE, 0, 0xA000, 1, WRITE | NEXT, 1);
        put(&map, TABLE, 1, 0x8000, 16, 0, 0);
        assert_eq!(collected(&map), Ok((16, 0, Some(Flaw::Misordered))));
    }
}
