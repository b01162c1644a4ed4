//! The other queues of a device, for a request that acts on all of them.

use crate::proto::{Device, TaskManagement};

/// The other queues of the device.
pub(super) trait PeerQueues<D: Device> {
    /// Lets task management end what it takes of theirs.
    fn end(&self, management: &mut dyn TaskManagement<D::Held>);
}

/// A queue that is alone: what comes by it while it drains, or while task management is at it, acts on
/// nothing.
pub(super) struct NoPeers;

impl<D: Device> PeerQueues<D> for NoPeers {
    fn end(&self, _management: &mut dyn TaskManagement<D::Held>) {}
}
