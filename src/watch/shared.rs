//! A mapping of the shared file, as references to its parts. `plugin/` is built from this file too.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use super::layout::{
    BYTES, CPUS, Entry, Header, MAP_AT, PAGES, SLOTS, SLOTS_AT, STACKS, STACKS_AT, STORES,
    STORES_AT, Slot, Stack,
};

/// A mapping of all of the shared file.
#[derive(Debug)]
pub struct Shared {
    base: NonNull<u8>,
}

// SAFETY: all that can be reached through it is made of atomic words.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The parts of a mapping that begins at `base`.
    ///
    /// # Safety
    /// [`BYTES`] bytes are mapped there, to be read and written, for as long as this lives, and are touched
    /// by nobody of this process in another way.
    pub unsafe fn over(base: NonNull<u8>) -> Shared {
        Shared { base }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        // SAFETY: the file begins with it, at the begin of a page.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// The place of a page in the map: one more than the number of its slot, 0 where it is not armed.
    #[inline]
    pub fn page(&self, page: u64) -> Option<&AtomicU32> {
        let page = usize::try_from(page).ok()?;
        // SAFETY: there are so many from there on.
        (page < PAGES).then(|| unsafe { self.item(MAP_AT, page) })
    }

    /// An armed page's log.
    pub fn slot(&self, number: usize) -> Option<&Slot> {
        // SAFETY: there are so many from there on.
        (number < SLOTS).then(|| unsafe { self.item(SLOTS_AT, number) })
    }

    /// The place of a CPU's store of this number, whichever is there now.
    pub fn store(&self, cpu: usize, number: u64) -> Option<&Entry> {
        let at = usize::try_from(number % STORES as u64).ok()?;
        // SAFETY: there are so many from there on.
        (cpu < CPUS).then(|| unsafe { self.item(STORES_AT, cpu * STORES + at) })
    }

    /// The place of a CPU's stack of this name, whichever is there now.
    pub fn stack(&self, cpu: usize, name: u64) -> Option<&Stack> {
        let at = usize::try_from(Stack::place(name)).ok().filter(|at| *at < STACKS)?;
        // SAFETY: there are so many from there on.
        (cpu < CPUS).then(|| unsafe { self.item(STACKS_AT, cpu * STACKS + at) })
    }

    /// Item number `index` of a table.
    ///
    /// # Safety
    /// The table begins at byte `at`, consists of `T`s, which are made of atomic words, and has that many.
    unsafe fn item<T>(&self, at: usize, index: usize) -> &T {
        const { assert!(BYTES < isize::MAX as usize) };
        // SAFETY: inside of the mapping, by the caller's word; every table begins at a multiple of a page.
        unsafe { self.base.byte_add(at).cast::<T>().add(index).as_ref() }
    }
}
