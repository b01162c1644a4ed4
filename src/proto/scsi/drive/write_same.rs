//! WRITE SAME: one block over many (SBC-4 §5.52).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_SAME_BYTES};
use super::command::{Call, Reply, Task};
use super::failure::Failure;
use super::held::{HeldTask, TaskWrite, Work};
use super::protect;
use super::read_write::require_writable;
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{Checks, Source, Tuple};
use crate::trap::{Arrival, Write, WriteProtection, write};
use crate::units::BlockCount;

/// ANCHOR: there are no anchored blocks.
const ANCHOR: u8 = 0x10;
/// UNMAP.
const UNMAP: u8 = 0x08;
/// NDOB: no data is sent, zeros are meant. (16) and (32) have it.
const NDOB: u8 = 0x01;

/// WRITE SAME(10), (16) and (32).
pub(super) fn write_same(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of(&task.cdb));
    let transfer = protect::transfer(unit, &blocks, Source::Write)?;
    if blocks.has(ANCHOR) {
        return Err(blocks.bad_flag(4));
    }
    // WSNZ in the Block Limits page.
    if blocks.count == BlockCount(0) {
        return Err(blocks.bad_count());
    }
    blocks.check(unit.geometry(), MAX_SAME_BYTES)?;
    require_writable(unit)?;
    if blocks.has(NDOB) {
        return clear(unit, &blocks, 0);
    }
    let size = unit.geometry().block_size.bytes_u64();
    if task.data_out.len() < size {
        return Err(Failure::Overrun);
    }
    let (block, _) = task.data_out.clone().split_at(size);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    block.copy_out(&mut bytes)?;
    let sent = task.pi_out.filter(|_| transfer.carries_pi);
    let tuples = sent.map(|sent| protect::whole(sent, BlockCount(1))).transpose()?;
    let escaped = tuples.as_ref().map(is_all_ones).transpose()?;
    // SBC-4 §4.7.3.4.4: unmapped is what reads back as it was written, zeros with tuples of FFh; of
    // zeros without protection information the tuples are for the unit to choose.
    let may_clear = escaped.is_none_or(|escaped| escaped && blocks.has(UNMAP));
    if may_clear && bytes.iter().all(|byte| *byte == 0) {
        return clear(unit, &blocks, size);
    }
    let checks = match escaped {
        Some(true) => Checks::none(unit.geometry().pi_type),
        _ => transfer.checks,
    };
    fill(unit, task.arrival, &blocks, block, WriteProtection { tuples, checks })
}

/// SBC-4 §5.52: protection information of FFh alone is stored as it is with every block.
fn is_all_ones(tuples: &Segments) -> Result<bool, Failure> {
    Ok(protect::read_tuples(tuples)?.iter().all(|tuple| *tuple == Tuple::ESCAPE))
}

/// Zeros: unmapped where UNMAP is set (their tuples are escaped), written where it is not.
fn clear(unit: &Unit, blocks: &Blocks, consumed: u64) -> Result<Reply, Failure> {
    let _shared = unit.share();
    if blocks.has(UNMAP) {
        unit.trap.discard(blocks.lba, blocks.count)?;
    } else {
        unit.trap.write_zeroes(blocks.lba, blocks.count, false)?;
    }
    if !unit.modes().write_cache() {
        unit.trap.persist()?;
    }
    Ok(Reply::Consumed(consumed))
}

/// A write of the one block, which is stored many times: the guard and the application tag that came
/// with it are the same for all, its reference tag counts on with Types 1 and 2 (SBC-4 §5.52). What
/// did not come is generated.
fn fill(
    unit: &Arc<Unit>,
    arrival: Arrival,
    blocks: &Blocks,
    block: Segments,
    protection: WriteProtection,
) -> Result<Reply, Failure> {
    let Blocks { lba, count: copies, .. } = *blocks;
    let moved = block.len();
    let request =
        Write { arrival, lba, blocks: BlockCount(1), data: block, protection: Some(protection) };
    let held = write::sample(&unit.trap, request)?;
    let durable = !unit.modes().write_cache();
    let work = Work::Store { held, copies };
    let write = TaskWrite { unit: Arc::clone(unit), moved, durable };
    Ok(Reply::Held(Box::new(HeldTask { work, write })))
}
