//! Where the bytes go that a backend has loaded.

use super::lanes::Lanes;

/// Takes every loaded vector, before anything is computed from it.
pub(super) trait Sink: Copy {
    /// The bytes come from memory that is in no cache, and may be taken in any order.
    const APART: bool = false;

    /// Takes vector number `I` from here. A sink that compares adds what is different to `changes`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; the sink has room for the vector, and for
    /// [`Streaming`] that room is aligned to the vector's size.
    unsafe fn put<V: Lanes, const I: usize>(self, vector: V, changes: &mut V);

    /// Takes bytes that make no whole vector; answers whether a sink that compares finds others.
    ///
    /// # Safety
    /// The sink has room for them.
    unsafe fn put_bytes(self, bytes: &[u8]) -> bool;

    /// The same sink, `bytes` further on.
    fn after(self, bytes: usize) -> Self;
}

/// Nothing is kept: guard only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Discard;

impl Sink for Discard {
    #[inline(always)]
    unsafe fn put<V: Lanes, const I: usize>(self, _: V, _: &mut V) {}

    #[inline(always)]
    unsafe fn put_bytes(self, _: &[u8]) -> bool {
        false
    }

    #[inline(always)]
    fn after(self, _: usize) -> Self {
        self
    }
}

/// Ordinary stores to this address on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached(pub(super) *mut u8);

impl Sink for Cached {
    #[inline(always)]
    unsafe fn put<V: Lanes, const I: usize>(self, vector: V, _: &mut V) {
        // SAFETY: the caller's promise, passed on.
        unsafe { vector.store(self.0.add(I * V::BYTES)) }
    }

    #[inline(always)]
    unsafe fn put_bytes(self, bytes: &[u8]) -> bool {
        // SAFETY: there is room, and `bytes` is a borrow of the backend's own that no destination
        // overlaps.
        unsafe { self.0.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
        false
    }

    #[inline(always)]
    fn after(self, bytes: usize) -> Self {
        Cached(self.0.wrapping_add(bytes))
    }
}

/// Ordinary stores of what is in no cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered(pub(super) *mut u8);

impl Sink for Delivered {
    const APART: bool = true;

    #[inline(always)]
    unsafe fn put<V: Lanes, const I: usize>(self, vector: V, changes: &mut V) {
        // SAFETY: the caller's promise, passed on.
        unsafe { Cached(self.0).put::<V, I>(vector, changes) }
    }

    #[inline(always)]
    unsafe fn put_bytes(self, bytes: &[u8]) -> bool {
        // SAFETY: the caller's promise, passed on.
        unsafe { Cached(self.0).put_bytes(bytes) }
    }

    #[inline(always)]
    fn after(self, bytes: usize) -> Self {
        Delivered(self.0.wrapping_add(bytes))
    }
}

/// Non-temporal stores: past the caches. A store fence has to follow before anyone else reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streaming(pub(super) *mut u8);

impl Sink for Streaming {
    #[inline(always)]
    unsafe fn put<V: Lanes, const I: usize>(self, vector: V, _: &mut V) {
        // SAFETY: the caller's promise, passed on.
        unsafe { vector.stream(self.0.add(I * V::BYTES)) }
    }

    #[inline(always)]
    unsafe fn put_bytes(self, bytes: &[u8]) -> bool {
        // SAFETY: the caller's promise, passed on.
        unsafe { Cached(self.0).put_bytes(bytes) }
    }

    #[inline(always)]
    fn after(self, bytes: usize) -> Self {
        Streaming(self.0.wrapping_add(bytes))
    }
}

/// Ordinary stores, and a comparison with what was there earlier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    /// Where the bytes go.
    pub(super) to: *mut u8,
    /// What they are compared with: as many bytes, that nobody writes.
    pub(super) earlier: *const u8,
}

impl Sink for Compared {
    #[inline(always)]
    unsafe fn put<V: Lanes, const I: usize>(self, vector: V, changes: &mut V) {
        // SAFETY: the caller's promise, passed on; `earlier` is as long.
        unsafe {
            vector.store(self.to.add(I * V::BYTES));
            *changes = changes.add_difference(vector, V::load::<I>(self.earlier));
        }
    }

    #[inline(always)]
    unsafe fn put_bytes(self, bytes: &[u8]) -> bool {
        // SAFETY: the caller's promise, passed on; `earlier` is as long.
        unsafe {
            Cached(self.to).put_bytes(bytes);
            bytes != std::slice::from_raw_parts(self.earlier, bytes.len())
        }
    }

    #[inline(always)]
    fn after(self, bytes: usize) -> Self {
        Compared { to: self.to.wrapping_add(bytes), earlier: self.earlier.wrapping_add(bytes) }
    }
}
