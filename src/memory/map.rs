//! The guest's memory as a whole.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

/// The guest's memory as one connection mapped it; shared, and alive while anybody holds it.
pub type MemoryMap = Arc<GuestMemoryMmap<()>>;
