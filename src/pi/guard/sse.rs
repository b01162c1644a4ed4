//! PCLMULQDQ on 128-bit registers: x86 CPUs since 2010.

use std::arch::asm;
use std::arch::x86_64::*;

use super::fold::{guard_of, guards_of};
use super::lanes::Lanes;
use super::polynomial::Constants;
use super::sink::Sink;
use super::x86::barrett;
use crate::pi::tuple::GuardTag;

/// Whether the CPU can run this backend.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("ssse3")
}

/// The guard of `len` bytes at `from`.
///
/// # Safety
/// [`is_available`], and as for [`guard_of`].
#[target_feature(enable = "ssse3,pclmulqdq")]
pub(super) unsafe fn one<S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { guard_of::<Xmm, S>(from, len, sink) }
}

/// The guards of blocks in a row; whether a sink that compares has found a difference.
///
/// # Safety
/// [`is_available`], and as for [`guards_of`].
#[target_feature(enable = "ssse3,pclmulqdq")]
pub(super) unsafe fn many<S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { guards_of::<Xmm, S>(from, block, guards, sink) }
}

static CONSTANTS: Constants<2> = Constants::new();

#[derive(Clone, Copy)]
struct Xmm(__m128i);

// SAFETY: `load` is one instruction that the compiler can neither repeat nor split.
unsafe impl Lanes for Xmm {
    const BYTES: usize = 16;

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn load<const I: usize>(from: *const u8) -> Self {
        let vector;
        // SAFETY: the caller vouches for 16 readable bytes there.
        unsafe {
            asm!(
                "movdqu {vector}, [{from} + {at}]",
                vector = lateout(xmm_reg) vector,
                from = in(reg) from,
                at = const I * 16,
                options(nostack, preserves_flags, readonly),
            );
        }
        Xmm(vector)
    }

    #[inline]
    #[target_feature(enable = "sse")]
    unsafe fn prefetch(from: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for the room.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for room and alignment.
        unsafe { _mm_stream_si128(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        Xmm(_mm_shuffle_epi8(self.0, order))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn stride_factors() -> Self {
        // SAFETY: two words.
        Xmm(unsafe { _mm_loadu_si128(CONSTANTS.fold().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn last_factors<const I: usize>() -> Self {
        // SAFETY: two words.
        Xmm(unsafe { _mm_loadu_si128(CONSTANTS.last::<I>().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "sse2,pclmulqdq")]
    unsafe fn multiply(self, factors: Self) -> Self {
        let low = _mm_clmulepi64_si128::<0x00>(self.0, factors.0);
        let high = _mm_clmulepi64_si128::<0x11>(self.0, factors.0);
        Xmm(_mm_xor_si128(low, high))
    }

    #[inline]
    #[target_feature(enable = "sse2,pclmulqdq")]
    unsafe fn fold(self, factors: Self, other: Self) -> Self {
        // SAFETY: the same instructions.
        unsafe { self.multiply(factors).add(other) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn add(self, other: Self) -> Self {
        Xmm(_mm_xor_si128(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn zero() -> Self {
        Xmm(_mm_setzero_si128())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn add_difference(self, one: Self, other: Self) -> Self {
        Xmm(_mm_or_si128(self.0, _mm_xor_si128(one.0, other.0)))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn is_zero(self) -> bool {
        _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_setzero_si128())) == 0xFFFF
    }

    #[inline]
    #[target_feature(enable = "sse2,pclmulqdq")]
    unsafe fn reduce(self) -> u16 {
        barrett(self.0)
    }
}
