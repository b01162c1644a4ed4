//! VPCLMULQDQ on 256-bit registers, for CPUs without AVX-512.

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
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
}

/// The guard of `len` bytes at `from`.
///
/// # Safety
/// [`is_available`], and as for [`guard_of`].
#[target_feature(enable = "avx2,vpclmulqdq,pclmulqdq")]
pub(super) unsafe fn one<S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { guard_of::<Ymm, S>(from, len, sink) }
}

/// The guards of blocks in a row; whether a sink that compares has found a difference.
///
/// # Safety
/// [`is_available`], and as for [`guards_of`].
#[target_feature(enable = "avx2,vpclmulqdq,pclmulqdq")]
pub(super) unsafe fn many<S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { guards_of::<Ymm, S>(from, block, guards, sink) }
}

static CONSTANTS: Constants<4> = Constants::new();

#[derive(Clone, Copy)]
struct Ymm(__m256i);

// SAFETY: `load` is one instruction that the compiler can neither repeat nor split.
unsafe impl Lanes for Ymm {
    const BYTES: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load<const I: usize>(from: *const u8) -> Self {
        let vector;
        // SAFETY: the caller vouches for 32 readable bytes there.
        unsafe {
            asm!(
                "vmovdqu {vector}, [{from} + {at}]",
                vector = lateout(ymm_reg) vector,
                from = in(reg) from,
                at = const I * 32,
                options(nostack, preserves_flags, readonly),
            );
        }
        Ymm(vector)
    }

    #[inline]
    #[target_feature(enable = "sse")]
    unsafe fn prefetch(from: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for the room.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for room and alignment.
        unsafe { _mm256_stream_si256(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        Ymm(_mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn stride_factors() -> Self {
        // SAFETY: four words.
        Ymm(unsafe { _mm256_loadu_si256(CONSTANTS.fold().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn last_factors<const I: usize>() -> Self {
        // SAFETY: four words.
        Ymm(unsafe { _mm256_loadu_si256(CONSTANTS.last::<I>().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn multiply(self, factors: Self) -> Self {
        let low = _mm256_clmulepi64_epi128::<0x00>(self.0, factors.0);
        let high = _mm256_clmulepi64_epi128::<0x11>(self.0, factors.0);
        Ymm(_mm256_xor_si256(low, high))
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn fold(self, factors: Self, other: Self) -> Self {
        // SAFETY: the same instructions.
        unsafe { self.multiply(factors).add(other) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add(self, other: Self) -> Self {
        Ymm(_mm256_xor_si256(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn zero() -> Self {
        Ymm(_mm256_setzero_si256())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add_difference(self, one: Self, other: Self) -> Self {
        Ymm(_mm256_or_si256(self.0, _mm256_xor_si256(one.0, other.0)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn is_zero(self) -> bool {
        _mm256_testz_si256(self.0, self.0) == 1
    }

    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    unsafe fn reduce(self) -> u16 {
        let low = _mm256_castsi256_si128(self.0);
        barrett(_mm_xor_si128(low, _mm256_extracti128_si256::<1>(self.0)))
    }
}
