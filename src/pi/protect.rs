//! RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT → the checks that they ask for.
//!
//! The sources are SBC's tables of the same names, which its revisions number differently. They were
//! held row by row against the draft of SBC-5 that goes with SPC-6, where they are: table 79 "RDPROTECT
//! field" (READ (10), §5.16); table 133 "WRPROTECT field" (WRITE (10), §5.40); tables 125 to 128
//! "VRPROTECT field with the BYTCHK field set to 00b" (medium) and "… set to 01b or 11b" (medium,
//! Data-Out Buffer, comparison; VERIFY (10), §5.36); tables 67 and 68 "ORPROTECT field" (medium and
//! Data-Out Buffer; ORWRITE (16), §5.10). Where a table says "may", this drive checks what it knows.
//! GRD_CHK, APP_CHK and REF_CHK of the Extended INQUIRY Data VPD page count as one, and of the Control
//! mode page RWWP, DPICZ and ATMPE as zero.

use super::checks::{Checks, ExpectedApp};
use super::generate::address_tag;
use super::kind::PiType;
use super::mismatch::Check;
use super::tuple::{AppTag, RefTag, Tuple};
use crate::units::Lba;

/// Whose protection information a protect field speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// RDPROTECT: what a read takes from the medium.
    Read,
    /// WRPROTECT: what a write brings.
    Write,
    /// VRPROTECT with BYTCHK 00b: what is on the medium.
    VerifyMedium,
    /// VRPROTECT with BYTCHK 01b or 11b: what is on the medium.
    CompareMedium,
    /// VRPROTECT with BYTCHK 01b or 11b: what the command brings.
    CompareDataOut,
    /// ORPROTECT: what is on the medium.
    OrMedium,
    /// ORPROTECT: what the command brings.
    OrDataOut,
}

impl Source {
    /// Escapes count, and checks are made even where the command says nothing.
    const fn is_medium(self) -> bool {
        matches!(
            self,
            Source::Read | Source::VerifyMedium | Source::CompareMedium | Source::OrMedium
        )
    }

    /// A protect field other than 000b moves protection information to or from the guest.
    const fn transfers(self) -> bool {
        matches!(self, Source::Read | Source::Write | Source::CompareDataOut | Source::OrDataOut)
    }
}

/// The fields that only a 32-byte CDB has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// EXPECTED INITIAL LOGICAL BLOCK REFERENCE TAG.
    pub reference: RefTag,
    /// EXPECTED LOGICAL BLOCK APPLICATION TAG and LOGICAL BLOCK APPLICATION TAG MASK.
    pub app: ExpectedApp,
}

/// What a command and the disk say about protection information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protect {
    /// The protect field, three bits.
    pub field: u8,
    /// How the disk is formatted; PROT_EN is zero with [`PiType::None`] and one otherwise.
    pub kind: PiType,
    /// ATO of the Control mode page.
    pub ato: bool,
    /// The first block.
    pub lba: Lba,
    /// What a 32-byte CDB says besides; `None` with every shorter one.
    pub expected: Option<Expected>,
}

/// What a protect field comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Protection information is transferred with the data.
    pub carries_pi: bool,
    /// What is checked of it.
    pub checks: Checks,
}

/// Which fields of the protection information are compared byte by byte (VERIFY with BYTCHK 01b or
/// 11b). A difference is MISCOMPARE.
///
/// Table 128 has the application tag compared while ATO is one and the device server knows it; the tag
/// that the command brings is knowledge enough here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// The guard.
    pub guard: bool,
    /// The application tag.
    pub app: bool,
    /// The reference tag.
    pub reference: bool,
}

/// Why a command's protect field cannot be followed; ILLEGAL REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// INVALID FIELD IN CDB.
    #[error("the protect field is reserved, or the disk has no protection information")]
    InvalidField,
    /// INVALID COMMAND OPERATION CODE.
    #[error("the command does not exist with this protection type")]
    InvalidOpcode,
}

