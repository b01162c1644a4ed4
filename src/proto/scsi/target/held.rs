//! Tasks inside their windows, and what is done at the end of one.

use std::sync::Arc;

use super::failure::Failure;
use super::run::{Answer, answer_failure, good};
use super::unit::Unit;
use crate::clock::Moment;
use crate::pi::{Checks, Compared};
use crate::trap::{Held, HeldSwap};
use crate::units::{BlockCount, Lba};

/// A write inside its window.
#[derive(Debug)]
#[must_use = "a held task has to be finished"]
pub struct HeldTask {
    pub(super) unit: Arc<Unit>,
    pub(super) work: Work,
    /// Bytes that came from the initiator.
    pub(super) moved: u64,
    /// The completed write has to be on stable storage (FUA, or the write cache is off).
    pub(super) durable: bool,
}

/// What a write does when its window ends.
#[derive(Debug)]
pub(super) enum Work {
    /// Stores its data, so many times one after the other (WRITE, WRITE SAME).
    Store { held: Held, copies: BlockCount },
    /// Stores its data and reads it back (WRITE AND VERIFY).
    ReadBack { held: Held, blocks: (Lba, BlockCount), checks: Checks, compared: Option<Compared> },
    /// Stores one half of its data where the other half is what is stored (COMPARE AND WRITE).
    Swap { held: Box<HeldSwap>, checks: Checks },
}

impl HeldTask {
    /// When the doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        match &self.work {
            Work::Store { held, .. } | Work::ReadBack { held, .. } => held.rung(),
            Work::Swap { held, .. } => held.rung(),
        }
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        match &self.work {
            Work::Store { held, .. } | Work::ReadBack { held, .. } => held.bytes(),
            Work::Swap { held, .. } => held.bytes(),
        }
    }

    /// Ends the window: fetch, check, store, and whatever the command asks for beyond.
    pub fn finish(self) -> Answer {
        let HeldTask { unit, work, moved, durable } = self;
        match work.finish(&unit, durable) {
            Ok(()) => good(moved),
            Err(failure) => answer_failure(&unit, &failure),
        }
    }
}

impl Work {
    fn finish(self, unit: &Unit, durable: bool) -> Result<(), Failure> {
        match self {
            Work::Store { held, copies } => {
                let _shared = unit.share();
                unit.trap.fetch_same(held, copies)?;
            }
            Work::ReadBack { held, blocks, checks, compared } => {
                return read_back(unit, held, blocks, &checks, compared);
            }
            Work::Swap { held, checks } => {
                // SBC-4 §5.6: no other command's write comes in between.
                let _alone = unit.alone();
                unit.trap.fetch_swap(*held, &checks)?;
            }
        }
        if durable {
            unit.trap.persist()?;
        }
        Ok(())
    }
}

/// What is read back comes from stable storage, and no other write gets in between: a difference is
/// the medium's.
fn read_back(
    unit: &Unit,
    held: Held,
    (lba, count): (Lba, BlockCount),
    checks: &Checks,
    compared: Option<Compared>,
) -> Result<(), Failure> {
    let _alone = unit.alone();
    let stored = unit.trap.fetch_to_read_back(held)?;
    unit.trap.persist()?;
    match compared.zip(stored) {
        Some((fields, stored)) => Ok(unit.trap.read_back(&stored, fields, checks)?),
        None => Ok(unit.trap.verify(lba, count, checks)?),
    }
}
