//! VPCLMULQDQ on 512-bit registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::fold::{guard_of, guards_of};
use super::lanes::Lanes;
use super::polynomial::{Constants, MU, TWICE_P};
use super::sink::Sink;
use super::x86::barrett;
use crate::pi::tuple::GuardTag;

/// Whether the CPU can run this backend.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
}

/// The guard of `len` bytes at `from`.
///
/// # Safety
/// [`is_available`], and as for [`guard_of`].
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq,pclmulqdq")]
pub(super) unsafe fn one<S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { guard_of::<Zmm, S>(from, len, sink) }
}

/// The guards of blocks in a row; whether a sink that compares has found a difference.
///
/// # Safety
/// [`is_available`], and as for [`guards_of`].
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq,pclmulqdq")]
pub(super) unsafe fn many<S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { guards_of::<Zmm, S>(from, block, guards, sink) }
}

static CONSTANTS: Constants<8> = Constants::new();

#[derive(Clone, Copy)]
struct Zmm(__m512i);

// SAFETY: `load` is one instruction that the compiler can neither repeat nor split.
unsafe impl Lanes for Zmm {
    const BYTES: usize = 64;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load<const I: usize>(from: *const u8) -> Self {
        let vector;
        // SAFETY: the caller vouches for 64 readable bytes there.
        unsafe {
            asm!(
                "vmovdqu64 {vector}, [{from} + {at}]",
                vector = lateout(zmm_reg) vector,
                from = in(reg) from,
                at = const I * 64,
                options(nostack, preserves_flags, readonly),
            );
        }
        Zmm(vector)
    }

    #[inline]
    #[target_feature(enable = "sse")]
    unsafe fn prefetch(from: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for the room.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for room and alignment.
        unsafe { _mm512_stream_si512(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        Zmm(_mm512_shuffle_epi8(self.0, _mm512_broadcast_i32x4(order)))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn stride_factors() -> Self {
        // SAFETY: eight words.
        Zmm(unsafe { _mm512_loadu_si512(CONSTANTS.fold().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn last_factors<const I: usize>() -> Self {
        // SAFETY: eight words.
        Zmm(unsafe { _mm512_loadu_si512(CONSTANTS.last::<I>().as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn multiply(self, factors: Self) -> Self {
        let low = _mm512_clmulepi64_epi128::<0x00>(self.0, factors.0);
        let high = _mm512_clmulepi64_epi128::<0x11>(self.0, factors.0);
        Zmm(_mm512_xor_si512(low, high))
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    unsafe fn fold(self, factors: Self, other: Self) -> Self {
        let low = _mm512_clmulepi64_epi128::<0x00>(self.0, factors.0);
        let high = _mm512_clmulepi64_epi128::<0x11>(self.0, factors.0);
        Zmm(_mm512_ternarylogic_epi64::<XOR>(low, high, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add(self, other: Self) -> Self {
        Zmm(_mm512_xor_si512(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn zero() -> Self {
        Zmm(_mm512_setzero_si512())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add_difference(self, one: Self, other: Self) -> Self {
        Zmm(_mm512_ternarylogic_epi64::<OR_XOR>(self.0, one.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn is_zero(self) -> bool {
        _mm512_test_epi64_mask(self.0, self.0) == 0
    }

    #[inline]
    #[target_feature(enable = "avx512f,pclmulqdq")]
    unsafe fn reduce(self) -> u16 {
        let half = _mm256_xor_si256(
            _mm512_castsi512_si256(self.0),
            _mm512_extracti64x4_epi64::<1>(self.0),
        );
        barrett(_mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half)))
    }

    /// The four sums come to lie in one register, so that two multiplications serve all.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn reduce_four([a, b, c, d]: [Self; 4]) -> [u16; 4] {
        let sum = _mm512_xor_si512;
        let ab = sum(
            _mm512_shuffle_i64x2::<LOWER_HALVES>(a.0, b.0),
            _mm512_shuffle_i64x2::<UPPER_HALVES>(a.0, b.0),
        );
        let cd = sum(
            _mm512_shuffle_i64x2::<LOWER_HALVES>(c.0, d.0),
            _mm512_shuffle_i64x2::<UPPER_HALVES>(c.0, d.0),
        );
        let lanes = sum(
            _mm512_shuffle_i64x2::<EVEN_LANES>(ab, cd),
            _mm512_shuffle_i64x2::<ODD_LANES>(ab, cd),
        );
        let constants = _mm_set_epi64x(TWICE_P.cast_signed(), MU.cast_signed());
        let constants = _mm512_broadcast_i32x4(constants);
        let top = _mm512_bsrli_epi128::<2>(lanes);
        let quotient = _mm512_clmulepi64_epi128::<0x00>(top, constants);
        let multiple = _mm512_clmulepi64_epi128::<0x11>(quotient, constants);
        let remainder = _mm512_srli_epi64::<1>(sum(lanes, multiple));
        guards(_mm512_cvtepi64_epi16(remainder))
    }
}

/// The exclusive or of three operands, as a truth table.
const XOR: i32 = 0x96;
/// The first operand, or the exclusive or of the other two.
const OR_XOR: i32 = 0xF6;
// Selections of `vshufi64x2`: two lanes of the first operand, then two of the second.
const LOWER_HALVES: i32 = 0b01_00_01_00;
const UPPER_HALVES: i32 = 0b11_10_11_10;
const EVEN_LANES: i32 = 0b10_00_10_00;
const ODD_LANES: i32 = 0b11_01_11_01;

/// Every second word: the low ones of four lanes.
#[inline]
#[target_feature(enable = "sse2,sse4.1")]
fn guards(words: __m128i) -> [u16; 4] {
    let word = |value: i32| u16::try_from(value).unwrap_or_default();
    [
        word(_mm_extract_epi16::<0>(words)),
        word(_mm_extract_epi16::<2>(words)),
        word(_mm_extract_epi16::<4>(words)),
        word(_mm_extract_epi16::<6>(words)),
    ]
}
