//! Tuples for data that comes without them.

use super::guard::guard;
use super::kind::PiType;
use super::tuple::{AppTag, GuardTag, RefTag, Tuple};
use crate::units::Lba;

/// The tuple that a host adapter generates for the block `data` at `lba`.
pub fn generate(kind: PiType, data: &[u8], lba: Lba) -> Tuple {
    generate_over(kind, guard(data), lba)
}

/// The tuple for a block whose guard is known already.
///
/// This is what the drive stores of a write that brings no protection information. There it departs
/// from the letter of SBC (table "WRPROTECT field", notes to 000b): that has reference tag FFFFFFFFh
/// with Types 2 and 3, and while ATO is one application tag FFFFh, which escapes the block from every
/// later check. Here the blocks of a guest without DIX stay checked: for a drive that is there to find
/// faults, an escape would hide them.
///
/// Types 1 and 2 take the address's low 32 bits as reference tag (the expected initial reference
/// tag of a command that does not say otherwise is its address, SBC-4 §4.21.2.4); with Type 3 the
/// tag is the application's, and nobody set one, so it is 0.
pub fn generate_over(kind: PiType, guard: GuardTag, lba: Lba) -> Tuple {
    let reference = match kind {
        PiType::None | PiType::Type3 => RefTag(0),
        PiType::Type1 | PiType::Type2 => address_tag(lba),
    };
    Tuple { guard, app: AppTag(0), reference }
}

/// The low 32 bits of a block's address.
#[allow(clippy::cast_possible_truncation, reason = "the tag is defined as the low 32 bits")]
pub(super) fn address_tag(lba: Lba) -> RefTag {
    RefTag(lba.0 as u32)
}
