//! VERIFY (SBC-4 §5.38): read without transferring, compare where asked to.

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::failure::Failure;
use super::protect;
use super::read_write::first_difference;
use super::run::{Call, Reply, Task};
use super::sense::Sense;
use super::unit::Unit;
use crate::units::{BlockCount, Lba};

/// BYTCHK 00b: only the medium is verified.
const MEDIUM_ONLY: u8 = 0b00;
/// BYTCHK 01b: the data that was sent is compared.
const ALL_BLOCKS: u8 = 0b01;
/// BYTCHK 11b: the one block that was sent is compared with each.
const ONE_BLOCK: u8 = 0b11;

/// How much is read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// VERIFY(10), (12), (16) and (32).
pub(super) fn verify(call: &Call<'_>, task: Task) -> Result<Reply, Failure> {
    let (unit, blocks) = (call.unit, Blocks::of(&task.cdb));
    protect::check(&blocks, unit.geometry().pi_type)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    let length = blocks.bytes(unit.geometry());
    let sent = match blocks.byte_check() {
        MEDIUM_ONLY => {
            read_back(unit, blocks.lba, length)?;
            return Ok(Reply::Done);
        }
        ALL_BLOCKS => length,
        ONE_BLOCK if length == 0 => 0,
        ONE_BLOCK => unit.geometry().block_size.bytes_u64(),
        _ => return Err(blocks.bad_flag(2)),
    };
    if task.data_out.len() < sent {
        return Err(Failure::Overrun);
    }
    let mut data = vec![0; usize::try_from(sent).unwrap_or(0)];
    task.data_out.split_at(sent).0.copy_out(&mut data)?;
    compare(unit, &blocks, &data)?;
    Ok(Reply::Consumed(sent))
}

/// Compares each block with its part of `data`, or with all of it where it is one block.
fn compare(unit: &Unit, blocks: &Blocks, data: &[u8]) -> Result<(), Failure> {
    let size = unit.geometry().block_size.bytes();
    let mut sent = data.chunks_exact(size).cycle();
    for_each_chunk(unit, blocks.lba, blocks.bytes(unit.geometry()), &mut |lba, chunk| {
        for (stored, index) in chunk.chunks_exact(size).zip(0u64..) {
            let same = sent.next().is_some_and(|sent| first_difference(sent, stored).is_none());
            if !same {
                return Err(Sense::MISCOMPARE.at(lba.offset(index).0).into());
            }
        }
        Ok(())
    })
}

/// Reads blocks through every check.
pub(super) fn read_back(unit: &Unit, lba: Lba, bytes: u64) -> Result<(), Failure> {
    for_each_chunk(unit, lba, bytes, &mut |_, _| Ok(()))
}

fn for_each_chunk(
    unit: &Unit,
    lba: Lba,
    bytes: u64,
    each: &mut dyn FnMut(Lba, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let size = unit.geometry().block_size.bytes_u64();
    let mut buffer = vec![0; usize::try_from(bytes.min(CHUNK_BYTES)).unwrap_or(0)];
    let (mut at, mut left) = (lba, bytes);
    while left > 0 {
        let step = left.min(CHUNK_BYTES);
        let chunk = buffer.get_mut(..usize::try_from(step).unwrap_or(0)).unwrap_or_default();
        unit.trap.read(at, chunk)?;
        each(at, chunk)?;
        at = at.checked_add(BlockCount(step / size)).unwrap_or(at);
        left -= step;
    }
    Ok(())
}
