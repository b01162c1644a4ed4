//! WRITE SAME: one block over many (SBC-4 §5.52).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::failure::Failure;
use super::protect;
use super::read_write::require_writable;
use super::run::{Call, HeldTask, Reply, Task};
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{Source, Transfer, guard};
use crate::trap::{Cause, TrapError, Write};
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
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
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
    check_tuple(&blocks, &transfer, task.pi_out.as_ref(), &bytes)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return clear(unit, &blocks, size);
    }
    fill(unit, &task, &blocks, &block)
}

/// Checks the one tuple that was sent; those of the blocks are generated from it on (SBC-4 §5.52:
/// the reference tag counts on, the guard is the same).
fn check_tuple(
    blocks: &Blocks,
    transfer: &Transfer,
    sent: Option<&Segments>,
    block: &[u8],
) -> Result<(), Failure> {
    let Some(sent) = sent.filter(|_| transfer.carries_pi) else { return Ok(()) };
    let tuples = protect::read_tuples(&protect::whole(sent.clone(), BlockCount(1))?)?;
    let Some(tuple) = tuples.first() else { return Ok(()) };
    transfer.checks.verify(*tuple, guard(block), 0).map_err(|mismatch| {
        TrapError::Protection { lba: blocks.lba, mismatch, cause: Cause::Found }.into()
    })
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

/// A write like any other, of a list in which the one block stands many times.
fn fill(
    unit: &Arc<Unit>,
    task: &Task,
    blocks: &Blocks,
    block: &Segments,
) -> Result<Reply, Failure> {
    let Blocks { lba, count, .. } = *blocks;
    let data = block.repeated(count.0);
    let held = unit.trap.doorbell(Write {
        queue: task.queue,
        lba,
        blocks: count,
        data,
        protection: None,
    })?;
    let durable = !unit.modes().write_cache();
    let (unit, moved) = (Arc::clone(unit), block.len());
    Ok(Reply::Held(Box::new(HeldTask { unit, held, moved, durable, read_back: None })))
}
