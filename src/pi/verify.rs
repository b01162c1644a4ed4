//! Does a tuple fit its data and its place?

use super::checks::Checks;
use super::kind::PiType;
use super::mismatch::Mismatch;
use super::tuple::{GuardTag, Tuple};
use crate::units::Lba;

/// Holds a tuple against its data's guard and its block's address.
///
/// Escaped tuples fit everything: application tag FFFFh with Types 1 and 2, and with Type 3 only
/// together with reference tag FFFFFFFFh (SBC-4 §4.21.2.3). The application tag is not checked:
/// nobody here owns it.
pub fn verify(kind: PiType, tuple: Tuple, computed: GuardTag, lba: Lba) -> Result<(), Mismatch> {
    Checks::of_address(kind, lba).verify(tuple, computed, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pi::{AppTag, Check, RefTag, generate, guard};

    const DATA: [u8; 512] = [0x5A; 512];
    const KINDS: [PiType; 3] = [PiType::Type1, PiType::Type2, PiType::Type3];

    #[test]
    fn what_is_generated_verifies() {
        for kind in KINDS {
            let tuple = generate(kind, &DATA, Lba(0x1_2345_6789));
            assert_eq!(verify(kind, tuple, guard(&DATA), Lba(0x1_2345_6789)), Ok(()));
        }
    }

    #[test]
    fn changed_data_fails_its_guard() {
        for kind in KINDS {
            let tuple = generate(kind, &DATA, Lba(3));
            let mut changed = DATA;
            changed[17] ^= 1;
            assert_eq!(
                verify(kind, tuple, guard(&changed), Lba(3)).unwrap_err().check,
                Check::Guard
            );
        }
    }

    #[test]
    fn a_misplaced_block_fails_its_reference_except_with_type_3() {
        let at_3 = |kind| generate(kind, &DATA, Lba(3));
        let at_4 = |kind| verify(kind, at_3(kind), guard(&DATA), Lba(4));
        assert_eq!(at_4(PiType::Type1).unwrap_err().check, Check::Reference);
        assert_eq!(at_4(PiType::Type2).unwrap_err().check, Check::Reference);
        assert_eq!(at_4(PiType::Type3), Ok(()));
    }

    #[test]
    fn escapes() {
        let app_only = Tuple { app: AppTag::ESCAPE, guard: GuardTag(1), reference: RefTag(9) };
        assert!(verify(PiType::Type1, app_only, GuardTag(2), Lba(0)).is_ok());
        assert!(verify(PiType::Type3, app_only, GuardTag(2), Lba(0)).is_err());
        for kind in KINDS {
            assert!(verify(kind, Tuple::ESCAPE, GuardTag(2), Lba(0)).is_ok());
        }
    }
}
