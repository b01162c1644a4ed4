//! Tuples to look at.

use std::fmt;
use std::ops::ControlFlow;

use super::{Image, ImageError};
use crate::media::backing::Access;
use crate::media::disk::Disk;
use crate::media::open;
use crate::pi::{Mismatch, Tuple, guard, verify};
use crate::units::{BlockCount, Lba};

/// One block's tuple, and whether it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpedBlock {
    /// The block.
    pub lba: Lba,
    /// Its tuple.
    pub tuple: Tuple,
    /// What verification says.
    pub verdict: Result<(), Mismatch>,
}

/// Hands the tuples of `count` blocks at `lba` to `each`, in order, until it has enough.
pub fn dump(
    image: &Image,
    lba: Lba,
    count: BlockCount,
    each: &mut dyn FnMut(DumpedBlock) -> ControlFlow<()>,
) -> Result<(), ImageError> {
    let disk = Disk::from_parts(open::open_as_header_says(
        &image.path,
        image.pi_file.as_deref(),
        Access::Read,
    )?);
    disk.require_range(lba, count)?;
    let geometry = disk.geometry();
    let mut block = vec![0; geometry.block_size.bytes()];
    let mut tuple = [Tuple::ESCAPE];
    for lba in (0..count.0).map(|index| lba.offset(index)) {
        disk.read(lba, &mut block, &mut tuple)?;
        let [tuple] = tuple;
        let verdict = verify(geometry.pi_type, tuple, guard(&block), lba);
        if each(DumpedBlock { lba, tuple, verdict }).is_break() {
            break;
        }
    }
    Ok(())
}

impl fmt::Display for DumpedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuple { guard, app, reference } = self.tuple;
        write!(
            f,
            "lba {} guard {:04x} app {:04x} ref {:08x}: ",
            self.lba, guard.0, app.0, reference.0
        )?;
        match self.verdict {
            Ok(()) if self.tuple == Tuple::ESCAPE => f.write_str("no tags"),
            Ok(()) => f.write_str("verifies"),
            Err(mismatch) => super::write_mismatch(f, mismatch),
        }
    }
}
