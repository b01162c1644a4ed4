//! Injected faults carried out. What was injected has records of its own and is never counted as
//! found: the blocks that a fault spoiled are remembered until they are overwritten.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::by_block::{ByBlock, Place as Block, runs_without};
use super::error::{Cause, TrapError};
use super::ledger::Ledger;
use super::payload::{Moving, WritePayload};
use super::tally::Span;
use crate::inject::{Fault, FaultHit, Injector, LbaRange, Place, Site, Spec, Stage, misdirected};
use crate::media::Geometry;
use crate::pi::{Checks, guard};
use crate::record::Inject;
use crate::units::{BlockCount, BlockRange, BlockSize, Lba};

/// Why a fault cannot happen on this disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Blocks that there are not.
    #[error("lba={extent} is past the end of the disk, which has {blocks} blocks")]
    PastEnd {
        /// The blocks asked for.
        extent: LbaRange,
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
    /// More than anybody needs, and than requests have time for.
    #[error(
        "{0} faults are waiting already: take them away first ('dixtrap ctl SOCKET inject none')"
    )]
    TooMany(usize),
}

/// The faults of a daemon, for all its disks and queues.
#[derive(Debug)]
pub struct Faults {
    injector: Injector,
    /// Blocks that an injected fault spoiled.
    spoiled: ByBlock<()>,
    ledger: Arc<Ledger>,
}

/// Where a write really goes, and what faults make of it there.
#[derive(Debug)]
pub(super) struct Placement {
    unit: u16,
    /// Where it belongs.
    asked: Lba,
    /// The blocks that are overwritten.
    stored: BlockRange,
    /// Those of them that do not hold what they should, in their order.
    spoiled: Vec<Lba>,
    /// Any fault happened to it.
    pub(super) injected: bool,
}

impl Placement {
    /// The blocks that hold what was meant for them.
    pub(super) fn in_place(&self) -> BlockRange {
        let none = BlockRange::new(self.asked, BlockCount(0));
        if self.stored.first == self.asked { self.stored } else { none }
    }
}

impl Faults {
    /// No faults yet; probabilities are drawn from `seed`.
    pub fn new(seed: u64, ledger: Arc<Ledger>) -> Self {
        Faults { injector: Injector::new(seed), spoiled: ByBlock::default(), ledger }
    }

    /// Adds a fault, which has been found to be possible.
    pub(super) fn add(&self, spec: Spec) {
        self.injector.add(spec);
    }

    /// How many are still to come.
    pub(super) fn count(&self) -> usize {
        self.injector.count()
    }

    /// Takes away those that are still to come, and tells them.
    pub(super) fn disarm(&self) -> Vec<Spec> {
        self.injector.disarm()
    }

    /// Lets a request in, or answers it with a fault that was injected.
    pub(super) fn admit(&self, site: &Site) -> Result<(), TrapError> {
        let hits = self.injector.draw(site, Stage::Arrival);
        let Some(hit) = hits.first() else { return Ok(()) };
        let Some(status) = hit.spec.fault.status(site.op) else { return Ok(()) };
        self.note(&self.ledger.span(), site, hit);
        let lba = site.lba.offset(hit.index);
        Err(TrapError::Injected { status, lba: (site.blocks.0 > 0).then_some(lba) })
    }

    /// The faults that happen to a request's data.
    pub(super) fn hits(&self, site: &Site) -> Vec<FaultHit> {
        self.injector.draw(site, Stage::Data)
    }

    /// Counts and records that a fault happened.
    fn note(&self, span: &Span, site: &Site, hit: &FaultHit) {
        let inject = Inject {
            t_us: self.ledger.now().micros(),
            spec: hit.spec.to_string(),
            lba: site.lba.offset(hit.index),
            label: span.label().map(str::to_owned),
            op: site.op.name().to_owned(),
            lun: self.ledger.name_of(site.lun),
        };
        self.ledger.note_injection(span, inject);
    }

