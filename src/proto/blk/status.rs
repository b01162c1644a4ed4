//! Outcomes → the status byte (VIRTIO 1.2 §5.2.6). The one place that maps them.

use virtio_bindings::virtio_blk::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP};

use super::request::RequestError;
use crate::inject::Status;
use crate::memory::MemoryError;
use crate::trap::TrapError;

/// Why a request failed, before it becomes a byte.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request itself.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The trap or the medium below it.
    #[error(transparent)]
    Trap(#[from] TrapError),
    /// The chain, which was found flawed when it was walked.
    #[error("its descriptor chain is flawed")]
    Flawed,
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Failure::Trap(error.into())
    }
}

impl Failure {
    /// Races and injected faults are what the trap is for, and no errors of the device.
    pub fn is_counted_elsewhere(&self) -> bool {
        matches!(self, Failure::Trap(error) if error.is_counted_elsewhere())
    }

    /// A fault was injected that keeps the request from ever being answered.
    pub fn is_silence(&self) -> bool {
        let silent = |status: &Status| *status == Status::NoAnswer;
        matches!(self, Failure::Trap(TrapError::Injected { status, .. }) if silent(status))
    }
}

/// The status byte of an outcome.
pub fn status_byte<T>(outcome: &Result<T, Failure>) -> u8 {
    let code = match outcome {
        Ok(_) => VIRTIO_BLK_S_OK,
        Err(Failure::Request(RequestError::Unsupported)) => VIRTIO_BLK_S_UNSUPP,
        Err(_) => VIRTIO_BLK_S_IOERR,
    };
    // The three codes are 0, 1 and 2.
    u8::try_from(code).unwrap_or(1)
}
