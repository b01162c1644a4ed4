//! A scatter list of guest memory.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::loss::is_lost;
use super::map::MemoryMap;
use super::pool::List;
use super::sigbus::any_guest_lost;

/// The page size that `overlap` is about: the smallest one of the architectures that QEMU runs.
const GUEST_PAGE: u64 = 4096;

/// A piece of guest-physical memory. Not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The guest-physical address of the first byte.
    pub addr: u64,
    /// How many bytes.
    pub len: u32,
}

impl Segment {
    /// The address behind the last byte. Cannot overflow for a segment that lies inside memory.
    fn end(self) -> u64 {
        self.addr.saturating_add(u64::from(self.len))
    }
}

/// Why guest memory could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The range is not all inside the guest's memory.
    #[error("guest memory {addr:#x}+{len} is not mapped: is the guest's RAM shared (share=on)?")]
    Unmapped {
        /// The first address.
        addr: u64,
        /// The number of bytes.
        len: usize,
    },
    /// The front end took memory away that was being used.
    #[error("guest memory {addr:#x}+{len} is gone: the front end made its file shorter")]
    Lost {
        /// The first address.
        addr: u64,
        /// The number of bytes.
        len: u32,
    },
    /// More bytes were asked for than the list has.
    #[error("{wanted} bytes at offset {offset} are past the end of a list of {len}")]
    PastEnd {
        /// The offset in the list.
        offset: u64,
        /// The number of bytes asked for.
        wanted: usize,
        /// The list's length in bytes.
        len: u64,
    },
}

/// Checked pieces of guest memory, in the order in which their bytes count.
#[derive(Debug, Clone)]
pub struct Segments {
    pub(super) map: MemoryMap,
    pub(super) list: List<Segment>,
    len: u64,
}

impl Segments {
    /// An empty list over `map`.
    pub fn new(map: MemoryMap) -> Self {
        Segments { map, list: List::new(), len: 0 }
    }

    /// An empty list over the same memory.
    pub fn empty_like(&self) -> Self {
        Segments::new(Arc::clone(&self.map))
    }

    /// Adds a piece at the end, if all of it is guest memory. An empty piece adds nothing.
    pub fn push(&mut self, segment: Segment) -> Result<(), MemoryError> {
        if segment.len == 0 {
            return Ok(());
        }
        let unmapped = || MemoryError::Unmapped { addr: segment.addr, len: segment.len as usize };
        if segment.addr.checked_add(u64::from(segment.len)).is_none()
            || !self.map.check_range(GuestAddress(segment.addr), segment.len as usize)
        {
            return Err(unmapped());
        }
        self.len += u64::from(segment.len);
        self.list.push(segment);
        Ok(())
    }

