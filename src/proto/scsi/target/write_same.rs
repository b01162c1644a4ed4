//! WRITE SAME: one block over many (SBC-4 §5.52).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_SAME_BYTES};
use super::failure::Failure;
use super::held::{HeldTask, Work};
use super::protect;
use super::read_write::require_writable;
use super::run::{Call, Reply, Task};
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{Source, Transfer, guard};
use crate::trap::{Cause, TrapError, Write, WriteProtection};
use crate::units::{BlockCount, QueueIndex};

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
    // Zeros that bring protection information of their own keep it, unless they are unmapped.
    let brings_pi = transfer.carries_pi && task.pi_out.is_some();
    if bytes.iter().all(|byte| *byte == 0) && (blocks.has(UNMAP) || !brings_pi) {
        check_tuple(&blocks, &transfer, task.pi_out.as_ref(), &bytes)?;
        return clear(unit, &blocks, size);
    }
    let sent = task.pi_out.filter(|_| transfer.carries_pi);
    let tuples = sent.map(|sent| protect::whole(sent, BlockCount(1))).transpose()?;
    fill(unit, task.queue, &blocks, block, WriteProtection { tuples, checks: transfer.checks })
}

/// Checks the one tuple that was sent with zeros that are unmapped.
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

/// A write of the one block, which is stored many times: its guard and application tag are the same
/// for all, its reference tag counts on (SBC-4 §5.52).
fn fill(
    unit: &Arc<Unit>,
    queue: QueueIndex,
    blocks: &Blocks,
    block: Segments,
    protection: WriteProtection,
) -> Result<Reply, Failure> {
    let Blocks { lba, count: copies, .. } = *blocks;
    let moved = block.len();
    let write =
        Write { queue, lba, blocks: BlockCount(1), data: block, protection: Some(protection) };
    let held = unit.trap.doorbell(write)?;
    let durable = !unit.modes().write_cache();
    let unit = Arc::clone(unit);
    let work = Work::Store { held, copies };
    Ok(Reply::Held(Box::new(HeldTask { unit, work, moved, durable })))
}
