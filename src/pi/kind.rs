//! The protection types.

use std::fmt;
use std::str::FromStr;

/// Which protection a disk is formatted with (SBC-4 §4.21.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PiType {
    /// Type 0: none.
    None,
    /// Type 1: the reference tag is the low 32 bits of the block's address.
    Type1,
    /// Type 2: the command carries the expected initial reference tag.
    Type2,
    /// Type 3: the reference tag belongs to the application.
    Type3,
}

impl PiType {
    /// The number of the type, 0 to 3.
    pub const fn number(self) -> u8 {
        match self {
            PiType::None => 0,
            PiType::Type1 => 1,
            PiType::Type2 => 2,
            PiType::Type3 => 3,
        }
    }

    /// The type with this number.
    pub const fn from_number(number: u8) -> Option<PiType> {
        match number {
            0 => Some(PiType::None),
            1 => Some(PiType::Type1),
            2 => Some(PiType::Type2),
            3 => Some(PiType::Type3),
            _ => None,
        }
    }

    /// Whether blocks have protection information at all.
    pub const fn is_protected(self) -> bool {
        !matches!(self, PiType::None)
    }
}

impl FromStr for PiType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .and_then(PiType::from_number)
            .ok_or_else(|| format!("protection type '{text}' does not exist: use 0, 1, 2 or 3"))
    }
}

impl fmt::Display for PiType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}
