//! PMULL on 128-bit registers: aarch64 CPUs with the cryptography extension.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::fold::{guard_of, guards_of};
use super::lanes::Lanes;
use super::polynomial::{Constants, MU, TWICE_P};
use super::sink::Sink;
use crate::pi::tuple::GuardTag;

/// Whether the CPU can run this backend.
pub(super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("aes")
}

/// The guard of `len` bytes at `from`.
///
/// # Safety
/// [`is_available`], and as for [`guard_of`].
#[target_feature(enable = "neon,aes")]
pub(super) unsafe fn one<S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { guard_of::<Neon, S>(from, len, sink) }
}

/// The guards of blocks in a row; whether a sink that compares has found a difference.
///
/// # Safety
/// [`is_available`], and as for [`guards_of`].
#[target_feature(enable = "neon,aes")]
pub(super) unsafe fn many<S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { guards_of::<Neon, S>(from, block, guards, sink) }
}

static CONSTANTS: Constants<2> = Constants::new();

#[derive(Clone, Copy)]
struct Neon(uint8x16_t);

/// The product of both operands' lower words.
#[inline]
#[target_feature(enable = "neon,aes")]
fn low_product(a: uint64x2_t, b: uint64x2_t) -> uint8x16_t {
    vreinterpretq_u8_p128(vmull_p64(vgetq_lane_u64::<0>(a), vgetq_lane_u64::<0>(b)))
}

/// The product of both operands' upper words.
#[inline]
#[target_feature(enable = "neon,aes")]
fn high_product(a: uint64x2_t, b: uint64x2_t) -> uint8x16_t {
    vreinterpretq_u8_p128(vmull_high_p64(vreinterpretq_p64_u64(a), vreinterpretq_p64_u64(b)))
}

// SAFETY: `load` is one instruction that the compiler can neither repeat nor split.
unsafe impl Lanes for Neon {
    const BYTES: usize = 16;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load<const I: usize>(from: *const u8) -> Self {
        let vector;
        // SAFETY: the caller vouches for 16 readable bytes there.
        unsafe {
            asm!(
                "ldr {vector:q}, [{from}, #{at}]",
                vector = lateout(vreg) vector,
                from = in(reg) from,
                at = const I * 16,
                options(nostack, preserves_flags, readonly),
            );
        }
        Neon(vector)
    }

    /// Left to the CPU: stable Rust has no such intrinsic here.
    #[inline]
    unsafe fn prefetch(_: *const u8) {}

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for the room.
        unsafe { vst1q_u8(to, self.0) }
    }

    /// An ordinary store: stable Rust has no such intrinsic here.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for the room.
        unsafe { vst1q_u8(to, self.0) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn reverse(self) -> Self {
        let words = vrev64q_u8(self.0);
        Neon(vextq_u8::<8>(words, words))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn stride_factors() -> Self {
        // SAFETY: two words.
        Neon(unsafe { vreinterpretq_u8_u64(vld1q_u64(CONSTANTS.fold().as_ptr())) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn last_factors<const I: usize>() -> Self {
        // SAFETY: two words.
        Neon(unsafe { vreinterpretq_u8_u64(vld1q_u64(CONSTANTS.last::<I>().as_ptr())) })
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn multiply(self, factors: Self) -> Self {
        let (words, factors) = (vreinterpretq_u64_u8(self.0), vreinterpretq_u64_u8(factors.0));
        Neon(veorq_u8(low_product(words, factors), high_product(words, factors)))
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn fold(self, factors: Self, other: Self) -> Self {
        // SAFETY: the same instructions.
        unsafe { self.multiply(factors).add(other) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(self, other: Self) -> Self {
        Neon(veorq_u8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zero() -> Self {
        Neon(vdupq_n_u8(0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add_difference(self, one: Self, other: Self) -> Self {
        Neon(vorrq_u8(self.0, veorq_u8(one.0, other.0)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn is_zero(self) -> bool {
        vmaxvq_u8(self.0) == 0
    }

    /// Barrett's reduction of T·x, as on x86.
    #[inline]
    #[target_feature(enable = "neon,aes")]
    unsafe fn reduce(self) -> u16 {
        let zero = vdupq_n_u8(0);
        let top = vreinterpretq_u64_u8(vextq_u8::<2>(self.0, zero));
        let quotient = vreinterpretq_u64_u8(low_product(top, vdupq_n_u64(MU)));
        let multiple = high_product(quotient, vdupq_n_u64(TWICE_P));
        let remainder = vreinterpretq_u32_u8(veorq_u8(self.0, multiple));
        let [low, high, ..] = (vgetq_lane_u32::<0>(remainder) >> 1).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}
