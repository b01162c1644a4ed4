//! Why a command failed, and what sense data that becomes. The one place that maps errors to sense.

use nix::errno::Errno;

use super::sense::{Sense, SenseKey};
use super::status::ServiceResponse;
use crate::inject::Status as Injected;
use crate::media::MediaError;
use crate::memory::MemoryError;
use crate::pi::Check;
use crate::trap::TrapError;
use crate::units::Lba;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command itself, or the unit's state.
    #[error("{0:?}")]
    Refused(Sense),
    /// The trap or the medium below it.
    #[error(transparent)]
    Trap(#[from] TrapError),
    /// The buffers are shorter than what the command transfers.
    #[error("its data buffers are shorter than its transfer length")]
    Overrun,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Failure::Refused(sense)
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Failure::Trap(error.into())
    }
}

impl Failure {
    /// The sense data; `None` where no CHECK CONDITION tells it.
    pub fn sense(&self) -> Option<Sense> {
        match self {
            Failure::Refused(sense) => Some(*sense),
            Failure::Trap(error) => sense_of(error),
            Failure::Overrun => None,
        }
    }

    /// What the initiator is answered where there is no sense data.
    pub(super) fn response(&self) -> ServiceResponse {
        match self {
            Failure::Overrun => ServiceResponse::Overrun,
            Failure::Trap(TrapError::Injected { status: Injected::NoAnswer, .. }) => {
                ServiceResponse::NoAnswer
            }
            _ => ServiceResponse::Complete,
        }
    }
}

fn sense_of(error: &TrapError) -> Option<Sense> {
    Some(match error {
        TrapError::Raced { first, .. } => sense_of_check(Check::Guard).at(first.0),
        TrapError::Corrupt { lba, mismatch, .. } | TrapError::Protection { lba, mismatch, .. } => {
            sense_of_check(mismatch.check).at(lba.0)
        }
        TrapError::ReadBack { lba, check, .. } => sense_of_miscompare(*check).at(lba.0),
        TrapError::Miscompare { offset } => Sense::MISCOMPARE.at(*offset),
        TrapError::OutOfRange { .. } => Sense::OUT_OF_RANGE,
        TrapError::ReadOnly => Sense::WRITE_PROTECTED,
        // DATA PHASE ERROR: the initiator's memory could not be reached.
        TrapError::Memory(_) => Sense::new(SenseKey::AbortedCommand, 0x4B, 0x00),
        // Protection information of the wrong length is cut off before the trap sees it.
        TrapError::TupleCount { .. } => Sense::new(SenseKey::HardwareError, 0x44, 0x00),
        TrapError::Injected { status, lba } => return sense_of_injected(*status, *lba),
        TrapError::Media(error) => sense_of_medium(error),
    })
}

/// The sense data that a fault asks for; `None` where it asks for none.
fn sense_of_injected(status: Injected, lba: Option<Lba>) -> Option<Sense> {
    let Injected::Sense(fault) = status else { return None };
    let key = SenseKey::from_code(fault.key);
    let sense = Sense::new(key, fault.asc, fault.ascq);
    Some(lba.map_or(sense, |lba| sense.at(lba.0)))
}

/// LOGICAL BLOCK GUARD, APPLICATION TAG or REFERENCE TAG CHECK FAILED (SBC-4 §4.21.5).
const fn sense_of_check(check: Check) -> Sense {
    let ascq = match check {
        Check::Guard => 0x01,
        Check::App => 0x02,
        Check::Reference => 0x03,
    };
    Sense::new(SenseKey::AbortedCommand, 0x10, ascq)
}

/// What a comparison of blocks came to: of a field of their tuples, or of their data (SBC-4, table
/// "VRPROTECT field with the BYTCHK field set to 01b or 11b – compare operation requirements").
pub(super) fn sense_of_miscompare(check: Option<Check>) -> Sense {
    let failed = |check| Sense { key: SenseKey::Miscompare, ..sense_of_check(check) };
    check.map_or(Sense::MISCOMPARE, failed)
}

fn sense_of_medium(error: &MediaError) -> Sense {
    match error {
        MediaError::OutOfRange { .. } => Sense::OUT_OF_RANGE,
        MediaError::ReadOnly => Sense::WRITE_PROTECTED,
        // SPACE ALLOCATION FAILED WRITE PROTECT: a thin disk whose file system is full
        // (SBC-4 §4.7.3.6).
        MediaError::Io { .. } if error.errno().is_some_and(is_full) => {
            Sense::new(SenseKey::DataProtect, 0x27, 0x07)
        }
        // UNRECOVERED READ ERROR, and WRITE ERROR for everything that changes the medium.
        MediaError::Io { what, .. } if what.starts_with("read") => {
            Sense::new(SenseKey::MediumError, 0x11, 0x00)
        }
        MediaError::Io { .. } => Sense::new(SenseKey::MediumError, 0x0C, 0x00),
        // INTERNAL TARGET FAILURE.
        _ => Sense::new(SenseKey::HardwareError, 0x44, 0x00),
    }
}

/// The file system has no more room for a sparse file's blocks.
fn is_full(errno: i32) -> bool {
    matches!(Errno::from_raw(errno), Errno::ENOSPC | Errno::EDQUOT)
}
