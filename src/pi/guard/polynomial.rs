//! Arithmetic on polynomials over GF(2), from which every constant of the backends is derived.
//!
//! A polynomial is an integer: bit *i* is the coefficient of x^*i*. The guard of a message M is
//! M·x^16 mod P; T10-DIF is not reflected, so the first byte's top bit is M's highest coefficient.

/// P = x^16 + x^15 + x^11 + x^9 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1 (SBC-4 §4.21.4.2).
const P: u32 = 0x1_8BB7;

/// x^ORDER = 1 mod P, so exponents may be reduced. (P is primitive.)
const ORDER: usize = 65_535;

const _: () = assert!(x_to(ORDER) == 1, "the order of x modulo P");

/// The Barrett quotient's factor: floor(x^79 / P), of degree 63.
pub(super) const MU: u64 = quotient_of_x_to_79();

/// 2·P: the backends keep their remainders shifted left by one (see [`lane`]).
pub(super) const TWICE_P: u64 = (P as u64) << 1;

/// a·b mod P.
pub(super) const fn multiply(a: u16, b: u16) -> u16 {
    let mut product = 0;
    let mut bit = 16;
    while bit > 0 {
        bit -= 1;
        product = times_x(product);
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

/// a·x mod P.
#[allow(clippy::cast_possible_truncation, reason = "P without its top coefficient, on purpose")]
const fn times_x(a: u16) -> u16 {
    (a << 1) ^ ((a >> 15) * (P as u16))
}

/// x^n mod P.
const fn x_to(n: usize) -> u16 {
    let mut power = 1;
    let mut square = 2;
    let mut rest = n;
    while rest > 0 {
        if rest & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        rest >>= 1;
    }
    power
}

/// Long division, one coefficient a step. `rest` holds the dividend's coefficients that the
/// divisor overlaps; those that follow are all zero.
const fn quotient_of_x_to_79() -> u64 {
    let mut quotient = 0;
    let mut rest = 1_u32 << 16;
    let mut steps = 0;
    while steps < 64 {
        let bit = rest >> 16 & 1;
        quotient = quotient << 1 | bit as u64;
        rest = (rest ^ (bit * P)) << 1;
        steps += 1;
    }
    quotient
}

/// The two factors that move a 128-bit lane H·x^64 + L `bits` bits towards the message's start:
/// H·(x^(bits+64) mod P) + L·(x^bits mod P), low factor first as the lane's words lie in a
/// register. The sum is of degree 78 at most.
const fn factors(bits: usize) -> [u64; 2] {
    [x_to(bits) as u64, x_to(bits + 64) as u64]
}

/// The factors of a fold: a lane is added to the one that follows `bytes` later.
const fn fold_over(bytes: usize) -> [u64; 2] {
    factors(bytes * 8)
}

/// The factors of a lane that has `bytes` after it before the message ends. They bring the
/// guard's own x^16, and one x more: the sum T·x then stands in 80 bits, its top 64 begin on
/// a byte, and with [`MU`] the quotient T / P is exactly the high half of one product.
const fn lane(bytes: usize) -> [u64; 2] {
    let [low, high] = factors(bytes * 8 + 16);
    [low << 1, high << 1]
}

/// How many vectors a stride has: enough independent folds to hide a multiplication's latency.
pub(super) const VECTORS: usize = 8;

/// The constants for vectors of `WORDS` 64-bit words.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Constants<const WORDS: usize> {
    /// Moves a vector over one stride.
    fold: [u64; WORDS],
    /// Moves the last stride's vectors, in message order, to the end of the message.
    last: [[u64; WORDS]; VECTORS],
}

impl<const WORDS: usize> Constants<WORDS> {
    /// Derives them from P.
    #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler: an error, not a panic")]
    pub(super) const fn new() -> Self {
        let mut constants = Constants { fold: [0; WORDS], last: [[0; WORDS]; VECTORS] };
        let stride = VECTORS * WORDS * 8;
        let mut word = 0;
        while word < VECTORS * WORDS {
            // Lane 0 of vector 0 comes first in the message: everything else is after it.
            let [low, high] = lane(stride - 16 - word / 2 * 16);
            let factor = if word % 2 == 0 { low } else { high };
            constants.last[word / WORDS][word % WORDS] = factor;
            constants.fold[word % WORDS] = fold_over(stride)[word % 2];
            word += 1;
        }
        constants
    }

    /// The factors that move a vector over one stride.
    pub(super) const fn fold(&self) -> &[u64; WORDS] {
        &self.fold
    }

    /// The factors that move vector `I` of the last stride, in message order, to its end.
    #[allow(clippy::indexing_slicing, reason = "checked by the compiler")]
    pub(super) const fn last<const I: usize>(&self) -> &[u64; WORDS] {
        const { assert!(I < VECTORS) };
        &self.last[I]
    }
}

/// The guard of a message that `bytes` bytes follow, moved over them: guard·x^(8·bytes) mod P.
///
/// Guards are linear: the guard of two pieces in a row is the first's, moved over the second,
/// plus the second's.
pub(super) fn over(guard: u16, bytes: usize) -> u16 {
    let bits = bytes % ORDER * 8 % ORDER;
    let high = BY_256_BITS.get(bits / 256).copied().unwrap_or(1);
    let low = BY_BITS.get(bits % 256).copied().unwrap_or(1);
    multiply(guard, multiply(high, low))
}

/// x^n for n below 256.
static BY_BITS: [u16; 256] = powers(1);
/// x^(256·n) for every n that [`over`] needs.
static BY_256_BITS: [u16; ORDER / 256 + 1] = powers(256);

/// x^(step·n) mod P for each place n.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler: an error, not a panic")]
const fn powers<const N: usize>(step: usize) -> [u16; N] {
    let mut table = [0; N];
    let mut n = 0;
    while n < N {
        table[n] = x_to(step * n);
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The remainder by long division, a bit at a time.
    fn remainder(mut t: u128) -> u128 {
        for bit in (16..128).rev() {
            if t >> bit & 1 == 1 {
                t ^= u128::from(P) << (bit - 16);
            }
        }
        t
    }

    fn product(a: u128, b: u128) -> u128 {
        (0..64).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ a << bit)
    }

    #[test]
    fn x_has_no_smaller_order() {
        for prime in [3, 5, 17, 257] {
            assert_ne!(x_to(ORDER / prime), 1);
        }
    }

    proptest! {
        #[test]
        fn multiplication_is_the_products_remainder(a: u16, b: u16) {
            prop_assert_eq!(u128::from(multiply(a, b)), remainder(product(a.into(), b.into())));
        }

        #[test]
        fn mu_gives_the_exact_quotient(t in 0_u128..1 << 79) {
            let quotient = product(t >> 15, MU.into()) >> 64;
            prop_assert_eq!(t ^ product(P.into(), quotient), remainder(t));
        }

        #[test]
        fn a_guard_moves_over_any_number_of_bytes(guard: u16, bytes in 0_usize..200_000) {
            let step_by_step = (0..bytes * 8).fold(guard, |guard, _| times_x(guard));
            prop_assert_eq!(over(guard, bytes), step_by_step);
        }
    }
}
