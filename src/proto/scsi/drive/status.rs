//! The status of a command (SAM-6 §5.3), and whether it is delivered (SAM-6 §5.1).

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The command was carried out.
    Good,
    /// The sense data says why not.
    CheckCondition,
    /// The unit is busy: the initiator tries again later.
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

/// What the service delivery subsystem says of a task (SAM-6 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceResponse {
    /// COMMAND COMPLETE: the status counts.
    Complete,
    /// The buffers were shorter than what the command transfers: no status is delivered.
    Overrun,
    /// No answer, because a fault was injected that says so.
    NoAnswer,
}
