//! READ, WRITE and WRITE AND VERIFY of every length, and COMPARE AND WRITE (SBC-4 §5.15, §5.43, §5.48,
//! §5.6).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::failure::Failure;
use super::protect;
use super::run::{Call, HeldTask, ReadBack, Reply, Task, tuple_bytes};
use super::sense::Sense;
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{Checks, Source, Transfer, Tuple};
use crate::trap::Write;
use crate::units::BlockCount;

/// READ(6), (10), (12), (16) and (32).
pub(super) fn read(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of(&task.cdb));
    let Transfer { carries_pi, checks } = protect::transfer(unit, &blocks, Source::Read)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    if blocks.forces_unit_access() {
        // SBC-4 §5.16: what the cache holds goes to the medium first.
        unit.trap.persist()?;
    }
    let length = blocks.bytes(unit.geometry());
    let wants_pi = carries_pi && task.pi_in.is_some();
    let pi_room = task.pi_in.as_ref().map_or(0, Segments::len);
    if task.data_in.len() < length || (wants_pi && pi_room < tuple_bytes(blocks.count)) {
        return Err(Failure::Overrun);
    }
    // At most MAX_TRANSFER_BYTES.
    let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut tuples = vec![Tuple::ESCAPE; usize::try_from(blocks.count.0).unwrap_or(0)];
    if blocks.count != BlockCount(0) {
        unit.trap.read_protected(blocks.lba, &mut data, &mut tuples, &checks)?;
    }
    Ok(Reply::Blocks { data, tuples: wants_pi.then_some(tuples) })
}

/// WRITE(6), (10), (12), (16) and (32).
pub(super) fn write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    enter_window(call.unit, task, |_| Ok(None))
}

/// WRITE AND VERIFY(10), (12), (16) and (32): what was stored is read back through every check that
/// its tuples allow. With BYTCHK the data would be compared byte by byte; reading it a second time
/// would be a sample of its own, so the guard computed over the stored bytes stands for it.
pub(super) fn write_and_verify(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    enter_window(call.unit, task, |blocks| {
        if blocks.byte_check() > 1 {
            return Err(blocks.bad_flag(2));
        }
        let Transfer { checks, .. } = protect::transfer(call.unit, blocks, Source::VerifyMedium)?;
        Ok(Some(ReadBack { lba: blocks.lba, count: blocks.count, checks }))
    })
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
    read_back: impl FnOnce(&Blocks) -> Result<Option<ReadBack>, Failure>,
) -> Result<Reply, Failure> {
    let blocks = Blocks::of(&task.cdb);
    let protection = protect::of_write(unit, &blocks, task.pi_out)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    let read_back = read_back(&blocks)?;
    require_writable(unit)?;
    let length = blocks.bytes(unit.geometry());
    if task.data_out.len() < length {
        return Err(Failure::Overrun);
    }
    if blocks.count == BlockCount(0) {
        return Ok(Reply::Done);
    }
    let Blocks { lba, count, .. } = blocks;
    let (data, protection) = (task.data_out.split_at(length).0, Some(protection));
    let write = Write { queue: task.queue, lba, blocks: count, data, protection };
    let held = unit.trap.doorbell(write)?;
    let durable = blocks.forces_unit_access() || !unit.modes().write_cache();
    let (unit, moved) = (Arc::clone(unit), length);
    Ok(Reply::Held(Box::new(HeldTask {
        unit,
        held,
        copies: BlockCount(1),
        moved,
        durable,
        read_back,
    })))
}

/// COMPARE AND WRITE: half of the data is compared, the other half written if it is the same. Both
/// halves are taken at once, and nothing is written in between (SBC-4 §5.6).
pub(super) fn compare_and_write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of_compare_and_write(&task.cdb));
    // The tuples of the first half come first.
    let pi = task.pi_out.map(|sent| sent.split_at(tuple_bytes(blocks.count)).1);
    let protection = protect::of_write(unit, &blocks, pi)?;
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
    let _alone = unit.alone();
    compare(unit, &blocks, &compared)?;
    let Blocks { lba, count, .. } = blocks;
    let (data, protection) = (rest.split_at(half).0, Some(protection));
    let write = Write { queue: task.queue, lba, blocks: count, data, protection };
    unit.trap.fetch(unit.trap.doorbell(write)?)?;
    if blocks.forces_unit_access() || !unit.modes().write_cache() {
        unit.trap.persist()?;
    }
    Ok(Reply::Consumed(half.saturating_mul(2)))
}

/// SBC-4 §5.6: INFORMATION is the offset of the first byte that differs.
fn compare(unit: &Unit, blocks: &Blocks, sent: &Segments) -> Result<(), Failure> {
    let mut expected = vec![0; usize::try_from(sent.len()).unwrap_or(0)];
    sent.copy_out(&mut expected)?;
    let mut found = vec![0; expected.len()];
    let mut tuples = vec![Tuple::ESCAPE; usize::try_from(blocks.count.0).unwrap_or(0)];
    let checks = Checks::of_address(unit.geometry().pi_type, blocks.lba);
    unit.trap.read_to_compare(blocks.lba, &mut found, &mut tuples, &checks)?;
    match expected.iter().zip(&found).position(|(sent, stored)| sent != stored) {
        Some(offset) => Err(Sense::MISCOMPARE.at(offset as u64).into()),
        None => Ok(()),
    }
}
