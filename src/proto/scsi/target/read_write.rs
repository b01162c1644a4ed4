//! READ, WRITE and WRITE AND VERIFY of every length, and COMPARE AND WRITE (SBC-4 §5.15, §5.43, §5.48,
//! §5.6).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::failure::Failure;
use super::protect;
use super::run::{Call, HeldTask, Reply, Task};
use super::sense::Sense;
use super::unit::Unit;
use crate::pi::generate;
use crate::trap::Write;
use crate::units::BlockCount;

/// READ(6), (10), (12), (16) and (32).
pub(super) fn read(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, checked(call.unit, &task)?);
    if blocks.forces_unit_access() {
        // SBC-4 §5.16: what the cache holds goes to the medium first.
        unit.trap.persist()?;
    }
    let length = blocks.bytes(unit.geometry());
    if task.data_in.len() < length {
        return Err(Failure::Overrun);
    }
    // At most MAX_TRANSFER_BYTES.
    let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
    if blocks.count != BlockCount(0) {
        unit.trap.read(blocks.lba, &mut data)?;
    }
    let geometry = unit.geometry();
    let tuples = (blocks.protect != 0 && task.pi_in.is_some()).then(|| {
        data.chunks_exact(geometry.block_size.bytes())
            .zip(0u64..)
            .map(|(block, index)| generate(geometry.pi_type, block, blocks.lba.offset(index)))
            .collect()
    });
    Ok(Reply::Blocks { data, tuples })
}

/// WRITE(6), (10), (12), (16) and (32).
pub(super) fn write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let blocks = checked(call.unit, &task)?;
    enter_window(call.unit, task, &blocks, false)
}

/// WRITE AND VERIFY(10), (12), (16) and (32): what was stored is read back through every check. With
/// BYTCHK the data would be compared byte by byte; reading it a second time would be a sample of its
/// own, so the guard computed over the stored bytes stands for it.
pub(super) fn write_and_verify(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let blocks = checked(call.unit, &task)?;
    if blocks.byte_check() > 1 {
        return Err(blocks.bad_flag(2));
    }
    enter_window(call.unit, task, &blocks, true)
}

fn checked(unit: &Unit, task: &Task) -> Result<Blocks, Failure> {
    let blocks = Blocks::of(&task.cdb);
    protect::check(&blocks, unit.geometry().pi_type)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    Ok(blocks)
}

/// Refuses a change that the client or the disk forbids.
pub(super) fn require_writable(unit: &Unit) -> Result<(), Failure> {
    if unit.geometry().read_only || unit.modes().write_protect() {
        return Err(Sense::WRITE_PROTECTED.into());
    }
    Ok(())
}

fn enter_window(
    unit: &Arc<Unit>,
    task: Task,
    blocks: &Blocks,
    read_back: bool,
) -> Result<Reply, Failure> {
    require_writable(unit)?;
    let length = blocks.bytes(unit.geometry());
    if task.data_out.len() < length {
        return Err(Failure::Overrun);
    }
    if blocks.count == BlockCount(0) {
        return Ok(Reply::Done);
    }
    let (data, _) = task.data_out.split_at(length);
    let Blocks { lba, count, .. } = *blocks;
    let held = unit.trap.doorbell(Write { queue: task.queue, lba, blocks: count, data })?;
    let durable = blocks.forces_unit_access() || !unit.modes().write_cache();
    let (unit, moved) = (Arc::clone(unit), length);
    Ok(Reply::Held(Box::new(HeldTask { unit, held, lba, moved, durable, read_back })))
}

/// COMPARE AND WRITE: half of the data is compared, the other half written if it is the same. Both
/// halves are taken at once, and nothing is written in between (SBC-4 §5.6).
pub(super) fn compare_and_write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let unit = call.unit;
    let blocks = Blocks::of_compare_and_write(&task.cdb);
    protect::check(&blocks, unit.geometry().pi_type)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    require_writable(unit)?;
    let half = blocks.bytes(unit.geometry());
    if task.data_out.len() < half.saturating_mul(2) {
        return Err(Failure::Overrun);
    }
    if half == 0 {
        return Ok(Reply::Done);
    }
    let (compared, rest) = task.data_out.split_at(half);
    let (data, _) = rest.split_at(half);
    let mut expected = vec![0; usize::try_from(half).unwrap_or(0)];
    compared.copy_out(&mut expected)?;
    let _alone = unit.alone();
    let mut found = vec![0; expected.len()];
    unit.trap.read(blocks.lba, &mut found)?;
    if let Some(offset) = first_difference(&expected, &found) {
        // SBC-4 §5.6: INFORMATION is the offset of the first byte that differs.
        return Err(Sense::MISCOMPARE.at(offset).into());
    }
    let Blocks { lba, count, .. } = blocks;
    let held = unit.trap.doorbell(Write { queue: task.queue, lba, blocks: count, data })?;
    unit.trap.fetch(held)?;
    if blocks.forces_unit_access() || !unit.modes().write_cache() {
        unit.trap.persist()?;
    }
    Ok(Reply::Consumed(half.saturating_mul(2)))
}

/// Where two pieces of data begin to differ.
pub(super) fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    one.iter().zip(other).position(|(one, other)| one != other).and_then(|at| at.try_into().ok())
}
