//! The shape of a disk.

use crate::pi::PiType;
use crate::units::{BlockCount, BlockSize};

/// The shape of a disk; fixed while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The size of a logical block.
    pub block_size: BlockSize,
    /// How many there are.
    pub blocks: BlockCount,
    /// The protection type.
    pub pi_type: PiType,
    /// Whether writes are refused.
    pub read_only: bool,
}
