//! Injected faults carried out. What was injected has records of its own and is never counted as
//! found: the blocks that a fault spoiled are remembered until they are overwritten.

use std::sync::Arc;

use super::error::{Cause, TrapError};
use super::load::Load;
use super::service::Trap;
use super::tally::{Count, Span};
use super::write::{Write, WriteProtection};
use crate::inject::{Extent, Fault, Injector, Op, Place, Shot, Site, Spec, Stage, misdirected};
use crate::pi::{Checks, PiType, Tuple, guard};
use crate::record::{Inject, Record};
use crate::units::{BlockCount, BlockSize, Lba};

/// Why a fault cannot happen on this disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Blocks that there are not.
    #[error("lba={extent} is past the end of the disk, which has {blocks} blocks")]
    PastEnd {
        /// The blocks asked for.
        extent: Extent,
        /// How many there are.
        blocks: BlockCount,
    },
    /// A byte that a block does not have.
    #[error("byte={byte} is past the end of a block of {block_size} bytes")]
    PastBlock {
        /// The byte asked for.
        byte: u16,
        /// The size of a block.
        block_size: BlockSize,
    },
    /// A logical unit of a disk that has none.
    #[error("lun={0} needs --device scsi: leave it out")]
    NoUnits(u16),
    /// A change to a disk that was opened to be read.
    #[error("flip=…,at=medium cannot change a read-only disk: use at=out")]
    ReadOnly,
}

/// Where a write really goes.
struct Destination {
    lba: Lba,
    stored: BlockCount,
}

impl Trap {
    /// Draws faults from `injector`; so will the traps beside this one.
    #[must_use]
    pub fn with_injector(mut self, injector: Arc<Injector>) -> Self {
        self.injector = injector;
        self
    }

    /// Adds a fault, if it can happen: on this disk, unless it is meant for another logical unit.
    pub fn inject(&self, spec: Spec) -> Result<(), InjectError> {
        if let Some(lun) = spec.lun.filter(|_| self.options.device == "blk") {
            return Err(InjectError::NoUnits(lun));
        }
        if spec.lun.is_none_or(|lun| lun == self.lun()) {
            self.require_possible(spec)?;
        }
        self.injector.add(spec);
        Ok(())
    }

    fn lun(&self) -> u16 {
        self.options.lun.unwrap_or(0)
    }

    fn require_possible(&self, spec: Spec) -> Result<(), InjectError> {
        let geometry = self.geometry();
        if let Some(extent) = spec.blocks.filter(|extent| extent.first.0 >= geometry.blocks.0) {
            return Err(InjectError::PastEnd { extent, blocks: geometry.blocks });
        }
        if let Fault::Flip { byte, .. } = spec.fault
            && usize::from(byte) >= geometry.block_size.bytes()
        {
            return Err(InjectError::PastBlock { byte, block_size: geometry.block_size });
        }
        if spec.fault.flips_at(Place::Medium) && geometry.read_only {
            return Err(InjectError::ReadOnly);
        }
        Ok(())
    }

    /// Lets a request in, or answers it with a fault that was injected. Reads, writes and all else
    /// that the trap does ask by themselves; a device asks for what it does without the trap.
    pub fn admit(&self, op: Op, lba: Lba, blocks: BlockCount) -> Result<(), TrapError> {
        let shots = self.draw(op, lba, blocks, Stage::Arrival);
        let Some(shot) = shots.first() else { return Ok(()) };
        let Some(status) = shot.spec.fault.status(op) else { return Ok(()) };
        let lba = lba.offset(shot.index);
        self.note_injection(&self.tally.open(), shot, op, lba);
        Err(TrapError::Injected { status, lba: (blocks.0 > 0).then_some(lba) })
    }

    /// The faults that happen to a request's data.
    pub(super) fn shots(&self, op: Op, lba: Lba, blocks: BlockCount) -> Vec<Shot> {
        self.draw(op, lba, blocks, Stage::Data)
    }

    fn draw(&self, op: Op, lba: Lba, blocks: BlockCount, stage: Stage) -> Vec<Shot> {
        let site = Site { op, lun: self.lun(), lba, blocks, disk: self.geometry().blocks };
        self.injector.draw(&site, stage)
    }

    fn note_injection(&self, span: &Span, shot: &Shot, op: Op, lba: Lba) {
        self.tally.add(span, Count::Injected, 1);
        self.sink.emit(Record::Inject(Inject {
            t_us: self.now().micros(),
            spec: shot.spec.to_string(),
            lba,
            label: span.label().map(str::to_owned),
            op: op.name().to_owned(),
            lun: self.options.lun,
        }));
    }

