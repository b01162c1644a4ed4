//! What can go wrong on purpose.

use std::fmt;

use super::ops::Op;
use crate::pi::{AppTag, GuardTag, RefTag, Tuple};

/// A part of a block and its tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The block's data bytes.
    Data,
    /// The tuple's guard: the checksum of the data.
    Guard,
    /// The tuple's application tag.
    App,
    /// The tuple's reference tag: the block's address, in Types 1 and 2.
    Reference,
}

/// Where a bit flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the medium: the block is read as it never was written.
    Medium,
    /// Between the guest and the drive's check of a write.
    In,
    /// Between the drive's check of a read and the guest.
    Out,
}

impl Part {
    /// All of them.
    pub(super) const ALL: [Part; 4] = [Part::Data, Part::Guard, Part::App, Part::Reference];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Part::Data => "data",
            Part::Guard => "guard",
            Part::App => "app",
            Part::Reference => "ref",
        }
    }
}

impl Place {
    /// All of them.
    pub(super) const ALL: [Place; 3] = [Place::Medium, Place::In, Place::Out];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Place::Medium => "medium",
            Place::In => "in",
            Place::Out => "out",
        }
    }
}

/// Sense data (SPC-5 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// SENSE KEY, four bits.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}

impl Sense {
    /// MEDIUM ERROR, UNRECOVERED READ ERROR.
    pub const READ_ERROR: Sense = Sense { key: 0x3, asc: 0x11, ascq: 0x00 };
    /// MEDIUM ERROR, WRITE ERROR.
    pub const WRITE_ERROR: Sense = Sense { key: 0x3, asc: 0x0C, ascq: 0x00 };
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{:02x}/{:02x}", self.key, self.asc, self.ascq)
    }
}

/// A fault that is a request's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// CHECK CONDITION with this sense data.
    Sense(Sense),
    /// BUSY: the initiator is asked to try again.
    Busy,
    /// No status, ever: the request is not answered.
    NoAnswer,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One bit of a block or its tuple is inverted.
    Flip {
        /// Of which part.
        part: Part,
        /// Where.
        place: Place,
        /// With [`Part::Data`]: of which byte of the block.
        byte: u16,
    },
    /// A write goes so many blocks further on, or back.
    Misdirect(i64),
    /// A write is acknowledged and stored nowhere.
    Lost,
    /// A write is acknowledged and only so many of its blocks are stored.
    Torn(u64),
    /// The request fails with sense data.
    Sense(Sense),
    /// The request fails as if the medium did.
    MediumError,
    /// The request is refused as BUSY.
    Busy,
    /// The request is never answered.
    NoAnswer,
}

impl Fault {
    /// Inverts the bit, in `data` or `tuple`; faults that are no flips change nothing.
    pub fn flip(&self, data: &mut [u8], tuple: &mut Tuple) {
        let Fault::Flip { part, byte, .. } = self else { return };
        match part {
            Part::Data => {
                if let Some(byte) = data.get_mut(usize::from(*byte)) {
                    *byte ^= 1;
                }
            }
            Part::Guard => tuple.guard = GuardTag(tuple.guard.0 ^ 1),
            Part::App => tuple.app = AppTag(tuple.app.0 ^ 1),
            Part::Reference => tuple.reference = RefTag(tuple.reference.0 ^ 1),
        }
    }

    /// Whether this is a flip at `place`.
    pub fn flips_at(&self, wanted: Place) -> bool {
        matches!(self, Fault::Flip { place, .. } if *place == wanted)
    }

    /// The answer that a request of class `op` gets, where the fault is one.
    pub fn status(&self, op: Op) -> Option<Status> {
        match self {
            Fault::Sense(sense) => Some(Status::Sense(*sense)),
            Fault::MediumError if op == Op::Read || op == Op::Verify => {
                Some(Status::Sense(Sense::READ_ERROR))
            }
            Fault::MediumError => Some(Status::Sense(Sense::WRITE_ERROR)),
            Fault::Busy => Some(Status::Busy),
            Fault::NoAnswer => Some(Status::NoAnswer),
            Fault::Flip { .. } | Fault::Misdirect(_) | Fault::Lost | Fault::Torn(_) => None,
        }
    }
}
