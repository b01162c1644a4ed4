//! The eight bytes themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::PiType;

/// The size of a tuple in bytes (SBC-4 §4.21.2).
pub const TUPLE_BYTES: usize = 8;

/// The logical block guard: a CRC16 over the block's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuardTag(pub u16);

/// The logical block application tag; the owner of the data may use it as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppTag(pub u16);

impl AppTag {
    /// The escape: with Types 1 and 2 the device checks nothing for this block (SBC-4 §4.21.2.3).
    pub const ESCAPE: AppTag = AppTag(0xFFFF);
}

/// The logical block reference tag; with Type 1 the low 32 bits of the block's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefTag(pub u32);

impl RefTag {
    /// With Type 3, this and [`AppTag::ESCAPE`] together switch the checks off.
    pub const ESCAPE: RefTag = RefTag(0xFFFF_FFFF);
}

impl fmt::LowerHex for GuardTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// One block's protection information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// CRC16 over the data.
    pub guard: GuardTag,
    /// Application tag.
    pub app: AppTag,
    /// Reference tag.
    pub reference: RefTag,
}

impl Tuple {
    /// The tuple of a block that was never written, or was unmapped: nothing is checked
    /// (SBC-4 §4.7.4.6: all bytes FFh).
    pub const ESCAPE: Tuple =
        Tuple { guard: GuardTag(0xFFFF), app: AppTag::ESCAPE, reference: RefTag::ESCAPE };

    /// Whether the tuple switches its own checks off: application tag FFFFh with Types 1 and 2, and
    /// with Type 3 only together with reference tag FFFFFFFFh (SBC-4 §4.21.2.3).
    pub fn is_escaped(self, kind: PiType) -> bool {
        match kind {
            PiType::None => true,
            PiType::Type1 | PiType::Type2 => self.app == AppTag::ESCAPE,
            PiType::Type3 => self.app == AppTag::ESCAPE && self.reference == RefTag::ESCAPE,
        }
    }

    /// The tuple of the copy of a block that is `step` blocks behind the one that this tuple came with
    /// (SBC-4, WRITE SAME (10)): guard and application tag are kept; with Types 1 and 2 the reference
    /// tag counts on, unless the tuple is all FFh and stays so.
    #[must_use]
    pub fn counted_on(self, kind: PiType, step: u32) -> Tuple {
        let counts = matches!(kind, PiType::Type1 | PiType::Type2) && self != Tuple::ESCAPE;
        let step = if counts { step } else { 0 };
        Tuple { reference: RefTag(self.reference.0.wrapping_add(step)), ..self }
    }

    /// The tuple as it stands in host memory and on the wire: big-endian guard, app, ref.
    pub fn to_bytes(self) -> [u8; TUPLE_BYTES] {
        let [g0, g1] = self.guard.0.to_be_bytes();
        let [a0, a1] = self.app.0.to_be_bytes();
        let [r0, r1, r2, r3] = self.reference.0.to_be_bytes();
        [g0, g1, a0, a1, r0, r1, r2, r3]
    }

    /// The tuple that these bytes spell.
    pub fn from_bytes(bytes: [u8; TUPLE_BYTES]) -> Tuple {
        let [g0, g1, a0, a1, r0, r1, r2, r3] = bytes;
        Tuple {
            guard: GuardTag(u16::from_be_bytes([g0, g1])),
            app: AppTag(u16::from_be_bytes([a0, a1])),
            reference: RefTag(u32::from_be_bytes([r0, r1, r2, r3])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_on_the_wire_is_guard_app_ref_big_endian() {
        let tuple =
            Tuple { guard: GuardTag(0x0102), app: AppTag(0x0304), reference: RefTag(0x05060708) };
        assert_eq!(tuple.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Tuple::ESCAPE.to_bytes(), [0xFF; 8]);
    }

    #[test]
    fn copies_count_their_reference_tags() {
        let tuple = Tuple { guard: GuardTag(1), app: AppTag(2), reference: RefTag(u32::MAX) };
        let next = Tuple { reference: RefTag(0), ..tuple };
        assert_eq!(tuple.counted_on(PiType::Type1, 1), next);
        assert_eq!(tuple.counted_on(PiType::Type2, 1), next);
        assert_eq!(tuple.counted_on(PiType::Type3, 1), tuple);
        assert_eq!(Tuple::ESCAPE.counted_on(PiType::Type1, 1), Tuple::ESCAPE);
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes: [u8; 8]) {
            prop_assert_eq!(Tuple::from_bytes(bytes).to_bytes(), bytes);
        }
    }
}
