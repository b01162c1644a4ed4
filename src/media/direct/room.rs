//! Buffers that a device can reach: they begin where a page does.
//!
//! Their memory is used again, as that of [`crate::memory::Buffer`] is: each thread keeps what was
//! dropped on it, up to a bound.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Where direct I/O may begin in memory: no device asks for more than a page.
const ALIGN: usize = 4096;
/// The bytes that a thread keeps for later.
const MAX_KEPT_BYTES: usize = 8 << 20;

thread_local! {
    static KEPT: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// Memory of our own, aligned to a page, every byte of it initialised.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a `Memory` owns its bytes as a `Vec` does, and nothing refers to them but through it.
unsafe impl Send for Memory {}
// SAFETY: as above; shared, it can only be read.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(layout: Layout) -> Memory {
        // SAFETY: no layout here has a size of 0.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Memory { start, layout }
    }

    /// What was kept of this size, or new memory.
    fn of(layout: Layout) -> Memory {
        let kept = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let at = kept.iter().position(|memory| memory.layout == layout)?;
            Some(kept.swap_remove(at))
        });
        kept.ok().flatten().unwrap_or_else(|| Memory::new(layout))
    }

    /// Keeps it, unless enough is kept; the oldest of other sizes make room.
    fn keep(self) {
        // Where the thread is ending, it is simply freed.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            kept.push(self);
            let mut bytes: usize = kept.iter().map(|memory| memory.layout.size()).sum();
            while bytes > MAX_KEPT_BYTES && !kept.is_empty() {
                bytes -= kept.swap_remove(0).layout.size();
            }
        });
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// A buffer. What is in it at first is of no meaning: zeros, or what an earlier one left.
pub struct Room {
    /// There until the drop.
    memory: Option<Memory>,
    len: usize,
}

impl Room {
    /// Room for `len` bytes.
    pub fn new(len: usize) -> Room {
        let size = len.max(ALIGN).checked_next_power_of_two().unwrap_or(len);
        // Only a size near the end of the address space has no layout.
        let layout = Layout::from_size_align(size, ALIGN).unwrap_or(Layout::new::<[u8; ALIGN]>());
        Room { len: len.min(layout.size()), memory: Some(Memory::of(layout)) }
    }

    /// Room with a copy of `bytes`.
    pub fn with(bytes: &[u8]) -> Room {
        let mut room = Room::new(bytes.len());
        room.copy_from_slice(bytes);
        room
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(memory) = &self.memory else { return &[] };
        // SAFETY: `len` initialised bytes of ours, for as long as this is borrowed.
        unsafe { std::slice::from_raw_parts(memory.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Some(memory) = &self.memory else { return &mut [] };
        // SAFETY: as above, and borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(memory.start.as_ptr(), self.len) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            memory.keep();
        }
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("len", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_begins_with_a_page_and_has_its_length() {
        for len in [0, 1, 512, 4096, 4097, 1 << 20] {
            let mut room = Room::new(len);
            assert_eq!((room.len(), room.as_ptr().addr() % ALIGN), (len, 0));
            room.fill(7);
            assert_eq!(*Room::with(&room), *room);
        }
    }

    #[test]
    fn memory_is_used_again_and_what_is_kept_is_bounded() {
        let first = Room::new(6000);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Room::new(8000).as_ptr(), place);
        drop((0..40).map(|_| Room::new(1 << 20)).collect::<Vec<_>>());
        let kept: usize =
            KEPT.with(|kept| kept.borrow().iter().map(|memory| memory.layout.size()).sum());
        assert!(kept > 0 && kept <= MAX_KEPT_BYTES);
    }
}
