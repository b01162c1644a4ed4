//! The status of a command (SAM-6 §5.3).

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Carried out.
    Good,
    /// The sense data says why not.
    CheckCondition,
    /// Try again later.
    Busy,
}

impl Status {
    /// The status code.
    pub const fn code(self) -> u8 {
        match self {
            Status::Good => 0x00,
            Status::CheckCondition => 0x02,
            Status::Busy => 0x08,
        }
    }
}
