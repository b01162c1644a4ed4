//! Injected faults carried out. What was injected has records of its own and is never counted as
//! found: the blocks that a fault spoiled are remembered until they are overwritten.

use std::sync::Arc;

use super::by_block::{ByBlock, Place as Block};
use super::error::{Cause, TrapError};
use super::ledger::Ledger;
use super::load::{Load, Moving};
use super::tally::Span;
use crate::inject::{Extent, Fault, Injector, Place, Shot, Site, Spec, Stage, misdirected};
use crate::media::Geometry;
use crate::pi::{Checks, guard};
use crate::record::Inject;
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

/// The faults of a daemon, for all its disks and queues.
#[derive(Debug)]
pub struct Faults {
    injector: Injector,
    /// Blocks that an injected fault spoiled.
    spoiled: ByBlock<()>,
    ledger: Arc<Ledger>,
}

/// Where a write really goes.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) lba: Lba,
    pub(super) stored: BlockCount,
}

impl Faults {
    /// No faults yet; probabilities are drawn from `seed`.
    pub fn new(seed: u64, ledger: Arc<Ledger>) -> Self {
        Faults { injector: Injector::new(seed), spoiled: ByBlock::default(), ledger }
    }

    /// Whether any fault is still to come.
    pub(super) fn are_armed(&self) -> bool {
        self.injector.is_armed()
    }

    /// Adds a fault, which has been found to be possible.
    pub(super) fn add(&self, spec: Spec) {
        self.injector.add(spec);
    }

    /// Lets a request in, or answers it with a fault that was injected.
    pub(super) fn admit(&self, site: &Site) -> Result<(), TrapError> {
        let shots = self.injector.draw(site, Stage::Arrival);
        let Some(shot) = shots.first() else { return Ok(()) };
        let Some(status) = shot.spec.fault.status(site.op) else { return Ok(()) };
        self.note(&self.ledger.span(), site, shot);
        let lba = site.lba.offset(shot.index);
        Err(TrapError::Injected { status, lba: (site.blocks.0 > 0).then_some(lba) })
    }

    /// The faults that happen to a request's data.
    pub(super) fn shots(&self, site: &Site) -> Vec<Shot> {
        self.injector.draw(site, Stage::Data)
    }

    /// Counts and records that a fault happened.
    fn note(&self, span: &Span, site: &Site, shot: &Shot) {
        let inject = Inject {
            t_us: self.ledger.now().micros(),
            spec: shot.spec.to_string(),
            lba: site.lba.offset(shot.index),
            label: span.label().map(str::to_owned),
            op: site.op.name().to_owned(),
            lun: self.ledger.name_of(site.lun),
        };
        self.ledger.note_injection(span, inject);
    }

    /// Makes the flips of `shots` that happen at `place`, in blocks that begin with the site's first.
    pub(super) fn flip_all(
        &self,
        span: &Span,
        site: &Site,
        place: Place,
        shots: &[Shot],
        moving: Moving<'_>,
    ) {
        let Moving { bytes, tuples } = moving;
        let size = bytes.len().checked_div(tuples.len()).unwrap_or(0).max(1);
        for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(place)) {
            let index = usize::try_from(shot.index).unwrap_or(usize::MAX);
            let block = bytes.chunks_exact_mut(size).nth(index);
            if let (Some(block), Some(tuple)) = (block, tuples.get_mut(index)) {
                shot.spec.fault.flip(block, tuple);
                self.note(span, site, shot);
            }
        }
    }

    /// Where a write goes, and how much of it.
    pub(super) fn destination(&self, span: &Span, site: &Site, shots: &[Shot]) -> Destination {
        let mut to = Destination { lba: site.lba, stored: site.blocks };
        for shot in shots {
            match shot.spec.fault {
                Fault::Lost => to.stored = BlockCount(0),
                Fault::Torn(stored) => to.stored = to.stored.min(BlockCount(stored)),
                Fault::Misdirect(by) => to.lba = misdirected(site.lba, by).unwrap_or(site.lba),
                _ => continue,
            }
            self.note(span, site, shot);
        }
        to
    }

    /// Whether a fault spoiled this block.
    pub(super) fn spoiled(&self, block: Block) -> bool {
        self.spoiled.has(block)
    }

    /// Whose doing it is that a block does not fit its tuple.
    pub(super) fn cause(&self, block: Block) -> Cause {
        if self.spoiled(block) { Cause::Injected } else { Cause::Found }
    }

    /// Notes that these blocks were overwritten with clean contents.
    pub(super) fn cleaned(&self, first: Block, blocks: BlockCount) {
        self.spoiled.take(first, blocks);
    }

    /// Notes that a block was spoiled on the medium.
    pub(super) fn spoil(&self, block: Block) {
        self.spoiled.add(block, ());
    }

    /// Notes what a write to `to` spoiled: blocks that were hit, or, in another's place, all of them.
    pub(super) fn overwritten(&self, site: &Site, to: &Destination, shots: &[Shot]) {
        let first = Block { unit: site.lun, lba: to.lba };
        self.cleaned(first, to.stored);
        if to.lba != site.lba {
            return (0..to.stored.0).for_each(|index| self.spoil(first.offset(index)));
        }
        let flips = shots.iter().filter(|shot| matches!(shot.spec.fault, Fault::Flip { .. }));
        for shot in flips.filter(|shot| shot.index < to.stored.0) {
            self.spoil(first.offset(shot.index));
        }
    }
}

/// The drive's check of blocks that were hit on their way in.
pub(super) fn check_delivery(
    load: &Load<'_>,
    checks: &Checks,
    shots: &[Shot],
) -> Result<(), TrapError> {
    let size = load.bytes.len().checked_div(load.tuples.len()).unwrap_or(0).max(1);
    for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(Place::In)) {
        let index = usize::try_from(shot.index).unwrap_or(usize::MAX);
        let block = load.bytes.chunks_exact(size).nth(index);
        let (Some(block), Some(tuple)) = (block, load.tuples.get(index)) else { continue };
        if let Err(mismatch) = checks.verify(*tuple, guard(block), shot.index) {
            let lba = load.lba.offset(shot.index);
            return Err(TrapError::Protection { lba, mismatch, cause: Cause::Injected });
        }
    }
    Ok(())
}

/// Refuses a fault that cannot happen on a disk of this shape.
pub(super) fn require_possible(spec: Spec, geometry: Geometry) -> Result<(), InjectError> {
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
