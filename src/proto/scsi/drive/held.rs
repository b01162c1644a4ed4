//! Tasks inside their windows, and what is done at the end of one.

use std::sync::Arc;

use super::answer::Answer;
use super::failure::Failure;
use super::unit::Unit;
use crate::clock::Moment;
use crate::media::{Completion, Started};
use crate::pi::{Checks, Compared};
use crate::trap::{Held, HeldSwap, TrapError, WriteInFlight, read, read_back, swap, write};
use crate::units::{BlockCount, Lba};

/// A write inside its window.
#[derive(Debug)]
#[must_use = "a held task has to be finished"]
pub struct HeldTask {
    pub(super) work: Work,
    pub(super) write: TaskWrite,
}

/// A write whose data is on its way to the medium.
#[derive(Debug)]
#[must_use = "a task in flight has to be concluded"]
pub struct TaskInFlight {
    in_flight: WriteInFlight,
    write: TaskWrite,
}

/// What is said about a write once it is stored.
#[derive(Debug)]
pub(super) struct TaskWrite {
    pub(super) unit: Arc<Unit>,
    /// Bytes that came from the initiator.
    pub(super) moved: u64,
    /// The completed write has to be on stable storage (FUA, or the write cache is off).
    pub(super) durable: bool,
}

/// What a write does when its window ends.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most are of the large kind")]
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
    pub fn finish(self) -> Started<Answer, TaskInFlight> {
        let HeldTask { work, write } = self;
        match work.finish(&write.unit) {
            Ok(Started::Pending(id, in_flight)) => {
                Started::Pending(id, TaskInFlight { in_flight, write })
            }
            Ok(Started::Done(())) => Started::Done(write.answer(Ok(()))),
            Err(failure) => Started::Done(write.answer(Err(failure))),
        }
    }
}

impl TaskInFlight {
    /// The data has landed, or failed to.
    pub fn conclude(self, completion: Completion) -> Answer {
        let TaskInFlight { in_flight, write: task } = self;
        let stored = write::conclude(&task.unit.trap, in_flight, completion);
        task.answer(stored.map(drop).map_err(Failure::from))
    }
}

impl TaskWrite {
    fn answer(&self, stored: Result<(), Failure>) -> Answer {
        match stored.and_then(|()| Ok(self.persist()?)) {
            Ok(()) => Answer::good(self.moved),
            Err(failure) => Answer::of_failure(&self.unit, &failure),
        }
    }

    fn persist(&self) -> Result<(), TrapError> {
        if self.durable { self.unit.trap.persist() } else { Ok(()) }
    }
}

impl Work {
    fn finish(self, unit: &Unit) -> Result<Started<(), WriteInFlight>, Failure> {
        let trap = &unit.trap;
        match self {
            Work::Store { held, copies } => {
                // Its place among the writes of its blocks is the one of its start.
                let _shared = unit.share();
                Ok(match write::start(trap, write::judge(trap, held)?, copies)? {
                    Started::Pending(id, in_flight) => Started::Pending(id, in_flight),
                    Started::Done(_) => Started::Done(()),
                })
            }
            Work::ReadBack { held, blocks, checks, compared } => {
                read_back(unit, held, blocks, &checks, compared).map(Started::Done)
            }
            Work::Swap { held, checks } => {
                // SBC-4 §5.6: no other command's write comes in between.
                let _alone = unit.alone();
                let judged = swap::judge(trap, *held, &checks)?;
                write::store(trap, judged)?;
                Ok(Started::Done(()))
            }
        }
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
    let (trap, _alone) = (&unit.trap, unit.alone());
    let stored = write::store(trap, write::judge(trap, held)?)?;
    trap.persist()?;
    match compared {
        Some(fields) => Ok(read_back::compare(trap, &stored, fields, checks)?),
        None => Ok(read::verify(trap, lba, count, checks)?),
    }
}
