//! Devices: request bytes → command, outcome → status bytes.
//!
//! A device knows the trap below it and nothing of rings or sockets above it.

pub mod blk;
pub mod scsi;

use std::os::fd::RawFd;

use crate::clock::Moment;
use crate::media::{Completion, TransferId};
use crate::memory::Segments;
use crate::trap::Arrival;
use crate::units::QueueIndex;

/// A request as a device sees it.
#[derive(Debug)]
pub struct DeviceRequest {
    /// Where it comes from.
    pub arrival: Arrival,
    /// What the device may read.
    pub readable: Segments,
    /// What the device may write.
    pub writable: Segments,
    /// The chain asks for something impossible; the request must fail.
    pub flawed: bool,
}

/// The answer is in guest memory: this many bytes of the writable part were filled
/// (VIRTIO 1.2 §2.7.8.2, the used element's `len`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// Bytes written.
    pub written: u32,
}

/// There is no place to put an answer; the ring is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request leaves no place for its status: {0}")]
pub struct Unanswerable(pub String);

/// Why a unit can neither come nor go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlugError {
    /// The device is one disk.
    #[error("a virtio-blk device has no logical units: use --device scsi")]
    NoUnits,
    /// There never was such a unit.
    #[error("there is no logical unit {0}: each --blk-file is one, counted from 0")]
    NoUnit(u16),
}

/// How far a request got when it was taken up.
#[derive(Debug)]
pub enum BeginOutcome<H, U> {
    /// Completed.
    Done(Completed),
    /// Inside its window; [`Device::finish`] answers it.
    Held(H),
    /// Not answered, because a fault was injected that says so.
    Unanswered(LeftUnanswered<H>),
    /// Its data is in flight; [`Device::conclude`] answers it.
    InFlight(TransferId, U),
    /// Kept until there is a [`Device::event`], which goes to the place given.
    EventBuffer(Segments),
    /// Acts on the held requests of every queue before it is answered.
    TaskManagement(Box<dyn TaskManagement<H>>),
}

/// What is left of a request that an injected fault leaves unanswered: where its driver can ask for an end
/// to it (SCSI task management), it is kept for that; where it cannot, there is nothing to keep.
pub type LeftUnanswered<H> = Option<H>;

/// How a held request ended.
#[derive(Debug)]
pub enum Finished<H, U> {
    /// Completed.
    Completed(Completed),
    /// Not answered, because a fault was injected that says so.
    Unanswered(LeftUnanswered<H>),
    /// Its data is in flight; [`Device::conclude`] answers it.
    InFlight(TransferId, U),
}

/// A request that acts on held and unanswered requests (SCSI task management): it sees each of them, ends
/// those that it takes, and is answered after them.
pub trait TaskManagement<H>: Send + std::fmt::Debug {
    /// Whether it ends this one.
    fn takes(&mut self, held: &H) -> bool;
    /// Ends one that it takes; nothing of it is stored.
    fn end(&mut self, held: H) -> Result<Completed, Unanswerable>;
    /// All queues have been seen: answers the request itself.
    fn conclude(self: Box<Self>) -> Result<Completed, Unanswerable>;
}

/// A held request, as the schedule sees it.
pub trait InWindow: Send + std::fmt::Debug {
    /// When its doorbell sample was taken.
    fn rung(&self) -> Moment;
    /// How many bytes will be fetched.
    fn bytes(&self) -> u64;
}

/// A virtio device: features, configuration space and requests.
pub trait Device: Send + Sync + std::fmt::Debug + 'static {
    /// A request inside its window.
    type Held: InWindow;
    /// A request whose data is on its way to or from the medium.
    type InFlight: Send + std::fmt::Debug;

    /// The number of rings.
    fn queues(&self) -> u16;
    /// The virtio features offered.
    fn features(&self) -> u64;
    /// The driver took these features; a new driver begins.
    fn acknowledge(&self, features: u64);
    /// Exactly `size` bytes of the configuration space; what it does not have reads as zero.
    fn config(&self, offset: u32, size: u32) -> Vec<u8>;
    /// The driver writes to the configuration space; `false` where that is not allowed.
    fn set_config(&self, offset: u32, bytes: &[u8]) -> bool;
    /// Takes a request up to its answer or into its window.
    fn begin(
        &self,
        request: DeviceRequest,
    ) -> Result<BeginOutcome<Self::Held, Self::InFlight>, Unanswerable>;
    /// Ends a request's window: fetch, check, store, answer.
    fn finish(
        &self,
        held: Self::Held,
    ) -> Result<Finished<Self::Held, Self::InFlight>, Unanswerable>;
    /// Answers a request whose data has landed.
    fn conclude(
        &self,
        request: Self::InFlight,
        completion: Completion,
    ) -> Result<Completed, Unanswerable>;
    /// The front end resets the device.
    fn reset(&self) {}
    /// Follows images that have grown; answers whether the configuration space is another one now.
    fn notice_growth(&self) -> bool;
    /// Whether this queue's requests may be held, so that their bytes count against the budget.
    fn holds(&self, _queue: QueueIndex) -> bool {
        true
    }
    /// The queue with event buffers, and what becomes readable when there is an event.
    fn event_fd(&self) -> Option<(QueueIndex, RawFd)> {
        None
    }
    /// The next event, which goes to the next event buffer.
    fn event(&self) -> Option<Vec<u8>> {
        None
    }
    /// What event buffers come back with when their ring stops.
    fn no_event(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes a logical unit away from the driver, or gives it back; what is so already stays so.
    fn plug(&self, _lun: u16, _plugged: bool) -> Result<(), PlugError> {
        Err(PlugError::NoUnits)
    }
}
