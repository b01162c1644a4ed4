//! Which protection information travels with a command: RDPROTECT and WRPROTECT against the disk's
//! type (SBC-4 §4.21, §5.15, §5.46).

use super::blocks::Blocks;
use super::failure::Failure;
use super::sense::Sense;
use crate::pi::PiType;

/// Refuses what the disk's type does not allow.
pub fn check(blocks: &Blocks, kind: PiType) -> Result<(), Failure> {
    let long = blocks.tags.is_some();
    match kind {
        // 32-byte commands belong to Type 2 (SBC-4 §5.19).
        PiType::None | PiType::Type1 | PiType::Type3 if long => Err(Sense::INVALID_OPCODE.into()),
        PiType::None if blocks.protect != 0 => Err(blocks.bad_flag(7)),
        // SBC-4 §5.16: with Type 2, shorter commands carry no protection information.
        PiType::Type2 if !long && blocks.protect != 0 => Err(Sense::INVALID_OPCODE.into()),
        _ if blocks.protect > 5 => Err(blocks.bad_flag(7)),
        _ => Ok(()),
    }
}
