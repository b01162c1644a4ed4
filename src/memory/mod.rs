//! Guest memory: scatter lists that are checked once and copied, never borrowed.
//!
//! What holds everywhere above this module:
//! - guest memory is never a `&[u8]`: the guest may change it at any moment, so bytes are copied out
//!   and only the copy is looked at;
//! - a segment that exists was inside guest memory when it was made, and the mapping it was checked
//!   against stays alive as long as the segment list does, whatever the front end unmaps meanwhile;
//! - one call copies each guest byte once;
//! - a copy in which a page was gone, because the front end took it away, is an error.

pub mod deliver;
mod loss;
mod map;
mod pool;
pub mod resample;
mod segments;
mod sigbus;

pub use loss::{Watched, is_lost};
pub use map::MemoryMap;
pub(crate) use pool::listed;
pub use pool::{Buffer, List, Listed, Pooled};
pub use segments::{MemoryError, Segment, Segments};
pub use sigbus::{Owner, Watch, any_guest_lost};

use crate::pi::{GuardTag, Tuple};

listed!(Segment, GuardTag, Tuple);
