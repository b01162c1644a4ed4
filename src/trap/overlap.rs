//! Writes and reads whose data is on its way to or from the medium while the queue goes on.
//!
//! Nothing is different but the time in between: a write is fetched, judged and refused exactly as by
//! [`Trap::fetch`], and only then begun; a read is checked when its data is there, and only checked
//! bytes go to the guest.

use std::sync::Arc;

use super::error::TrapError;
use super::evidence::Clue;
use super::tally::{Count, Span};
use super::trap::Trap;
use super::verdict::tuples_to_store;
use super::write::{Fetched, Held};
use crate::inject::Op;
use crate::media::{Blocks, Completion, Started, TransferId};
use crate::memory::Segments;
use crate::pi::Checks;
use crate::record::Outcome;
use crate::units::{BlockCount, BlockRange, Lba, QueueIndex};

/// How far a write or read got.
#[derive(Debug)]
pub enum Begun<T> {
    /// To its end.
    Done,
    /// Its data is under way.
    UnderWay(TransferId, T),
}

/// A write that was fetched and judged, and is being stored.
#[derive(Debug)]
#[must_use = "a write that is being stored has to be concluded"]
pub struct Storing {
    held: Held,
    fetched: Fetched,
    clues: Vec<Clue>,
}

/// A read whose data is on its way.
#[derive(Debug)]
#[must_use = "a read has to be concluded"]
pub struct Reading {
    lba: Lba,
    into: Segments,
    span: Arc<Span>,
}

impl Trap {
    /// As [`Trap::fetch`], and lets the medium take its time where it can.
    pub fn begin_fetch(&self, held: Held) -> Result<Begun<Storing>, TrapError> {
        let (queue, lba, blocks) = (held.write.queue, held.write.lba, held.write.blocks);
        if self.unchecked || self.has_faults() {
            return self.fetch(held).map(|()| Begun::Done);
        }
        let fetched = self.fetch_sample(&held)?;
        self.count(&held, fetched.window);
        let clues = self.compare(&held, &fetched);
        let storing = Storing { held, fetched, clues };
        match self.start_store(&storing, (queue, lba)) {
            Ok(Started::Pending(id, ())) => Ok(Begun::UnderWay(id, storing)),
            Ok(Started::Done(())) => {
                self.conclude(storing, (lba, blocks), Ok(())).map(|()| Begun::Done)
            }
            Err(error) => self.conclude(storing, (lba, blocks), Err(error)).map(|()| Begun::Done),
        }
    }

    fn start_store(
        &self,
        storing: &Storing,
        (queue, lba): (QueueIndex, Lba),
    ) -> Result<Started<()>, TrapError> {
        let Storing { held, fetched, clues } = storing;
        let sample = fetched.sample(held);
        self.judge(held, fetched, clues)?;
        let kind = self.geometry().pi_type;
        let tuples = tuples_to_store(kind, &held.write, sample, &fetched.guards, clues);
        Ok(self.disk.start_write(queue, lba, &sample.bytes, tuples)?)
    }

    /// The data of a write has landed, or failed to.
    pub fn conclude_fetch(
        &self,
        storing: Storing,
        completion: Completion,
    ) -> Result<(), TrapError> {
        let range = (storing.held.write.lba, storing.held.write.blocks);
        self.conclude(storing, range, completion.map(drop).map_err(TrapError::from))
    }

    fn conclude(
        &self,
        storing: Storing,
        (lba, blocks): (Lba, BlockCount),
        stored: Result<(), TrapError>,
    ) -> Result<(), TrapError> {
        let Storing { held, fetched, clues } = storing;
        let outcome = if stored.is_ok() { Outcome::Stored } else { Outcome::Failed };
        self.report(&held, &fetched, &clues, outcome);
        stored?;
        self.faults.cleaned(self.place(lba), blocks);
        self.heal_clean_blocks(lba, blocks, &clues);
        self.audit(&held, &fetched);
        Ok(())
    }

    /// As [`Trap::read_into`], and lets the medium take its time where it can.
    pub fn begin_read(
        &self,
        queue: QueueIndex,
        lba: Lba,
        into: &Segments,
    ) -> Result<Begun<Reading>, TrapError> {
        if !self.disk.overlaps(queue) || self.has_faults() || into.is_empty() {
            return self.read_into(lba, into).map(|()| Begun::Done);
        }
        let blocks = BlockCount(into.len() / self.geometry().block_size.bytes_u64());
        self.disk.require_range(lba, blocks)?;
        self.admit(Op::Read, lba, blocks)?;
        let span = self.ledger.span();
        self.ledger.count(&span, Count::Reads, 1);
        let reading = Reading { lba, into: into.clone(), span };
        match self.disk.start_read(queue, BlockRange::new(lba, blocks))? {
            Started::Pending(id, ()) => Ok(Begun::UnderWay(id, reading)),
            Started::Done(blocks) => self.conclude_read(reading, Ok(blocks)).map(|()| Begun::Done),
        }
    }

    /// The data of a read is here, or failed to come.
    pub fn conclude_read(&self, reading: Reading, completion: Completion) -> Result<(), TrapError> {
        let Reading { lba, into, span } = reading;
        let Blocks { data, tuples } = completion?;
        let checks = Checks::of_address(self.geometry().pi_type, lba);
        self.check_stored(&span, (lba, 0), &data, &tuples, &checks)?;
        Ok(into.copy_in(0, &data)?)
    }

    /// Faults are aimed at requests that are carried out one by one.
    fn has_faults(&self) -> bool {
        self.faults.are_armed()
    }
}