    /// Stores a write to which faults happen; answers how many of its blocks are where they belong.
    ///
    /// `checks` are those that the drive makes of what arrives.
    pub(super) fn store_with_faults(
        &self,
        span: &Span,
        mut load: Load<'_>,
        checks: &Checks,
        shots: &[Shot],
    ) -> Result<BlockCount, TrapError> {
        let asked = (Op::Write, load.lba);
        let bytes = load.bytes.to_mut();
        self.flip_all(span, asked, Place::In, shots, bytes, &mut load.tuples);
        self.check_delivery(&load, checks, shots)?;
        let bytes = load.bytes.to_mut();
        self.flip_all(span, asked, Place::Medium, shots, bytes, &mut load.tuples);
        let Destination { lba, stored } = self.destination(span, &load, shots);
        let count = usize::try_from(stored.0).unwrap_or(usize::MAX);
        let bytes = load.bytes.get(..count.saturating_mul(self.block_bytes()));
        let tuples = load.tuples.get(..count).unwrap_or(&load.tuples);
        self.disk.write(lba, bytes.unwrap_or(&load.bytes), tuples)?;
        self.spoiled.take(lba, stored);
        let misplaced = lba != load.lba;
        self.remember(lba, stored, misplaced, shots);
        Ok(if misplaced { BlockCount(0) } else { stored })
    }

    /// Makes the flips of `shots` that happen at `place`, in blocks that begin with block `lba`.
    pub(super) fn flip_all(
        &self,
        span: &Span,
        (op, lba): (Op, Lba),
        place: Place,
        shots: &[Shot],
        bytes: &mut [u8],
        tuples: &mut [Tuple],
    ) {
        for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(place)) {
            let index = usize::try_from(shot.index).unwrap_or(usize::MAX);
            let block = bytes.chunks_exact_mut(self.block_bytes()).nth(index);
            if let (Some(block), Some(tuple)) = (block, tuples.get_mut(index)) {
                shot.spec.fault.flip(block, tuple);
                self.note_injection(span, shot, op, lba.offset(shot.index));
            }
        }
    }

    /// The drive's check of blocks that were hit on their way in.
    fn check_delivery(
        &self,
        load: &Load<'_>,
        checks: &Checks,
        shots: &[Shot],
    ) -> Result<(), TrapError> {
        for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(Place::In)) {
            let index = usize::try_from(shot.index).unwrap_or(usize::MAX);
            let block = load.bytes.chunks_exact(self.block_bytes()).nth(index);
            let (Some(block), Some(tuple)) = (block, load.tuples.get(index)) else { continue };
            if let Err(mismatch) = checks.verify(*tuple, guard(block), shot.index) {
                let lba = load.lba.offset(shot.index);
                return Err(TrapError::Protection { lba, mismatch, cause: Cause::Injected });
            }
        }
        Ok(())
    }

    fn destination(&self, span: &Span, load: &Load<'_>, shots: &[Shot]) -> Destination {
        let mut to = Destination { lba: load.lba, stored: load.blocks() };
        for shot in shots {
            match shot.spec.fault {
                Fault::Lost => to.stored = BlockCount(0),
                Fault::Torn(stored) => to.stored = to.stored.min(BlockCount(stored)),
                Fault::Misdirect(by) => to.lba = misdirected(load.lba, by).unwrap_or(load.lba),
                _ => continue,
            }
            self.note_injection(span, shot, Op::Write, load.lba.offset(shot.index));
        }
        to
    }

    /// Remembers what a write of `stored` blocks at `lba` spoiled: blocks that were hit, or, in
    /// another's place, all of them.
    fn remember(&self, lba: Lba, stored: BlockCount, misplaced: bool, shots: &[Shot]) {
        if misplaced {
            return (0..stored.0).for_each(|index| self.spoiled.add(lba.offset(index), ()));
        }
        let flips = shots.iter().filter(|shot| matches!(shot.spec.fault, Fault::Flip { .. }));
        for shot in flips.filter(|shot| shot.index < stored.0) {
            self.spoiled.add(lba.offset(shot.index), ());
        }
    }

    /// Spoils stored blocks just before they are read.
    pub(super) fn spoil_stored(
        &self,
        span: &Span,
        lba: Lba,
        shots: &[Shot],
    ) -> Result<(), TrapError> {
        for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(Place::Medium)) {
            let at = lba.offset(shot.index);
            let (mut block, mut tuple) = (vec![0; self.block_bytes()], [Tuple::ESCAPE]);
            self.disk.read(at, &mut block, &mut tuple)?;
            let first = [Shot { index: 0, ..*shot }];
            self.flip_all(span, (Op::Read, at), Place::Medium, &first, &mut block, &mut tuple);
            self.disk.write(at, &block, &tuple)?;
            self.spoiled.add(at, ());
        }
        Ok(())
    }
}

/// What the drive checks of blocks that arrive: what the command asks for, or, of tuples that were
/// generated on the way, all there is.
pub fn delivery_checks(kind: PiType, write: &Write) -> Checks {
    match &write.protection {
        Some(WriteProtection { tuples: Some(_), checks }) => *checks,
        _ => Checks { escapes: false, ..Checks::of_address(kind, write.lba) },
    }
}
