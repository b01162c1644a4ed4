//! Commands about the unit's state and its cache (SPC-5 §6.38, §6.47; SBC-4 §5.29, §5.32).

use super::blocks::Blocks;
use super::cdb::Cdb;
use super::command::{Call, Parameters, Reply, Task};
use super::failure::Failure;
use super::sense::Sense;

/// TEST UNIT READY: the table has seen to everything that could be amiss.
pub(super) fn test_unit_ready(_: &Call<'_>, _: Task) -> Result<Reply, Failure> {
    Ok(Reply::Done)
}

/// DESC of REQUEST SENSE.
const DESC: u8 = 0x01;

/// REQUEST SENSE: attentions that are not told yet; sense data of failed commands went with them.
pub(super) fn request_sense(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let attention = call.unit.take_attention().map(|attention| attention.sense());
    let stopped = call.unit.is_stopped().then_some(Sense::STOPPED);
    let sense = attention.or(stopped).unwrap_or(Sense::NONE);
    let bytes = sense.to_bytes(task.cdb.bit(1, DESC));
    Ok(Reply::Parameters(Parameters { bytes, allocation: task.cdb.byte(4).into() }))
}

/// What REQUEST SENSE says where there is no unit.
pub(super) fn sense_of_no_unit(cdb: &Cdb) -> Parameters {
    Parameters { bytes: Sense::NO_UNIT.to_bytes(false), allocation: cdb.byte(4).into() }
}

// START STOP UNIT.
const LOEJ: u8 = 0x02;
const START: u8 = 0x01;
const NO_FLUSH: u8 = 0x04;

/// START STOP UNIT; power conditions and ejecting do not exist.
pub(super) fn start_stop(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    if task.cdb.byte(4) >> 4 != 0 {
        return Err(Sense::in_cdb_bit(4, 7).into());
    }
    if task.cdb.bit(4, LOEJ) {
        return Err(Sense::in_cdb_bit(4, 1).into());
    }
    let start = task.cdb.bit(4, START);
    if !start && !task.cdb.bit(4, NO_FLUSH) {
        call.unit.trap.flush()?;
    }
    call.unit.set_stopped(!start);
    Ok(Reply::Done)
}

/// PREVENT ALLOW MEDIUM REMOVAL: the medium cannot be removed, so preventing is easy.
pub(super) fn prevent_allow(_: &Call<'_>, _: Task) -> Result<Reply, Failure> {
    Ok(Reply::Done)
}

/// SYNCHRONIZE CACHE(10) and (16). All is flushed, whatever the range; zero blocks means up to the
/// end, which a flush covers too.
pub(super) fn synchronize_cache(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    Blocks::of(&task.cdb).check(call.unit.geometry(), u64::MAX)?;
    call.unit.trap.flush()?;
    Ok(Reply::Done)
}