    /// Makes the flips of `hits` that happen at `place`, in blocks that begin with the site's first.
    pub(super) fn flip_all(
        &self,
        span: &Span,
        site: &Site,
        place: Place,
        hits: &[FaultHit],
        moving: Moving<'_>,
    ) {
        let Moving { bytes, tuples } = moving;
        let size = bytes.len().checked_div(tuples.len()).unwrap_or(0).max(1);
        for hit in hits.iter().filter(|hit| hit.spec.fault.flips_at(place)) {
            let index = usize::try_from(hit.index).unwrap_or(usize::MAX);
            let block = bytes.chunks_exact_mut(size).nth(index);
            if let (Some(block), Some(tuple)) = (block, tuples.get_mut(index)) {
                hit.spec.fault.flip(block, tuple);
                self.note(span, site, hit);
            }
        }
    }

    /// Lets the faults that are due happen to a write before it is stored: bits flip, on the way or as
    /// they are stored, and it goes elsewhere, or not all of it.
    ///
    /// `checks` are those that the drive makes of what arrives: a block that was hit on its way may not
    /// pass them. What will be spoiled is known as such from now on, so that no reader ever takes it for
    /// a find.
    pub(super) fn apply(
        &self,
        span: &Span,
        site: &Site,
        checks: impl FnOnce() -> Checks,
        payload: &mut WritePayload<'_>,
    ) -> Result<Placement, TrapError> {
        let hits = self.hits(site);
        let mut placement = Placement {
            unit: site.lun,
            asked: site.lba,
            stored: BlockRange::new(site.lba, site.blocks),
            spoiled: Vec::new(),
            injected: !hits.is_empty(),
        };
        if hits.is_empty() {
            return Ok(placement);
        }
        self.flip_all(span, site, Place::In, &hits, payload.moving());
        check_delivery(payload, &checks(), &hits)?;
        self.flip_all(span, site, Place::Medium, &hits, payload.moving());
        placement.stored = self.divert(span, site, &hits);
        payload.lba = placement.stored.first;
        payload.truncate(placement.stored.count);
        placement.spoiled = spoiled_by(&placement, &hits);
        placement.spoiled.iter().for_each(|lba| self.spoil(Block { unit: site.lun, lba: *lba }));
        Ok(placement)
    }

    /// Where a write goes, and how much of it.
    fn divert(&self, span: &Span, site: &Site, hits: &[FaultHit]) -> BlockRange {
        let mut to = BlockRange::new(site.lba, site.blocks);
        for hit in hits {
            match hit.spec.fault {
                Fault::Lost => to.count = BlockCount(0),
                Fault::Torn(stored) => to.count = to.count.min(BlockCount(stored)),
                Fault::Misdirect(by) => to.first = misdirected(site.lba, by).unwrap_or(site.lba),
                _ => continue,
            }
            self.note(span, site, hit);
        }
        to
    }

    /// Notes that a write is stored: what it covered, and did not spoil, is clean again.
    pub(super) fn stored(&self, placement: &Placement) {
        for run in runs_without(placement.stored, placement.spoiled.iter().copied()) {
            self.cleaned(Block { unit: placement.unit, lba: run.first }, run.count);
        }
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
}

/// The blocks that do not hold what they should after a write: those that were hit, or, in another's
/// place, all of them.
fn spoiled_by(placement: &Placement, hits: &[FaultHit]) -> Vec<Lba> {
    let BlockRange { first, count } = placement.stored;
    if first != placement.asked {
        return (0..count.0).map(|index| first.offset(index)).collect();
    }
    let flips = hits.iter().filter(|hit| matches!(hit.spec.fault, Fault::Flip { .. }));
    let hit = flips.map(|hit| hit.index).filter(|index| *index < count.0);
    let hit: BTreeSet<u64> = hit.collect();
    hit.into_iter().map(|index| first.offset(index)).collect()
}

/// The drive's check of blocks that were hit on their way in.
fn check_delivery(
    payload: &WritePayload<'_>,
    checks: &Checks,
    hits: &[FaultHit],
) -> Result<(), TrapError> {
    let size = payload.bytes.len().checked_div(payload.tuples.len()).unwrap_or(0).max(1);
    for hit in hits.iter().filter(|hit| hit.spec.fault.flips_at(Place::In)) {
        let index = usize::try_from(hit.index).unwrap_or(usize::MAX);
        let block = payload.bytes.chunks_exact(size).nth(index);
        let (Some(block), Some(tuple)) = (block, payload.tuples.get(index)) else { continue };
        if let Err(mismatch) = checks.verify(*tuple, guard(block), hit.index) {
            let lba = payload.lba.offset(hit.index);
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
