//! Direct I/O: data goes between buffers of ours and the device, past the page cache.
//!
//! | file | what it knows |
//! |---|---|
//! | `room` | buffers that a device can reach |
//! | `engine` | an io_uring with the transfers that are under way in it |
//! | `extents` | locks that outlive the call that took them |
//! | `overlap` | a disk's reads and writes, begun here and ended there |
//!
//! A transfer that takes a while must not keep its queue from looking at the next doorbell, and a
//! device is only fast when it has several. So on a direct disk a write is fetched and judged, begun,
//! and concluded when its data has landed.

mod engine;
mod extents;
mod overlap;
mod room;

pub(super) use engine::Engine;
pub use engine::Ticket;
pub(super) use extents::{Extents, Hold};
pub use overlap::{Landed, Loaded};
pub(super) use room::Room;
