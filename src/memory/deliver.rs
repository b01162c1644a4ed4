//! Blocks put into guest memory, with the guards of what was put there, in one pass.

use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::pool::Buffer;
use super::segments::{MemoryError, Segments};
use crate::pi::{GuardTag, Store, copy_guards_from, deliver_guards};

/// Copies consecutive blocks of `block` bytes from `source` into guest memory, beginning at byte
/// `offset` of the list; `guards` has room for as many, and gets the guards of the bytes that were
/// copied: each byte of the source is read once.
///
/// # Safety
/// `source` is readable for that many blocks until this returns, and is no guest memory. Others
/// may write there, within this process by atomic or volatile accesses only.
pub unsafe fn deliver(
    list: &Segments,
    offset: u64,
    source: *const u8,
    block: usize,
    guards: &mut [GuardTag],
) -> Result<(), MemoryError> {
    let (mut at, mut source, mut rest) = (offset, source, guards);
    while !rest.is_empty() {
        let (addr, room) = list.piece_at(at).ok_or_else(|| list.past_end(at, block))?;
        let whole = room.checked_div(block).unwrap_or(0).clamp(1, rest.len());
        let (now, later) = rest.split_at_mut(whole);
        let bytes = whole.saturating_mul(block);
        let direct = room >= bytes && {
            // SAFETY: the caller's promise, for a part of the blocks.
            unsafe { deliver_at(list, addr, source, bytes, now) }
        };
        if !direct {
            // SAFETY: as above.
            unsafe { deliver_by_way_of_a_buffer(list, at, source, bytes, now)? };
        }
        (at, source) = (at.saturating_add(bytes as u64), source.wrapping_add(bytes));
        rest = later;
    }
    list.require_there()
}

/// [`deliver`] without guards.
///
/// # Safety
/// As there, for `len` bytes.
pub unsafe fn put(
    list: &Segments,
    offset: u64,
    source: *const u8,
    len: usize,
) -> Result<(), MemoryError> {
    let (mut at, mut source, mut left) = (offset, source, len);
    while left > 0 {
        let (addr, room) = list.piece_at(at).ok_or_else(|| list.past_end(at, left))?;
        let bytes = room.min(left);
        for slice in list.map.get_slices(GuestAddress(addr), bytes) {
            let slice = slice.map_err(|_| MemoryError::Unmapped { addr, len: bytes })?;
            // SAFETY: the caller's promise, for a part of the bytes; it is only read.
            let from = unsafe { VolatileSlice::new(source.cast_mut(), slice.len()) };
            from.copy_to_volatile_slice(slice);
            source = source.wrapping_add(slice.len());
        }
        at = at.saturating_add(bytes as u64);
        left -= bytes;
    }
    list.require_there()
}

/// In one pass, where all of it is in one piece of this process's memory.
///
/// # Safety
/// As for [`deliver`], with `len` bytes.
unsafe fn deliver_at(
    list: &Segments,
    addr: u64,
    source: *const u8,
    len: usize,
    guards: &mut [GuardTag],
) -> bool {
    let Ok(slice) = list.map.get_slice(GuestAddress(addr), len) else { return false };
    let to = slice.ptr_guard_mut();
    // SAFETY: `slice` says that `len` bytes there are mapped, and stay so while the list holds its
    // map. The guest touches it from outside; in this process nobody does but through vm-memory,
    // by atomic or volatile accesses. The source is the caller's promise.
    unsafe { deliver_guards(to.as_ptr(), source, len, guards) }
}

/// A block in parts, or a CPU that would have to read twice.
///
/// # Safety
/// As for [`deliver`], with `len` bytes.
unsafe fn deliver_by_way_of_a_buffer(
    list: &Segments,
    offset: u64,
    source: *const u8,
    len: usize,
    guards: &mut [GuardTag],
) -> Result<(), MemoryError> {
    let mut buffer = Buffer::new(len);
    // SAFETY: the caller's promise; the buffer is our own.
    unsafe { copy_guards_from(Store::Cached, &mut buffer, source, guards) };
    list.copy_in(offset, &buffer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::{MemoryMap, Segment};
    use crate::pi::guard;
    use proptest::prelude::*;
    use vm_memory::GuestMemoryMmap;

    /// Two regions that touch in the middle of what the lists below use.
    fn ram() -> MemoryMap {
        let ranges = [(GuestAddress(0), 0xB000), (GuestAddress(0xB000), 0x10_0000)];
        Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_delivered_is_what_was_there_and_so_are_its_guards(
            cuts in proptest::collection::vec(1u32..6000, 0..9),
            skipped in 0u32..3,
            blocks in 0u32..80,
            shift in 0usize..70,
            large in any::<bool>(),
        ) {
            let (map, block) = (ram(), if large { 4096u32 } else { 512 });
            let total = (skipped + blocks) * block;
            let (mut list, mut addr, mut left) = (Segments::new(Arc::clone(&map)), 3, total);
            for cut in cuts.into_iter().chain([total]) {
                let len = cut.min(left);
                list.push(Segment { addr, len }).unwrap();
                addr += u64::from(len) + 5;
                left -= len;
            }
            list.copy_in(0, &vec![0xEE; total as usize]).unwrap();
            let source: Vec<u8> = (0..(blocks * block) as usize + 70).map(|i| ((i * 31) >> 3) as u8).collect();
            let wanted = &source[shift..shift + (blocks * block) as usize];
            let mut guards = vec![GuardTag(0xAAAA); blocks as usize];
            let offset = u64::from(skipped * block);
            // SAFETY: the source is as long as that, and nobody writes to it.
            unsafe { deliver(&list, offset, wanted.as_ptr(), block as usize, &mut guards).unwrap() };
            let expected: Vec<GuardTag> = wanted.chunks_exact(block as usize).map(guard).collect();
            prop_assert_eq!(guards, expected);
            let mut out = vec![0; total as usize];
            list.copy_out(&mut out).unwrap();
            let (before, after) = out.split_at(offset as usize);
            prop_assert!(before.iter().all(|byte| *byte == 0xEE));
            prop_assert_eq!(after, wanted);
            list.copy_in(0, &vec![0xEE; total as usize]).unwrap();
            // SAFETY: as above.
            unsafe { put(&list, offset, wanted.as_ptr(), wanted.len()).unwrap() };
            list.copy_out(&mut out).unwrap();
            prop_assert!(out[..offset as usize].iter().all(|byte| *byte == 0xEE));
            prop_assert_eq!(&out[offset as usize..], wanted);
        }
    }

    #[test]
    fn nothing_is_put_past_the_end() {
        let mut list = Segments::new(ram());
        list.push(Segment { addr: 0, len: 600 }).unwrap();
        let source = [1; 1024];
        // SAFETY: the source is as long as that, and nobody writes to it.
        unsafe {
            assert!(deliver(&list, 0, source.as_ptr(), 512, &mut [GuardTag(0); 2]).is_err());
            assert!(put(&list, 0, source.as_ptr(), 601).is_err());
            assert!(put(&list, 0, source.as_ptr(), 600).is_ok());
        }
    }
}
