//! The IP checksum as a guard: DIX between host and adapter may use it instead of the CRC, for it
//! is cheap without carry-less multiplication (Linux: `SHOST_DIX_GUARD_IP`, RFC 1071).

use crate::pi::tuple::GuardTag;

/// The IP checksum of one whole block: the complement of the ones' complement sum of its
/// big-endian 16-bit words.
pub fn ip_guard(data: &[u8]) -> GuardTag {
    let mut guard = IpGuard::new();
    guard.update(data);
    guard.finish()
}

/// The IP checksum of a block that arrives in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpGuard {
    /// The ones' complement sum.
    sum: u16,
    /// Whether the next byte is a word's second.
    is_odd: bool,
}

impl IpGuard {
    /// No bytes yet.
    pub const fn new() -> Self {
        IpGuard { sum: 0, is_odd: false }
    }

    /// The block's next bytes.
    pub fn update(&mut self, data: &[u8]) {
        let sum = sum_of(data);
        // RFC 1071 §2(B): bytes that change places in their words do so in the sum.
        let sum = if self.is_odd { sum.swap_bytes() } else { sum };
        self.sum = folded(u64::from(self.sum) + u64::from(sum));
        self.is_odd ^= data.len() % 2 == 1;
    }

    /// The checksum over all bytes so far; an odd last byte counts as if a zero followed.
    pub const fn finish(self) -> GuardTag {
        GuardTag(!self.sum)
    }
}

/// The ones' complement sum, as big-endian words from an even place.
///
/// RFC 1071 §2: words may be added in the machine's order, and in wider words, when the carries
/// come back at the end. A `u64` holds the carries of 2^32 additions, 16 GiB of data.
fn sum_of(data: &[u8]) -> u16 {
    let (words, rest) = data.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    for (to, byte) in last.iter_mut().zip(rest) {
        *to = *byte;
    }
    u16::from_be(folded(sum + u64::from(u32::from_ne_bytes(last))))
}

/// The carries brought back until none is left.
#[allow(clippy::cast_possible_truncation, reason = "the loop ends when it fits")]
const fn folded(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071's definition, word by word.
    fn by_definition(data: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for word in data.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([word[0], low]));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    /// RFC 1071 §3: the example's sum is DDF2h.
    #[test]
    fn published_vector() {
        let data = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(ip_guard(&data), GuardTag(!0xDDF2));
    }

    #[test]
    fn nothing_and_zeros_sum_to_zero_but_all_ones_to_minus_zero() {
        assert_eq!(ip_guard(&[]), GuardTag(0xFFFF));
        assert_eq!(ip_guard(&[0; 512]), GuardTag(0xFFFF));
        assert_eq!(ip_guard(&[0xFF; 4096]), GuardTag(0));
    }

    #[test]
    fn the_worst_carries_at_a_large_size() {
        let data = vec![0xFF; 1 << 20];
        assert_eq!(ip_guard(&data).0, by_definition(&data));
    }

    proptest! {
        #[test]
        fn whole_and_in_pieces_it_is_the_definition(data in proptest::collection::vec(any::<u8>(), 0..5000), start in 0_usize..16, cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            let data = data.get(start..).unwrap_or(&[]);
            prop_assert_eq!(ip_guard(data).0, by_definition(data));
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
            at.extend([0, data.len()]);
            at.sort_unstable();
            let mut pieces = IpGuard::new();
            for pair in at.windows(2) {
                pieces.update(&data[pair[0]..pair[1]]);
            }
            prop_assert_eq!(pieces.finish().0, by_definition(data));
        }
    }
}
