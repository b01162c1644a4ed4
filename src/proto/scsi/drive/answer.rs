//! How a task ended: status, sense data, and what is said of a failure.

use super::failure::Failure;
use super::sense::Sense;
use super::status::{ServiceResponse, Status};
use super::unit::Unit;
use crate::trap::TrapError;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code of the command.
    pub status: Status,
    /// Sense data; empty unless the status is CHECK CONDITION.
    pub sense: Vec<u8>,
    /// Bytes of data moved, either way, protection information not counted.
    pub moved: u64,
    /// Whether the status reaches the initiator at all.
    pub response: ServiceResponse,
}

impl Answer {
    /// GOOD, with so many bytes moved.
    pub(super) fn good(moved: u64) -> Answer {
        let response = ServiceResponse::Complete;
        Answer { status: Status::Good, sense: Vec::new(), moved, response }
    }

    /// CHECK CONDITION, with sense data in fixed or in descriptor format.
    pub(super) fn refused(sense: Sense, descriptor: bool) -> Answer {
        let sense = sense.to_bytes(descriptor);
        Answer { status: Status::CheckCondition, sense, ..Answer::good(0) }
    }

    /// What a failed command of `unit` is answered with; a fault of ours is counted.
    pub(super) fn of_failure(unit: &Unit, failure: &Failure) -> Answer {
        log::debug!("command failed: {failure}");
        if matches!(failure, Failure::Trap(error) if is_fault(error)) {
            unit.trap.ledger().note_error();
        }
        match failure.sense() {
            Some(sense) => Answer::refused(sense, unit.modes().descriptor_sense()),
            None => {
                let response = failure.response();
                let completes = response == ServiceResponse::Complete;
                let status = if completes { Status::Busy } else { Status::Good };
                Answer { status, response, ..Answer::good(0) }
            }
        }
    }
}

/// Whether something of ours failed, and not only the request asked for the impossible.
fn is_fault(error: &TrapError) -> bool {
    !error.is_counted_elsewhere()
        && !matches!(error, TrapError::OutOfRange { .. } | TrapError::ReadOnly)
}
