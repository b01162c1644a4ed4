//! The guard: CRC16 with the T10-DIF polynomial 8BB7h (SBC-4 §4.21.4).

use crc::{CRC_16_T10_DIF, Crc, Digest, Table};

use super::tuple::GuardTag;

/// The `crc` crate's portable implementation, sixteen bytes a step.
const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_T10_DIF);

/// The guard of one whole block.
pub fn guard(data: &[u8]) -> GuardTag {
    GuardTag(CRC.checksum(data))
}

/// The guard of a block that arrives in pieces.
#[derive(Clone)]
pub struct Guard {
    digest: Digest<'static, u16, Table<16>>,
}

impl Guard {
    /// No bytes yet.
    pub fn new() -> Self {
        static STATIC_CRC: Crc<u16, Table<16>> = CRC;
        Guard { digest: STATIC_CRC.digest() }
    }

    /// The block's next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.digest.update(data);
    }

    /// The guard over all bytes so far.
    pub fn finish(self) -> GuardTag {
        GuardTag(self.digest.finalize())
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Guard").field(&self.clone().finish()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SBC-4 §4.21.4.4, table "CRC test cases": 32 bytes each.
    #[test]
    fn published_vectors() {
        let rising: Vec<u8> = (0..32).collect();
        let mut first_two = [0; 32];
        first_two[..2].fill(0xFF);
        assert_eq!(guard(&[0; 32]), GuardTag(0x0000));
        assert_eq!(guard(&[0xFF; 32]), GuardTag(0xA293));
        assert_eq!(guard(&rising), GuardTag(0x0224));
        assert_eq!(guard(&first_two), GuardTag(0x21B8));
    }

    #[test]
    fn the_catalogue_check_value() {
        assert_eq!(guard(b"123456789"), GuardTag(0xD0DB));
    }

    proptest! {
        #[test]
        fn pieces_equal_the_whole(data in proptest::collection::vec(any::<u8>(), 0..5000), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
            at.extend([0, data.len()]);
            at.sort_unstable();
            let mut pieces = Guard::new();
            for pair in at.windows(2) {
                pieces.update(&data[pair[0]..pair[1]]);
            }
            prop_assert_eq!(pieces.finish(), guard(&data));
        }
    }
}
