//! Reads into guest memory.

use super::error::TrapError;
use super::payload::Moving;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::inject::{Op, Place, Shot, Site};
use crate::memory::{Buffer, List, MemoryError, Segments};
use crate::pi::{Checks, GuardTag, Tuple};
use crate::units::{BlockCount, Lba};

/// A read under way.
struct Transfer<'a> {
    span: &'a Span,
    site: Site,
    into: &'a Segments,
    checks: Checks,
    shots: &'a [Shot],
}

impl Trap {
    /// As [`Trap::read`], into guest memory: a whole number of blocks.
    ///
    /// The guards are computed over the very bytes that are put there. So where a block fails, it and
    /// others may be in the guest's memory all the same, as with a drive's DMA: the request fails, and
    /// nothing of it has any meaning.
    pub fn read_into(&self, lba: Lba, into: &Segments) -> Result<(), TrapError> {
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
        for done in (0..blocks).step_by(step.max(1)) {
            let tuples = tuples.get_mut(..(blocks - done).min(step)).unwrap_or_default();
            if !self.read_in_place(&transfer, done, tuples)? {
                self.read_by_copy(&transfer, done, tuples)?;
            }
        }
        Ok(())
    }

    /// From where the blocks lie to the guest in one pass, guards and all; `false` where they do not
    /// lie in memory, or faults happen to them on the way.
    fn read_in_place(
        &self,
        transfer: &Transfer<'_>,
        done: usize,
        tuples: &mut [Tuple],
    ) -> Result<bool, TrapError> {
        if !transfer.shots.is_empty() {
            return Ok(false);
        }
        let (size, into) = (self.block_bytes(), transfer.into);
        let (offset, skipped) = (done.saturating_mul(size) as u64, done as u64);
        let mut computed = List::of(GuardTag(0), tuples.len());
        let mut delivered: Result<(), MemoryError> = Ok(());
        let copy = |place: *const u8| {
            // SAFETY: the disk vouches for as many blocks as there are tuples. Its mapping is no guest
            // memory, and only touched through raw pointers.
            delivered = unsafe {
                if self.unchecked {
                    into.put(offset, place, computed.len().saturating_mul(size))
                } else {
                    into.deliver(offset, place, size, &mut computed)
                }
            };
        };
        if !self.disk.read_in_place(transfer.site.lba.offset(skipped), tuples, copy)? {
            return Ok(false);
        }
        delivered?;
        if !self.unchecked {
            let Transfer { span, site, checks, .. } = transfer;
            self.check_guards(span, (site.lba, skipped), &computed, tuples, checks)?;
        }
        Ok(true)
    }

    /// By way of a buffer.
    fn read_by_copy(
        &self,
        transfer: &Transfer<'_>,
        done: usize,
        tuples: &mut [Tuple],
    ) -> Result<(), TrapError> {
        let Transfer { span, site, into, checks, shots } = transfer;
        let skipped = done as u64;
        let mut data = Buffer::new(tuples.len().saturating_mul(self.block_bytes()));
        self.disk.read(site.lba.offset(skipped), &mut data, tuples)?;
        self.check_stored(span, (site.lba, skipped), &data, tuples, checks)?;
        let moving = Moving { bytes: &mut data, tuples };
        self.faults.flip_all(span, site, Place::Out, shots, moving);
        Ok(into.copy_in(done.saturating_mul(self.block_bytes()) as u64, &data)?)
    }
}
