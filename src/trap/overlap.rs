//! Reads whose data is on its way from the medium while the queue goes on.
//!
//! Nothing is different but the time in between: a read is checked when its data is there, and only
//! checked bytes go to the guest.

use std::sync::Arc;

use super::delivered::Delivery;
use super::error::TrapError;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::inject::Op;
use crate::media::{Blocks, Completion, Started};
use crate::memory::{List, Segments};
use crate::pi::{Checks, GuardTag, guards};
use crate::units::{BlockCount, BlockRange, Lba, QueueIndex};

/// A read whose data is on its way.
#[derive(Debug)]
#[must_use = "a read has to be concluded"]
pub struct Reading {
    queue: QueueIndex,
    lba: Lba,
    into: Segments,
    span: Arc<Span>,
}

impl Trap {
    /// As [`Trap::read_into`], and lets the medium take its time where it can.
    pub fn begin_read(
        &self,
        queue: QueueIndex,
        lba: Lba,
        into: &Segments,
    ) -> Result<Started<(), Reading>, TrapError> {
        if !self.disk.overlaps(queue) || self.has_faults() || into.is_empty() {
            return self.read_into(queue, lba, into).map(Started::Done);
        }
        let blocks = BlockCount(into.len() / self.geometry().block_size.bytes_u64());
        self.disk.require_range(lba, blocks)?;
        self.admit(Op::Read, lba, blocks)?;
        let span = self.ledger.span();
        self.ledger.count(&span, Count::Reads, 1);
        let reading = Reading { queue, lba, into: into.clone(), span };
        match self.disk.start_read(queue, BlockRange::new(lba, blocks))? {
            Started::Pending(id, ()) => Ok(Started::Pending(id, reading)),
            Started::Done(blocks) => self.conclude_read(reading, Ok(blocks)).map(Started::Done),
        }
    }

    /// The data of a read is here, or failed to come.
    pub fn conclude_read(&self, reading: Reading, completion: Completion) -> Result<(), TrapError> {
        let Reading { queue, lba, into, span } = reading;
        let Blocks { data, tuples } = completion?;
        let checks = Checks::of_address(self.geometry().pi_type, lba);
        let mut computed = List::of(GuardTag(0), tuples.len());
        if !self.unchecked {
            guards(&data, &mut computed);
            self.check_guards(&span, (lba, 0), &computed, &tuples, &checks)?;
        }
        into.copy_in(0, &data)?;
        let (into, guards) = (&into, &*computed);
        let delivery = Delivery { queue, lba, into, guards, bytes: Some(&data), tuples: None };
        self.look_after_delivery(&span, &delivery);
        Ok(())
    }

    /// Faults are aimed at requests that are carried out one by one.
    fn has_faults(&self) -> bool {
        self.faults.are_armed()
    }
}