impl Compared {
    /// The first field in which a stored tuple is not the one that it is compared with. Of a stored
    /// tuple with escape tags nothing is compared (table 128, note j).
    pub fn difference(&self, kind: PiType, stored: Tuple, other: Tuple) -> Option<Check> {
        if stored.is_escaped(kind) {
            return None;
        }
        let fields = [
            (self.guard && stored.guard != other.guard, Check::Guard),
            (self.app && stored.app != other.app, Check::App),
            (self.reference && stored.reference != other.reference, Check::Reference),
        ];
        fields.iter().find(|(differs, _)| *differs).map(|(_, check)| *check)
    }
}

impl Protect {
    /// The checks that `source`'s table gives.
    pub fn transfer(&self, source: Source) -> Result<Transfer, Refusal> {
        self.admit()?;
        let (guard, app, reference) = self.wanted(source);
        let checks = Checks {
            kind: self.kind,
            guard: guard && self.kind.is_protected(),
            app: self.known_app().filter(|_| app),
            reference: self.known_reference().filter(|_| reference),
            escapes: source.is_medium(),
        };
        Ok(Transfer { carries_pi: self.field != 0 && source.transfers(), checks })
    }

    /// The fields that a byte-by-byte comparison covers.
    pub fn compared(&self) -> Result<Compared, Refusal> {
        self.admit()?;
        // With Type 3 and ATO zero the reference tag is the device's to change.
        let reference = self.kind != PiType::Type3 || self.ato;
        Ok(match self.field {
            0 => Compared { guard: false, app: false, reference: false },
            2 => Compared { guard: false, app: self.ato, reference },
            5 => Compared { guard: true, app: self.ato, reference: false },
            _ => Compared { guard: true, app: self.ato, reference },
        })
    }

    /// Refuses what no table has.
    ///
    /// SBC-4 §4.21.2: with Type 2, and only with it, 32-byte commands are processed, and with it no
    /// other command may have a protect field but 000b.
    fn admit(&self) -> Result<(), Refusal> {
        match (self.kind, self.field) {
            (PiType::Type2, field) if self.expected.is_none() && field != 0 => {
                Err(Refusal::InvalidOpcode)
            }
            (PiType::None | PiType::Type1 | PiType::Type3, _) if self.expected.is_some() => {
                Err(Refusal::InvalidOpcode)
            }
            (_, 6..) => Err(Refusal::InvalidField),
            (PiType::None, 1..) => Err(Refusal::InvalidField),
            _ => Ok(()),
        }
    }

    /// Guard, application tag, reference tag.
    const fn wanted(&self, source: Source) -> (bool, bool, bool) {
        match (source, self.field) {
            // Nothing is brought; the medium is checked all the same.
            (_, 0) => (source.is_medium(), source.is_medium(), source.is_medium()),
            // The medium's is compared instead.
            (Source::CompareMedium, _) => (false, false, false),
            (_, 2) => (false, true, true),
            (_, 3) => (false, false, false),
            (_, 4) => (true, false, false),
            _ => (true, true, true),
        }
    }

    /// The device knows the application tag only where ATO is one and the CDB tells it.
    fn known_app(&self) -> Option<ExpectedApp> {
        self.expected.filter(|_| self.ato).map(|expected| expected.app)
    }

    /// The device knows the reference tag from the address with Type 1, from the CDB with Type 2, and
    /// not at all with Type 3.
    fn known_reference(&self) -> Option<RefTag> {
        match self.kind {
            PiType::None | PiType::Type3 => None,
            PiType::Type1 => Some(address_tag(self.lba)),
            PiType::Type2 => self.expected.map(|expected| expected.reference),
        }
    }
}

impl Expected {
    /// The fields as they stand in the CDB.
    pub const fn new(reference: u32, app: u16, mask: u16) -> Self {
        let app = ExpectedApp { tag: AppTag(app), mask };
        Expected { reference: RefTag(reference), app }
    }
}

#[cfg(test)]
mod tests;
