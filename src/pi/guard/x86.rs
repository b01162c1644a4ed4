//! What all x86 backends share: one lane's end.

use std::arch::x86_64::*;

use super::polynomial::{MU, TWICE_P};

/// The guard from one lane that holds T·x in 80 bits, for the message's T: Barrett's reduction.
///
/// # Safety
/// The CPU has PCLMULQDQ.
#[inline]
#[target_feature(enable = "sse2,pclmulqdq")]
pub(super) fn barrett(lane: __m128i) -> u16 {
    let constants = _mm_set_epi64x(TWICE_P.cast_signed(), MU.cast_signed());
    let top = _mm_bsrli_si128::<2>(lane);
    let quotient = _mm_clmulepi64_si128::<0x00>(top, constants);
    let multiple = _mm_clmulepi64_si128::<0x11>(quotient, constants);
    let remainder = _mm_cvtsi128_si32(_mm_xor_si128(lane, multiple));
    low_word(remainder >> 1)
}

/// The low 16 bits.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "on purpose")]
const fn low_word(value: i32) -> u16 {
    value as u16
}