    /// The memory that it is of.
    pub fn memory(&self) -> &MemoryMap {
        &self.map
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes the list itself takes.
    pub fn list_bytes(&self) -> u64 {
        (self.list.len() as u64).saturating_mul(size_of::<Segment>() as u64)
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts the list in two at a byte offset; an offset past the end leaves the second part empty.
    pub fn split_at(self, offset: u64) -> (Segments, Segments) {
        let mut head = Segments::new(Arc::clone(&self.map));
        let mut tail = Segments::new(self.map);
        let mut at = 0;
        for segment in self.list.iter() {
            let len = u64::from(segment.len);
            let in_head = offset.saturating_sub(at).min(len);
            // `in_head` is at most the segment's own u32 length.
            let cut = u32::try_from(in_head).unwrap_or(segment.len);
            head.append_checked(Segment { addr: segment.addr, len: cut });
            tail.append_checked(Segment {
                addr: segment.addr.saturating_add(in_head),
                len: segment.len - cut,
            });
            at += len;
        }
        (head, tail)
    }

    /// Adds a part of a segment that was checked when it was whole.
    fn append_checked(&mut self, part: Segment) {
        if part.len > 0 {
            self.len += u64::from(part.len);
            self.list.push(part);
        }
    }

    /// Copies all bytes out, each of them once.
    ///
    /// `into` has to be exactly as long as the list.
    pub fn copy_out(&self, into: &mut [u8]) -> Result<(), MemoryError> {
        if into.len() as u64 != self.len {
            return Err(self.past_end(0, into.len()));
        }
        let mut rest = into;
        for segment in self.list.iter() {
            let (part, next) = rest.split_at_mut(segment.len as usize);
            self.read(*segment, part)?;
            rest = next;
        }
        self.require_there()
    }

    /// After a copy: refuses it where a page was gone, so that no empty page is taken for the guest's.
    pub(super) fn require_there(&self) -> Result<(), MemoryError> {
        if !any_guest_lost() {
            return Ok(());
        }
        let is_gone = |segment: &&Segment| is_lost(&self.map, segment.addr, segment.len.into());
        self.list.iter().find(is_gone).map_or(Ok(()), |Segment { addr, len }| {
            Err(MemoryError::Lost { addr: *addr, len: *len })
        })
    }

    /// Copies `from` into guest memory, beginning at byte `offset` of the list.
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), MemoryError> {
        let wanted = from.len();
        let mut rest = from;
        let mut at = 0u64;
        for segment in self.list.iter() {
            let len = u64::from(segment.len);
            let skip = offset.saturating_sub(at).min(len);
            at += len;
            // Both fit: they are at most the segment's own u32 length.
            let room = usize::try_from(len - skip).unwrap_or(usize::MAX).min(rest.len());
            let (part, next) = rest.split_at(room);
            self.write(segment.addr.saturating_add(skip), part)?;
            rest = next;
        }
        self.require_there()?;
        if rest.is_empty() { Ok(()) } else { Err(self.past_end(offset, wanted)) }
    }

    /// The pieces of guest memory that `len` bytes from `offset` on lie in: guest-physical address and length.
    pub fn pieces(&self, offset: u64, len: u64) -> Vec<(u64, u32)> {
        let (mut at, end) = (0_u64, offset.saturating_add(len));
        let mut pieces = Vec::new();
        for segment in self.list.iter() {
            let next = at.saturating_add(segment.len.into());
            let (from, to) = (at.max(offset), next.min(end));
            if let Ok(len) = u32::try_from(to.saturating_sub(from))
                && len > 0
            {
                pieces.push((segment.addr.saturating_add(from - at), len));
            }
            at = next;
        }
        pieces
    }

    /// The guest-physical address of the byte at `offset`, if there is one.
    pub fn address_at(&self, offset: u64) -> Option<u64> {
        let mut at = 0u64;
        for segment in self.list.iter() {
            let len = u64::from(segment.len);
            if offset < at + len {
                return Some(segment.addr + (offset - at));
            }
            at += len;
        }
        None
    }

    /// The guest-physical address of the byte at `offset`, and how many bytes of its piece follow.
    pub(super) fn piece_at(&self, offset: u64) -> Option<(u64, usize)> {
        let mut at = 0u64;
        for segment in self.list.iter() {
            let len = u64::from(segment.len);
            if offset < at.saturating_add(len) {
                let skip = offset - at;
                let room = usize::try_from(len - skip).unwrap_or(usize::MAX);
                return Some((segment.addr.saturating_add(skip), room));
            }
            at = at.saturating_add(len);
        }
        None
    }

    /// Whether a guest page stands in the list more than once.
    ///
    /// Pieces that follow each other without a gap count as one, so cutting a buffer into more
    /// descriptors does not change the answer.
    pub fn has_repeated_page(&self) -> bool {
        let mut spans = self.page_spans();
        spans.sort_unstable();
        spans.windows(2).any(|pair| matches!(pair, [a, b] if a.1 >= b.0))
    }

    /// First and last page of every run of pieces that are contiguous in memory.
    fn page_spans(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::with_capacity(self.list.len());
        for segment in self.list.iter() {
            match runs.last_mut() {
                Some(run) if run.1 == segment.addr => run.1 = segment.end(),
                _ => runs.push((segment.addr, segment.end())),
            }
        }
        runs.iter().map(|(start, end)| (start / GUEST_PAGE, (end - 1) / GUEST_PAGE)).collect()
    }

    pub(super) fn read(&self, segment: Segment, into: &mut [u8]) -> Result<(), MemoryError> {
        self.map
            .read_slice(into, GuestAddress(segment.addr))
            .map_err(|_| MemoryError::Unmapped { addr: segment.addr, len: segment.len as usize })
    }

    fn write(&self, addr: u64, from: &[u8]) -> Result<(), MemoryError> {
        if from.is_empty() {
            return Ok(());
        }
        self.map
            .write_slice(from, GuestAddress(addr))
            .map_err(|_| MemoryError::Unmapped { addr, len: from.len() })
    }

    pub(super) fn past_end(&self, offset: u64, wanted: usize) -> MemoryError {
        MemoryError::PastEnd { offset, wanted, len: self.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::GuestMemoryMmap;

    const RAM: u64 = 0x1_0000;

    fn ram() -> MemoryMap {
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap())
    }

    fn list(map: &MemoryMap, pieces: &[(u64, u32)]) -> Segments {
        let mut segments = Segments::new(Arc::clone(map));
        for (addr, len) in pieces {
            segments.push(Segment { addr: *addr, len: *len }).unwrap();
        }
        segments
    }

    #[test]
    fn outside_memory_is_refused() {
        let mut segments = Segments::new(ram());
        for (addr, len) in [(RAM, 1), (RAM - 1, 2), (u64::MAX, 1), (u64::MAX - 3, 8)] {
            assert!(segments.push(Segment { addr, len }).is_err(), "{addr:#x}+{len}");
        }
        assert!(segments.is_empty());
    }

    #[test]
    fn a_list_spans_regions_that_touch() {
        let map: MemoryMap = Arc::new(
            GuestMemoryMmap::from_ranges(&[
                (GuestAddress(0), 0x1000),
                (GuestAddress(0x1000), 0x1000),
            ])
            .unwrap(),
        );
        let segments = list(&map, &[(0xF00, 0x200)]);
        segments.copy_in(0, &[7; 0x200]).unwrap();
        let mut out = [0; 0x200];
        segments.copy_out(&mut out).unwrap();
        assert_eq!(out, [7; 0x200]);
    }

    #[test]
    fn too_many_bytes_are_an_error() {
        let map = ram();
        let segments = list(&map, &[(0, 4), (8, 4)]);
        assert!(segments.copy_in(5, &[0; 4]).is_err());
        assert!(segments.copy_out(&mut [0; 9]).is_err());
        assert!(segments.copy_in(5, &[0; 3]).is_ok());
    }

    #[test]
    fn addresses_follow_the_pieces() {
        let map = ram();
        let segments = list(&map, &[(0x100, 4), (0x200, 4)]);
        assert_eq!(segments.address_at(3), Some(0x103));
        assert_eq!(segments.address_at(4), Some(0x200));
        assert_eq!(segments.address_at(8), None);
    }

    #[test]
    fn a_page_twice_is_seen_and_a_page_in_parts_is_not() {
        let map = ram();
        assert!(!list(&map, &[(0x1000, 512), (0x1200, 512), (0x1400, 3072)]).has_repeated_page());
        assert!(!list(&map, &[(0x2000, 4096), (0x1000, 4096)]).has_repeated_page());
        assert!(list(&map, &[(0x1000, 4096), (0x1000, 4096)]).has_repeated_page());
        assert!(list(&map, &[(0x1000, 512), (0x2000, 512), (0x1800, 512)]).has_repeated_page());
    }

    proptest! {
        #[test]
        fn split_lists_hold_the_same_bytes(lens in proptest::collection::vec(1u32..900, 1..9), cut in 0u64..9000) {
            let map = ram();
            let pieces: Vec<(u64, u32)> = lens.iter().zip(0u64..).map(|(len, i)| (i * 1000, *len)).collect();
            let whole = list(&map, &pieces);
            let data: Vec<u8> = (0..whole.len()).map(|i| (i * 7) as u8).collect();
            whole.copy_in(0, &data).unwrap();
            let (head, tail) = whole.clone().split_at(cut);
            prop_assert_eq!(head.len(), cut.min(whole.len()));
            let mut out = vec![0; data.len()];
            let (first, second) = out.split_at_mut(head.len() as usize);
            head.copy_out(first).unwrap();
            tail.copy_out(second).unwrap();
            prop_assert_eq!(out, data);
        }
    }
}
