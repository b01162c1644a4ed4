//! What a queue has that does not change while it works.

use std::sync::Arc;

use super::control::WindowControl;
use crate::media::QueueIo;
use crate::proto::Device;
use crate::trap::Ledger;
use crate::units::QueueIndex;

/// One queue of a device: all but its ring, and what it has in hand.
#[derive(Debug)]
pub(super) struct Queue<D: Device> {
    pub(super) index: QueueIndex,
    pub(super) device: Arc<D>,
    pub(super) ledger: Arc<Ledger>,
    /// Where its reads and writes are in flight on direct disks.
    pub(super) io: QueueIo,
    pub(super) control: Arc<WindowControl>,
}
