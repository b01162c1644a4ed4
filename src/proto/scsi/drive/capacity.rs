//! READ CAPACITY and GET LBA STATUS (SBC-4 §5.20, §5.21, §5.11).

use super::command::{Call, Parameters, Reply, Task};
use super::failure::Failure;
use super::sense::Sense;
use crate::units::Lba;

/// READ CAPACITY(10): a disk that is too large answers FFFFFFFFh.
pub(super) fn read_capacity_10(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    // SBC-4 §5.20.1: PMI is obsolete, so an address has nothing to say.
    if task.cdb.be32(2) != 0 {
        return Err(Sense::in_cdb(2).into());
    }
    let geometry = call.unit.geometry();
    let last = u32::try_from(geometry.blocks.0.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut bytes = last.to_be_bytes().to_vec();
    bytes.extend(u32::from(geometry.block_size).to_be_bytes());
    Ok(Reply::Parameters(Parameters { bytes, allocation: 8 }))
}

/// READ CAPACITY(16): PROT_EN, P_TYPE, LBPME, LBPRZ.
pub(super) fn read_capacity_16(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let geometry = call.unit.geometry();
    let mut bytes = geometry.blocks.0.saturating_sub(1).to_be_bytes().to_vec();
    bytes.extend(u32::from(geometry.block_size).to_be_bytes());
    // P_TYPE is 0 for Type 1; PROT_EN says whether it counts.
    let protection = match geometry.pi_type.number() {
        0 => 0,
        number => (number.saturating_sub(1) << 1) | 0x01,
    };
    let provisioning = if geometry.read_only { 0 } else { 0xC0 };
    bytes.extend([protection, 0, provisioning, 0]);
    bytes.resize(32, 0);
    Ok(Reply::Parameters(Parameters { bytes, allocation: task.cdb.be32(10).into() }))
}

/// PROVISIONING STATUS (SBC-4 table 57).
const MAPPED: u8 = 0;
const DEALLOCATED: u8 = 1;
/// The header and one descriptor.
const DESCRIPTOR_BYTES: u32 = 16;
/// The most descriptors in one answer: the rest is for another command.
const MAX_RUNS: usize = 64;

/// GET LBA STATUS.
pub(super) fn get_lba_status(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (mut lba, allocation) = (Lba(task.cdb.be64(2)), task.cdb.be32(10));
    let end = call.unit.geometry().blocks.0;
    if lba.0 >= end {
        return Err(Sense::OUT_OF_RANGE.into());
    }
    if allocation < 8 + DESCRIPTOR_BYTES {
        return Err(Sense::in_cdb(10).into());
    }
    let room = usize::try_from((allocation - 8) / DESCRIPTOR_BYTES).unwrap_or(MAX_RUNS);
    let mut list = Vec::new();
    for _ in 0..room.min(MAX_RUNS) {
        if lba.0 >= end {
            break;
        }
        let run = call.unit.trap.allocation(lba)?;
        let count = u32::try_from(run.blocks.0).unwrap_or(u32::MAX);
        list.extend(lba.0.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([if run.mapped { MAPPED } else { DEALLOCATED }, 0, 0, 0]);
        lba = lba.offset(count.into());
    }
    // PARAMETER DATA LENGTH counts from byte 4 on.
    let length = u32::try_from(list.len().saturating_add(4)).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(list);
    Ok(Reply::Parameters(Parameters { bytes, allocation: allocation.into() }))
}
