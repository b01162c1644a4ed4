//! Eight bytes name a target and a logical unit (VIRTIO 1.2 §5.6.6.1).

/// The only target there is.
const TARGET: u8 = 0;
/// The first byte of every address but those of well-known units.
const SINGLE_LEVEL: u8 = 1;

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// A unit of the target; it may not exist.
    Unit(u16),
    /// A target that does not exist.
    NoTarget,
}

impl Address {
    /// Reads the eight bytes: 1, the target, a single-level unit number (peripheral device or flat
    /// space addressing, SAM-6 §4.7.7), four zeros.
    pub fn parse(bytes: [u8; 8]) -> Address {
        let [first, target, high, low, rest @ ..] = bytes;
        if first != SINGLE_LEVEL || target != TARGET || rest != [0; 4] {
            return Address::NoTarget;
        }
        match high >> 6 {
            0 if high == 0 => Address::Unit(low.into()),
            1 => Address::Unit(u16::from_be_bytes([high & 0x3F, low])),
            // A unit number that no unit of this target has.
            _ => Address::Unit(u16::MAX),
        }
    }

    /// The address of a unit in an event. Linux looks its third and fourth byte up as they are, so they
    /// have to be spelt as REPORT LUNS spells them: flat space addressing only from 256 on.
    pub fn of_unit(lun: u16) -> [u8; 8] {
        let [high, low] = lun.to_be_bytes();
        let method = if high == 0 { 0 } else { 0x40 };
        [SINGLE_LEVEL, TARGET, (high & 0x3F) | method, low, 0, 0, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_two_spellings() {
        assert_eq!(Address::parse([1, 0, 0, 3, 0, 0, 0, 0]), Address::Unit(3));
        assert_eq!(Address::parse([1, 0, 0x40, 3, 0, 0, 0, 0]), Address::Unit(3));
        assert_eq!(Address::parse([1, 0, 0x41, 3, 0, 0, 0, 0]), Address::Unit(259));
        for lun in [0, 3, 255, 256, 259] {
            assert_eq!(Address::parse(Address::of_unit(lun)), Address::Unit(lun));
        }
        assert_eq!(Address::of_unit(3), [1, 0, 0, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn there_is_one_target() {
        for bytes in [[1, 1, 0, 0, 0, 0, 0, 0], [0; 8], [0xC1, 1, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Address::parse(bytes), Address::NoTarget);
        }
        assert_eq!(Address::parse([1, 0, 0, 0, 0, 0, 0, 1]), Address::NoTarget);
    }
}
