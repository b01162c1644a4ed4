//! The CRC backends by name, and the choice between them.

use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use super::aarch64;
use super::fetch::fetch;
use super::lanes::LONGEST_STRIDE;
use super::sink::{Cached, Compared, Delivered, Discard, Sink, Streaming};
use super::table;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sse};
use crate::pi::tuple::GuardTag;

/// How copies are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Ordinary stores: the copy is in the caches, for who reads it next.
    Cached,
    /// Past the caches, for copies that nobody reads soon. Pays from some 64 KiB at a time, because
    /// each run ends with a wait for its stores. Takes effect where the destination is aligned to
    /// 64 bytes and blocks are multiples of 512; elsewhere the same as [`Store::Cached`].
    Streaming,
}

/// A way to compute guards that this CPU can run: values come from [`CrcBackend::available`] and
/// [`CrcBackend::best`] only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CrcBackend(Instructions);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Sse,
    #[cfg(target_arch = "aarch64")]
    Pmull,
    Portable,
}

impl Instructions {
    /// Fastest first.
    const ALL: &[Instructions] = &[
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2,
        #[cfg(target_arch = "x86_64")]
        Instructions::Sse,
        #[cfg(target_arch = "aarch64")]
        Instructions::Pmull,
        Instructions::Portable,
    ];

    fn are_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512::is_available(),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Instructions::Sse => sse::is_available(),
            #[cfg(target_arch = "aarch64")]
            Instructions::Pmull => aarch64::is_available(),
            Instructions::Portable => true,
        }
    }
}

impl CrcBackend {
    /// All that this CPU can run, fastest first; the portable one is always among them.
    pub fn available() -> impl Iterator<Item = CrcBackend> {
        Instructions::ALL.iter().copied().filter(|each| each.are_available()).map(CrcBackend)
    }

    /// The fastest, chosen once.
    #[inline]
    pub fn best() -> CrcBackend {
        static BEST: OnceLock<CrcBackend> = OnceLock::new();
        *BEST.get_or_init(|| {
            CrcBackend::available().next().unwrap_or(CrcBackend(Instructions::Portable))
        })
    }

