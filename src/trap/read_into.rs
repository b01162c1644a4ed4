//! Reads into guest memory.

use std::sync::Arc;

use super::delivered::Delivery;
use super::error::TrapError;
use super::payload::Moving;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::inject::{Op, Place, Shot, Site};
use crate::memory::{Buffer, List, MemoryError, Segments};
use crate::pi::{Checks, GuardTag, Tuple, guards};
use crate::units::{BlockCount, Lba, QueueIndex};

/// A read under way.
struct Transfer<'a> {
    span: &'a Span,
    site: Site,
    into: &'a Segments,
    checks: Checks,
    shots: &'a [Shot],
}

/// The part of a transfer that goes with one look at the disk.
struct Part<'a> {
    /// How many blocks come before it.
    skipped: usize,
    /// The tuples that are stored for its blocks.
    tuples: &'a mut [Tuple],
    /// The guards of what is delivered.
    guards: &'a mut [GuardTag],
}

impl Trap {
    /// As [`Trap::read`], into guest memory: a whole number of blocks.
    ///
    /// The guards are computed over the very bytes that are put there. So where a block fails, it and
    /// others may be in the guest's memory all the same, as with a drive's DMA: the request fails, and
    /// nothing of it has any meaning.
    pub fn read_into(&self, queue: QueueIndex, lba: Lba, into: &Segments) -> Result<(), TrapError> {
        let (span, guards) = self.deliver_into(lba, into)?;
        let delivery = Delivery { queue, lba, into, guards: &guards, bytes: None, tuples: None };
        self.look_after_delivery(&span, &delivery);
        Ok(())
    }

    /// Puts blocks into guest memory; answers the guards of what it put there.
    pub(super) fn deliver_into(
        &self,
        lba: Lba,
        into: &Segments,
    ) -> Result<(Arc<Span>, List<GuardTag>), TrapError> {
        let blocks = usize::try_from(into.len()).unwrap_or(usize::MAX) / self.block_bytes();
        let count = BlockCount(blocks as u64);
        self.disk.require_range(lba, count)?;
        self.admit(Op::Read, lba, count)?;
        let span = self.ledger.span();
        self.ledger.count(&span, Count::Reads, 1);
        let site = self.site(Op::Read, lba, count);
        let shots = self.faults.shots(&site);
        self.spoil_stored(&span, &site, &shots)?;
        let checks = Checks::of_address(self.geometry().pi_type, lba);
        let transfer = Transfer { span: &span, site, into, checks, shots: &shots };
        // Faults are aimed at blocks of the whole request.
        let step = if shots.is_empty() { self.disk.blocks_at_once().min(blocks) } else { blocks };
        let mut tuples = List::of(Tuple::ESCAPE, step);
        let mut all = List::of(GuardTag(0), blocks);
        for (number, guards) in all.chunks_mut(step.max(1)).enumerate() {
            let tuples = tuples.get_mut(..guards.len()).unwrap_or_default();
            let mut part = Part { skipped: number.saturating_mul(step), tuples, guards };
            if !self.read_in_place(&transfer, &mut part)? {
                self.read_by_copy(&transfer, &mut part)?;
            }
        }
        Ok((span, all))
    }

    /// From where the blocks lie to the guest in one pass, guards and all; `false` where they do not
    /// lie in memory, or faults happen to them on the way.
    fn read_in_place(
        &self,
        transfer: &Transfer<'_>,
        part: &mut Part<'_>,
    ) -> Result<bool, TrapError> {
        if !transfer.shots.is_empty() {
            return Ok(false);
        }
        let (size, into) = (self.block_bytes(), transfer.into);
        let Part { skipped, tuples, guards } = part;
        let (offset, skipped) = (skipped.saturating_mul(size) as u64, *skipped as u64);
        let mut delivered: Result<(), MemoryError> = Ok(());
        let copy = |place: *const u8| {
            // SAFETY: the disk vouches for as many blocks as there are tuples. Its mapping is no guest
            // memory, and only touched through raw pointers.
            delivered = unsafe {
                if self.unchecked {
                    into.put(offset, place, guards.len().saturating_mul(size))
                } else {
                    into.deliver(offset, place, size, guards)
                }
            };
        };
        if !self.disk.read_in_place(transfer.site.lba.offset(skipped), tuples, copy)? {
            return Ok(false);
        }
        delivered?;
        if !self.unchecked {
            let Transfer { span, site, checks, .. } = transfer;
            self.check_guards(span, (site.lba, skipped), guards, tuples, checks)?;
        }
        Ok(true)
    }

    /// By way of a buffer.
    fn read_by_copy(&self, transfer: &Transfer<'_>, part: &mut Part<'_>) -> Result<(), TrapError> {
        let Transfer { span, site, into, checks, shots } = transfer;
        let Part { skipped, tuples, guards: computed } = part;
        let offset = skipped.saturating_mul(self.block_bytes()) as u64;
        let skipped = *skipped as u64;
        let mut data = Buffer::new(tuples.len().saturating_mul(self.block_bytes()));
        self.disk.read(site.lba.offset(skipped), &mut data, tuples)?;
        if !self.unchecked {
            guards(&data, computed);
            self.check_guards(span, (site.lba, skipped), computed, tuples, checks)?;
        }
        if !shots.is_empty() {
            let moving = Moving { bytes: &mut data, tuples };
            self.faults.flip_all(span, site, Place::Out, shots, moving);
            guards(&data, computed);
        }
        Ok(into.copy_in(offset, &data)?)
    }
}
