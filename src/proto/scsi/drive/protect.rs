//! The protection information of a command: the protect field against the disk's type and the Control
//! mode page, and the tuples that travel with the data. The rules themselves are [`crate::pi::Protect`].

use super::blocks::Blocks;
use super::failure::Failure;
use super::sense::Sense;
use super::unit::Unit;
use crate::memory::Segments;
use crate::pi::{
    Checks, Compared, Expected, Protect, Refusal, Source, TUPLE_BYTES, Transfer, Tuple,
};
use crate::trap::WriteProtection;
use crate::units::BlockCount;

/// What the protect field of a command comes to for one of its sides.
pub fn transfer(unit: &Unit, blocks: &Blocks, source: Source) -> Result<Transfer, Failure> {
    fields(unit, blocks).transfer(source).map_err(|refusal| refuse(blocks, refusal))
}

/// The fields of the tuples that a verification compares.
pub fn compared(unit: &Unit, blocks: &Blocks) -> Result<Compared, Failure> {
    fields(unit, blocks).compared().map_err(|refusal| refuse(blocks, refusal))
}

fn fields(unit: &Unit, blocks: &Blocks) -> Protect {
    Protect {
        field: blocks.protect,
        kind: unit.geometry().pi_type,
        ato: unit.modes().client_owns_app_tag(),
        lba: blocks.lba,
        expected: blocks.tags.map(|tags| Expected::new(tags.reference, tags.app, tags.mask)),
    }
}

fn refuse(blocks: &Blocks, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::InvalidField => blocks.bad_flag(7),
        Refusal::InvalidOpcode => Sense::INVALID_OPCODE.into(),
    }
}

/// What a write brings: its tuples where it carries any. Where WRPROTECT asks for protection
/// information and none came, the unit generates it.
pub fn of_write(
    unit: &Unit,
    blocks: &Blocks,
    sent: Option<Segments>,
) -> Result<WriteProtection, Failure> {
    let Transfer { carries_pi, checks } = transfer(unit, blocks, Source::Write)?;
    let tuples = sent.filter(|_| carries_pi).map(|sent| whole(sent, blocks.count)).transpose()?;
    Ok(WriteProtection { tuples, checks })
}

/// What both halves of a COMPARE AND WRITE bring: the tuples of the first half come first. Those are
/// part of the command and of no use: nothing is checked or compared of them.
pub fn of_both_halves(
    unit: &Unit,
    blocks: &Blocks,
    sent: Option<Segments>,
) -> Result<(WriteProtection, WriteProtection), Failure> {
    let halves = sent.map(|sent| sent.split_at(tuple_bytes(blocks.count)));
    let (first, second) = halves.unzip();
    let unused = Checks::none(unit.geometry().pi_type);
    let first = WriteProtection { checks: unused, ..of_write(unit, blocks, first)? };
    Ok((first, of_write(unit, blocks, second)?))
}

/// As many tuples as there are blocks; more are ignored.
pub fn whole(sent: Segments, count: BlockCount) -> Result<Segments, Failure> {
    let bytes = tuple_bytes(count);
    if sent.len() < bytes {
        return Err(Failure::Overrun);
    }
    Ok(sent.split_at(bytes).0)
}

/// Copies tuples out of the initiator's memory.
pub fn read_tuples(sent: &Segments) -> Result<Vec<Tuple>, Failure> {
    let mut bytes = vec![0; usize::try_from(sent.len()).unwrap_or(0)];
    sent.copy_out(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect())
}

/// How many bytes of protection information go with so many blocks.
pub fn tuple_bytes(blocks: BlockCount) -> u64 {
    blocks.0.saturating_mul(TUPLE_BYTES as u64)
}
