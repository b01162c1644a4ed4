//! READ, WRITE and WRITE AND VERIFY of every length, and COMPARE AND WRITE (SBC-4 §5.15, §5.43, §5.48,
//! §5.6).

use std::sync::Arc;

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::command::{Call, Reply, Task};
use super::failure::Failure;
use super::held::{HeldTask, TaskWrite, Work};
use super::protect;
use super::sense::Sense;
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{Checks, Source, Transfer, Tuple};
use crate::trap::{Arrival, Held, Swap, Write, WriteProtection, read, swap, write};
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
    if task.data_in.len() < length || (wants_pi && pi_room < protect::tuple_bytes(blocks.count)) {
        return Err(Failure::Overrun);
    }
    // At most MAX_TRANSFER_BYTES.
    let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut tuples = vec![Tuple::ESCAPE; usize::try_from(blocks.count.0).unwrap_or(0)];
    if blocks.count != BlockCount(0) {
        read::protected(&unit.trap, blocks.lba, &mut data, &mut tuples, &checks)?;
    }
    Ok(Reply::Blocks { lba: blocks.lba, data, tuples: wants_pi.then_some(tuples) })
}

/// WRITE(6), (10), (12), (16) and (32).
pub(super) fn write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let blocks = Blocks::of(&task.cdb);
    enter_window(call.unit, task, &blocks, |held| Work::Store { held, copies: BlockCount(1) })
}

/// BYTCHK 00b and 01b of WRITE AND VERIFY: the others are reserved.
const MEDIUM_ONLY: u8 = 0b00;
const BYTE_BY_BYTE: u8 = 0b01;

/// WRITE AND VERIFY(10), (12), (16) and (32): what was stored is read back through every check that
/// its tuples allow. With BYTCHK it is compared first, byte for byte, with the data that was fetched,
/// and its tuples with those that came with it, in the fields that VERIFY compares: the command has no
/// VRPROTECT, so WRPROTECT stands for it.
pub(super) fn write_and_verify(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of(&task.cdb));
    let compared = match blocks.byte_check() {
        MEDIUM_ONLY => None,
        BYTE_BY_BYTE => Some(protect::compared(unit, &blocks)?),
        _ => return Err(blocks.bad_flag(2)),
    };
    let Transfer { checks, .. } = protect::transfer(unit, &blocks, Source::VerifyMedium)?;
    let place = (blocks.lba, blocks.count);
    enter_window(unit, task, &blocks, |held| Work::ReadBack {
        held,
        blocks: place,
        checks,
        compared,
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
    blocks: &Blocks,
    work: impl FnOnce(Held) -> Work,
) -> Result<Reply, Failure> {
    let protection = protect::of_write(unit, blocks, task.pi_out)?;
    let length = admit(unit, blocks, &task.data_out, 1)?;
    if length == 0 {
        return Ok(Reply::Done);
    }
    let data = task.data_out.split_at(length).0;
    let held = write::sample(&unit.trap, write_of(task.arrival, blocks, data, protection))?;
    Ok(hold(unit, blocks, work(held), length))
}

/// Refuses a write that cannot be; answers the length of its blocks in bytes. It brings `times` as
/// many.
fn admit(unit: &Unit, blocks: &Blocks, data_out: &Segments, times: u64) -> Result<u64, Failure> {
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    require_writable(unit)?;
    let length = blocks.bytes(unit.geometry());
    if data_out.len() < length.saturating_mul(times) {
        return Err(Failure::Overrun);
    }
    Ok(length)
}

fn write_of(
    arrival: Arrival,
    blocks: &Blocks,
    data: Segments,
    protection: WriteProtection,
) -> Write {
    let Blocks { lba, count, .. } = *blocks;
    Write { arrival, lba, blocks: count, data, protection: Some(protection) }
}

fn hold(unit: &Arc<Unit>, blocks: &Blocks, work: Work, moved: u64) -> Reply {
    let durable = blocks.forces_unit_access() || !unit.modes().write_cache();
    let write = TaskWrite { unit: Arc::clone(unit), moved, durable };
    Reply::Held(Box::new(HeldTask { work, write }))
}

/// COMPARE AND WRITE: half of the data is compared, the other half written if it is the same. Both
/// halves go through one window and are fetched together; nothing is written in between what is
/// compared and what is written (SBC-4 §5.6).
pub(super) fn compare_and_write(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of_compare_and_write(&task.cdb));
    let (first, second) = protect::of_both_halves(unit, &blocks, task.pi_out)?;
    let half = admit(unit, &blocks, &task.data_out, 2)?;
    if half == 0 {
        return Ok(Reply::Done);
    }
    let (compared, rest) = task.data_out.split_at(half);
    let halves = Swap {
        compared: write_of(task.arrival, &blocks, compared, first),
        written: write_of(task.arrival, &blocks, rest.split_at(half).0, second),
    };
    let held = swap::sample(&unit.trap, halves)?;
    let checks = Checks::of_address(unit.geometry().pi_type, blocks.lba);
    Ok(hold(unit, &blocks, Work::Swap { held: Box::new(held), checks }, half.saturating_mul(2)))
}
