//! Which checks a transfer asks for, and what the tags are held against.

use super::generate::address_tag;
use super::kind::PiType;
use super::mismatch::{Check, Mismatch};
use super::tuple::{AppTag, GuardTag, RefTag, Tuple};
use crate::units::Lba;

/// What an application tag has to be: the bits under the mask have to be those expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedApp {
    /// The EXPECTED LOGICAL BLOCK APPLICATION TAG field.
    pub tag: AppTag,
    /// The LOGICAL BLOCK APPLICATION TAG MASK field: a bit that is one is compared.
    pub mask: u16,
}

/// The checks that are made on each block of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// How the disk is formatted.
    pub kind: PiType,
    /// Hold the guard against the data.
    pub guard: bool,
    /// Hold the application tag against this.
    pub app: Option<ExpectedApp>,
    /// Hold the reference tag of the first block against this, and that of each further block
    /// against one more than its predecessor's.
    pub reference: Option<RefTag>,
    /// Tuples with escape tags pass unchecked. SBC-4 says so of what is read from the medium, not of
    /// what a write brings.
    pub escapes: bool,
}

impl Checks {
    /// No checks at all.
    pub const fn none(kind: PiType) -> Self {
        Checks { kind, guard: false, app: None, reference: None, escapes: true }
    }

    /// What can be checked about stored blocks from `lba` on when no command says more: the guard,
    /// and with Types 1 and 2 the reference tag against the address.
    pub fn of_address(kind: PiType, lba: Lba) -> Self {
        let reference = match kind {
            PiType::Type1 | PiType::Type2 => Some(address_tag(lba)),
            PiType::None | PiType::Type3 => None,
        };
        Checks { kind, guard: kind.is_protected(), app: None, reference, escapes: true }
    }

    /// The reference tag that block number `index` of the transfer has to have.
    pub fn expected_reference(&self, index: u64) -> Option<RefTag> {
        #[allow(clippy::cast_possible_truncation, reason = "reference tags count modulo 2^32")]
        let step = index as u32;
        self.reference.map(|first| RefTag(first.0.wrapping_add(step)))
    }

    /// Holds the tuple of block number `index` against the guard computed from its data.
    ///
    /// SBC-4 leaves open which of several failed checks is reported; it is the first of guard,
    /// application tag, reference tag.
    pub fn verify(&self, tuple: Tuple, computed: GuardTag, index: u64) -> Result<(), Mismatch> {
        if self.kind == PiType::None || (self.escapes && tuple.is_escaped(self.kind)) {
            return Ok(());
        }
        self.verify_guard(tuple, computed)?;
        self.verify_app(tuple)?;
        self.verify_reference(tuple, index)
    }

    fn verify_guard(&self, tuple: Tuple, computed: GuardTag) -> Result<(), Mismatch> {
        let (stored, computed) = (u32::from(tuple.guard.0), u32::from(computed.0));
        fits(!self.guard || stored == computed, Check::Guard, stored, computed)
    }

    fn verify_app(&self, tuple: Tuple) -> Result<(), Mismatch> {
        let Some(expected) = self.app else { return Ok(()) };
        let same = (tuple.app.0 ^ expected.tag.0) & expected.mask == 0;
        fits(same, Check::App, tuple.app.0.into(), expected.tag.0.into())
    }

    fn verify_reference(&self, tuple: Tuple, index: u64) -> Result<(), Mismatch> {
        let Some(expected) = self.expected_reference(index) else { return Ok(()) };
        fits(tuple.reference == expected, Check::Reference, tuple.reference.0, expected.0)
    }
}

fn fits(fits: bool, check: Check, stored: u32, computed: u32) -> Result<(), Mismatch> {
    if fits { Ok(()) } else { Err(Mismatch { check, stored, computed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUPLE: Tuple = Tuple { guard: GuardTag(7), app: AppTag(0x12), reference: RefTag(5) };

    fn failed(checks: Checks, tuple: Tuple) -> Option<Check> {
        checks.verify(tuple, GuardTag(7), 0).err().map(|mismatch| mismatch.check)
    }

    fn all() -> Checks {
        let app = Some(ExpectedApp { tag: AppTag(0x12), mask: 0xFFFF });
        let reference = Some(RefTag(5));
        Checks { kind: PiType::Type2, guard: true, app, reference, escapes: true }
    }

    #[test]
    fn each_check_fails_alone_and_guard_comes_first() {
        assert_eq!(failed(all(), TUPLE), None);
        assert_eq!(failed(all(), Tuple { guard: GuardTag(8), ..TUPLE }), Some(Check::Guard));
        assert_eq!(failed(all(), Tuple { app: AppTag(0x13), ..TUPLE }), Some(Check::App));
        assert_eq!(failed(all(), Tuple { reference: RefTag(6), ..TUPLE }), Some(Check::Reference));
        let wrong = Tuple { guard: GuardTag(0), app: AppTag(0), reference: RefTag(0) };
        assert_eq!(failed(all(), wrong), Some(Check::Guard));
        assert_eq!(failed(Checks { guard: false, ..all() }, wrong), Some(Check::App));
        assert_eq!(failed(Checks::none(PiType::Type2), wrong), None);
    }

    #[test]
    fn only_bits_under_the_mask_count() {
        let app = Some(ExpectedApp { tag: AppTag(0x1200), mask: 0xFF00 });
        let checks = Checks { app, ..all() };
        assert_eq!(failed(checks, Tuple { app: AppTag(0x12AB), ..TUPLE }), None);
        assert_eq!(failed(checks, Tuple { app: AppTag(0x13AB), ..TUPLE }), Some(Check::App));
    }

    #[test]
    fn reference_tags_count_on_and_wrap() {
        let checks = Checks { reference: Some(RefTag(u32::MAX)), ..all() };
        assert_eq!(checks.expected_reference(0), Some(RefTag(u32::MAX)));
        assert_eq!(checks.expected_reference(1), Some(RefTag(0)));
        let by_address = Checks::of_address(PiType::Type1, Lba(0xFFFF_FFFF));
        assert_eq!(by_address.expected_reference(2), Some(RefTag(1)));
    }

    #[test]
    fn an_escape_is_one_only_where_escapes_count() {
        let escaped = Tuple { guard: GuardTag(0), app: AppTag::ESCAPE, reference: RefTag(0) };
        assert_eq!(failed(all(), escaped), None);
        assert_eq!(failed(Checks { escapes: false, ..all() }, escaped), Some(Check::Guard));
        let type_3 = Checks { kind: PiType::Type3, ..all() };
        assert_eq!(failed(type_3, escaped), Some(Check::Guard));
        assert_eq!(failed(type_3, Tuple { reference: RefTag::ESCAPE, ..escaped }), None);
    }
}
