//! VERIFY (SBC-4 §5.38): read without transferring, compare where asked to.

use super::blocks::{Blocks, MAX_TRANSFER_BYTES};
use super::command::{Call, Reply, Task};
use super::failure::{Failure, sense_of_miscompare};
use super::protect;
use super::unit::Unit;
use crate::pi::{Checks, Compared, Source, Transfer, Tuple, guard};
use crate::trap::{Cause, TrapError, read};
use crate::units::BlockCount;

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
    let sent = match blocks.byte_check() {
        MEDIUM_ONLY => return verify_medium(unit, &blocks),
        ALL_BLOCKS => blocks.count,
        ONE_BLOCK => BlockCount(blocks.count.0.min(1)),
        _ => return Err(blocks.bad_flag(2)),
    };
    let comparison = Comparison::of(unit, &blocks)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    let bytes = sent.0.saturating_mul(unit.geometry().block_size.bytes_u64());
    if task.data_out.len() < bytes {
        return Err(Failure::Overrun);
    }
    let mut data = vec![0; usize::try_from(bytes).unwrap_or(0)];
    task.data_out.split_at(bytes).0.copy_out(&mut data)?;
    let pi = task.pi_out.filter(|_| comparison.data_out.carries_pi);
    let tuples = pi.map(|pi| protect::read_tuples(&protect::whole(pi, sent)?)).transpose()?;
    comparison.check_sent(&data, tuples.as_deref().unwrap_or_default())?;
    comparison.run(&data, tuples.as_deref())?;
    Ok(Reply::Consumed(bytes))
}

fn verify_medium(unit: &Unit, blocks: &Blocks) -> Result<Reply, Failure> {
    let Transfer { checks, .. } = protect::transfer(unit, blocks, Source::VerifyMedium)?;
    blocks.check(unit.geometry(), MAX_TRANSFER_BYTES)?;
    read::verify(&unit.trap, blocks.lba, blocks.count, &checks)?;
    Ok(Reply::Done)
}

/// A comparison of what was sent with what is stored.
struct Comparison<'a> {
    unit: &'a Unit,
    blocks: &'a Blocks,
    medium: Transfer,
    data_out: Transfer,
    fields: Compared,
}

impl<'a> Comparison<'a> {
    fn of(unit: &'a Unit, blocks: &'a Blocks) -> Result<Self, Failure> {
        Ok(Comparison {
            unit,
            blocks,
            medium: protect::transfer(unit, blocks, Source::CompareMedium)?,
            data_out: protect::transfer(unit, blocks, Source::CompareDataOut)?,
            fields: protect::compared(unit, blocks)?,
        })
    }

    fn block_bytes(&self) -> usize {
        self.unit.geometry().block_size.bytes()
    }

    /// Checks the tuples that were sent against the data that was sent.
    fn check_sent(&self, data: &[u8], tuples: &[Tuple]) -> Result<(), Failure> {
        let blocks = data.chunks_exact(self.block_bytes()).zip(tuples).zip(0u64..);
        for ((block, tuple), index) in blocks {
            let verdict = self.data_out.checks.verify(*tuple, guard(block), index);
            verdict.map_err(|mismatch| TrapError::Protection {
                lba: self.blocks.lba.offset(index),
                mismatch,
                cause: Cause::Found,
            })?;
        }
        Ok(())
    }

    /// Compares block by block; one block that was sent goes with all that are stored.
    fn run(&self, data: &[u8], tuples: Option<&[Tuple]>) -> Result<(), Failure> {
        let size = self.block_bytes();
        let mut sent = data.chunks_exact(size).cycle();
        let mut sent_tuples = tuples.map(|tuples| tuples.iter().cycle());
        let mut at = 0;
        while at < self.blocks.count.0 {
            let step = (self.blocks.count.0 - at).min(CHUNK_BYTES / size as u64);
            let (stored, stored_tuples) = self.read(at, step)?;
            let pairs = stored.chunks_exact(size).zip(&stored_tuples).zip(at..);
            for ((block, tuple), index) in pairs {
                let sent_tuple = sent_tuples.as_mut().and_then(Iterator::next);
                let check = sent_tuple.and_then(|sent| {
                    let sent = self.duplicate(*sent, tuples.map_or(1, <[Tuple]>::len), index);
                    self.fields.difference(self.unit.geometry().pi_type, *tuple, sent)
                });
                let same = sent.next() == Some(block);
                if !same || check.is_some() {
                    let lba = self.blocks.lba.offset(index);
                    return Err(sense_of_miscompare(check.filter(|_| same)).at(lba.0).into());
                }
            }
            at = at.saturating_add(step);
        }
        Ok(())
    }

    /// The tuple of block number `index` where `sent` tuples go with more blocks than that: one block
    /// is duplicated as WRITE SAME does it, so reference tags that are counted count on.
    fn duplicate(&self, tuple: Tuple, sent: usize, index: u64) -> Tuple {
        if sent > 1 {
            return tuple;
        }
        tuple.counted_on(self.unit.geometry().pi_type, u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Reads a part of the blocks; checks that count tags begin with the part's first.
    fn read(&self, at: u64, count: u64) -> Result<(Vec<u8>, Vec<Tuple>), Failure> {
        let count = usize::try_from(count).unwrap_or(0);
        let mut data = vec![0; count.saturating_mul(self.block_bytes())];
        let mut tuples = vec![Tuple::ESCAPE; count];
        let reference = self.medium.checks.expected_reference(at);
        let checks = Checks { reference, ..self.medium.checks };
        let lba = self.blocks.lba.offset(at);
        read::to_compare(&self.unit.trap, lba, &mut data, &mut tuples, &checks)?;
        Ok((data, tuples))
    }
}