    /// The instructions that it is made of.
    pub const fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "vpclmulqdq-avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "vpclmulqdq-avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Sse => "pclmulqdq",
            #[cfg(target_arch = "aarch64")]
            Instructions::Pmull => "pmull",
            Instructions::Portable => "portable",
        }
    }

    /// The guard of `data`.
    #[inline]
    pub fn guard(self, data: &[u8]) -> GuardTag {
        // SAFETY: a borrow is readable, and nothing is stored.
        let guard = unsafe { self.one(data.as_ptr(), data.len(), Discard) };
        GuardTag(guard.unwrap_or_else(|| table::guard(data)))
    }

    /// The guards of consecutive blocks: `data` cut into as many equal ones as `guards` has room.
    ///
    /// # Panics
    /// If the cut is not even, or leaves blocks of no bytes.
    #[inline]
    pub fn guards(self, data: &[u8], guards: &mut [GuardTag]) {
        let block = block_bytes(data.len(), guards.len());
        // SAFETY: the blocks are `data`, which is readable, and nothing is stored.
        if unsafe { self.many(data.as_ptr(), block, guards, Discard) }.is_some() {
            return;
        }
        for (guard, block) in guards.iter_mut().zip(data.chunks_exact(block.max(1))) {
            *guard = GuardTag(table::guard(block));
        }
    }

    /// Copies `src` to `dst` and returns the copy's guard, in one pass.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline]
    pub fn copy_guard(self, dst: &mut [u8], src: &[u8]) -> GuardTag {
        assert_eq!(dst.len(), src.len(), "copy and source differ in length");
        // SAFETY: a borrow of the same length, which no exclusive borrow overlaps.
        unsafe { self.copy_guard_from(dst, src.as_ptr()) }
    }

    /// [`CrcBackend::copy_guard`] from memory that others may be writing.
    ///
    /// # Safety
    /// As for [`copy_guard_from`](super::copy_guard_from).
    #[inline]
    pub unsafe fn copy_guard_from(self, dst: &mut [u8], src: *const u8) -> GuardTag {
        // SAFETY: the source is the caller's promise, and `dst` has room.
        let guard = unsafe { self.one(src, dst.len(), Cached(dst.as_mut_ptr())) };
        // SAFETY: the caller's promise, passed on. Nothing was read yet.
        GuardTag(guard.unwrap_or_else(|| unsafe { table::copy_guard(dst, src) }))
    }

    /// The same with the guard of each of several consecutive blocks: `dst` cut into as many equal
    /// ones as `guards` has room.
    ///
    /// # Panics
    /// If the cut is not even, or leaves blocks of no bytes.
    ///
    /// # Safety
    /// As for [`copy_guard_from`](super::copy_guard_from).
    #[inline]
    pub unsafe fn copy_guards_from(
        self,
        store: Store,
        dst: &mut [u8],
        src: *const u8,
        guards: &mut [GuardTag],
    ) {
        let block = block_bytes(dst.len(), guards.len());
        let to = dst.as_mut_ptr();
        // SAFETY: the source is the caller's promise, `dst` has room, and is aligned if streamed to.
        let done = unsafe {
            if store.streams(dst, block) {
                let done = self.many(src, block, guards, Streaming(to));
                fence();
                done
            } else {
                self.many(src, block, guards, Cached(to))
            }
        };
        if done.is_none() {
            // SAFETY: the caller's promise, passed on. Nothing was read yet.
            unsafe { fetch(dst, src) };
            self.guards(dst, guards);
        }
    }

    /// [`CrcBackend::copy_guards_from`] with ordinary stores, and a comparison with an `earlier` copy
    /// in the same pass: answers whether any byte has changed.
    ///
    /// # Panics
    /// If the cut is not even, or leaves blocks of no bytes, or `earlier` has another length.
    ///
    /// # Safety
    /// As for [`copy_guard_from`](super::copy_guard_from).
    #[inline]
    pub unsafe fn copy_guards_compared(
        self,
        dst: &mut [u8],
        src: *const u8,
        earlier: &[u8],
        guards: &mut [GuardTag],
    ) -> bool {
        assert_eq!(dst.len(), earlier.len(), "the copies differ in length");
        let block = block_bytes(dst.len(), guards.len());
        let sink = Compared { to: dst.as_mut_ptr(), earlier: earlier.as_ptr() };
        // SAFETY: the source is the caller's promise, `dst` has room, and `earlier` is as long.
        let changed = unsafe { self.many(src, block, guards, sink) };
        changed.unwrap_or_else(|| {
            // SAFETY: the caller's promise, passed on. Nothing was read yet.
            unsafe { fetch(dst, src) };
            self.guards(dst, guards);
            dst != earlier
        })
    }

    /// Copies consecutive blocks to where others may write too, such as a guest's memory, and
    /// computes the guards of what was stored: `len` bytes cut into as many equal blocks as
    /// `guards` has room. `false`, and nothing done, from the portable backend, which would have to
    /// read twice.
    ///
    /// # Panics
    /// If the cut is not even, or leaves blocks of no bytes.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes until the function returns, and they do
    /// not overlap. Neither needs an alignment. Others may write to both, from any process; within
    /// this one by atomic or volatile accesses only.
    #[inline]
    pub unsafe fn deliver_guards(
        self,
        dst: *mut u8,
        src: *const u8,
        len: usize,
        guards: &mut [GuardTag],
    ) -> bool {
        let block = block_bytes(len, guards.len());
        // SAFETY: the caller's promise, passed on.
        unsafe { self.many(src, block, guards, Delivered(dst)) }.is_some()
    }

    /// One guard; none from the portable backend, which does without sinks.
    ///
    /// # Safety
    /// `from` is readable for `len` bytes and `sink` takes as many.
    #[inline]
    unsafe fn one<S: Sink>(self, from: *const u8, len: usize, sink: S) -> Option<u16> {
        // SAFETY: that the CPU has the instructions was seen before the value was made.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => Some(avx512::one(from, len, sink)),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => Some(avx2::one(from, len, sink)),
                #[cfg(target_arch = "x86_64")]
                Instructions::Sse => Some(sse::one(from, len, sink)),
                #[cfg(target_arch = "aarch64")]
                Instructions::Pmull => Some(aarch64::one(from, len, sink)),
                Instructions::Portable => None,
            }
        }
    }

    /// The guards of blocks in a row, and whether a sink that compares has found a difference; none
    /// from the portable backend.
    ///
    /// # Safety
    /// As for [`CrcBackend::one`], with the length of all blocks together.
    #[inline]
    unsafe fn many<S: Sink>(
        self,
        from: *const u8,
        block: usize,
        guards: &mut [GuardTag],
        sink: S,
    ) -> Option<bool> {
        // SAFETY: that the CPU has the instructions was seen before the value was made.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => Some(avx512::many(from, block, guards, sink)),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => Some(avx2::many(from, block, guards, sink)),
                #[cfg(target_arch = "x86_64")]
                Instructions::Sse => Some(sse::many(from, block, guards, sink)),
                #[cfg(target_arch = "aarch64")]
                Instructions::Pmull => Some(aarch64::many(from, block, guards, sink)),
                Instructions::Portable => None,
            }
        }
    }
}

impl fmt::Debug for CrcBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CrcBackend").field(&self.name()).finish()
    }
}

impl Store {
    /// Whether blocks of this size in `dst` are stored past the caches: each begins on the widest
    /// vector's alignment, and has no ragged stride.
    fn streams(self, dst: &[u8], block: usize) -> bool {
        self == Store::Streaming
            && dst.as_ptr().addr().is_multiple_of(64)
            && block.is_multiple_of(LONGEST_STRIDE)
    }
}

/// The size of each of `blocks` equal blocks.
fn block_bytes(bytes: usize, blocks: usize) -> usize {
    let block = bytes.checked_div(blocks).unwrap_or(0);
    assert_eq!(block * blocks, bytes, "the blocks are not of one size");
    assert!(block > 0 || blocks == 0, "blocks of no bytes");
    block
}

/// Streamed stores become visible before any later one.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 CPU has SSE.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
