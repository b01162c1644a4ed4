//! Direct I/O: data goes between buffers of ours and the device, past the page cache.
//!
//! | file | what it knows |
//! |---|---|
//! | `engine` | an io_uring with the transfers that are in flight in it |
//! | `transfer` | a disk's blocks on their way, and what is done when they have landed |
//! | `queues` | an engine for each queue, shared by all disks |
//!
//! A transfer that takes a while must not keep its queue from looking at the next doorbell, and a
//! device is only fast when it has several. So on a direct disk a write is fetched, judged and started,
//! and concluded when its data has landed.

mod engine;
mod queues;
mod transfer;

pub use engine::TransferId;
pub(super) use engine::{Direction, Job};
pub use queues::{IoQueues, QueueIo};
pub(super) use transfer::BlockTransfer;
pub use transfer::{Blocks, Completion};
