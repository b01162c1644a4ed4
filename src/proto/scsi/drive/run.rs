//! A task's way: unit attention, the table, the handler, the answer.

use std::sync::Arc;

use super::cdb::Cdb;
use super::failure::Failure;
use super::held::HeldTask;
use super::inquiry;
use super::sense::{Attention, Sense};
use super::status::Status;
use super::table::{self, When};
use super::unit::Unit;
use crate::inject::Op;
use crate::memory::Segments;
use crate::pi::{TUPLE_BYTES, Tuple};
use crate::trap::{Arrival, Delivered, TrapError, look_at_delivered};
use crate::units::{BlockCount, Lba, QueueIndex};

/// A command and the buffers that came with it.
#[derive(Debug)]
pub struct Task {
    /// Where it comes from.
    pub arrival: Arrival,
    /// The command.
    pub cdb: Cdb,
    /// Data from the initiator.
    pub data_out: Segments,
    /// Room for data to the initiator.
    pub data_in: Segments,
    /// Protection information from the initiator, where it sent any.
    pub pi_out: Option<Segments>,
    /// Room for protection information, where the initiator wants it.
    pub pi_in: Option<Segments>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// Sense data; empty unless the status is CHECK CONDITION.
    pub sense: Vec<u8>,
    /// Bytes of data moved, either way, protection information not counted.
    pub moved: u64,
    /// Whether the status counts.
    pub ending: Ending,
}

/// How a task ended, for the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With its status.
    Status,
    /// The buffers were shorter than what the command transfers.
    Overrun,
    /// Without an answer, because a fault was injected that says so.
    Silent,
}

/// How far a task got.
#[derive(Debug)]
pub enum Progress {
    /// It ended.
    Answered(Answer),
    /// A write inside its window.
    Held(Box<HeldTask>),
}

/// What a handler came to.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing to transfer.
    Done,
    /// Parameter data; as much of it as the allocation length allows is sent (SPC-5 §4.2.5.6).
    Parameters { bytes: Vec<u8>, allocation: u64 },
    /// The blocks from `lba` on, and their tuples where the initiator gets them.
    Blocks { lba: Lba, data: Vec<u8>, tuples: Option<Vec<Tuple>> },
    /// So many bytes from the initiator were used.
    Consumed(u64),
    /// A write inside its window.
    Held(Box<HeldTask>),
}

/// What a handler works on.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) unit: &'a Arc<Unit>,
}

/// A target: its logical units are numbered from 0.
#[derive(Debug)]
pub struct Target {
    units: Vec<Arc<Unit>>,
}

impl Target {
    /// A target with these units.
    pub fn new(units: Vec<Arc<Unit>>) -> Self {
        Target { units }
    }

    /// The units, also those that are unplugged.
    pub fn units(&self) -> &[Arc<Unit>] {
        &self.units
    }

    /// The numbers of the units that the initiator can see.
    pub fn luns(&self) -> impl Iterator<Item = u16> + '_ {
        let numbered = self.units.iter().zip(0u16..);
        numbered.filter(|(unit, _)| unit.is_plugged()).map(|(_, lun)| lun)
    }

    /// The unit with this number, unless it is unplugged.
    pub fn unit(&self, lun: u16) -> Option<&Arc<Unit>> {
        self.units.get(usize::from(lun)).filter(|unit| unit.is_plugged())
    }

    /// Takes a unit away, or gives it back as after power on; the others are told (SPC-5 §6.34).
    /// Answers `None` where there is no such unit, and whether anything changed.
    ///
    /// Requests of the unit that are in their window end as they would have: the drive has them.
    pub fn plug(&self, lun: u16, plugged: bool) -> Option<bool> {
        let unit = self.units.get(usize::from(lun))?;
        let changed = unit.set_plugged(plugged);
        if changed {
            unit.reset(Attention::PowerOn);
            let others = self.units.iter().filter(|other| !Arc::ptr_eq(other, unit));
            others.for_each(|other| other.attend(Attention::Luns));
        }
        Some(changed)
    }

    /// Every unit is told of a reset.
    pub fn reset(&self, why: Attention) {
        for unit in &self.units {
            unit.reset(why);
        }
    }

    /// Takes a task up to its answer or into its window.
    pub fn run(&self, lun: u16, task: Task) -> Progress {
        let data_in = task.data_in.clone();
        let pi_in = task.pi_in.clone();
        let queue = task.arrival.queue;
        let Some(unit) = self.unit(lun) else { return Progress::Answered(absent(&task)) };
        match self.execute(unit, task) {
            Ok(Reply::Held(held)) => Progress::Held(held),
            Ok(reply) => {
                let sent = send(reply, &data_in, pi_in.as_ref(), (unit, queue));
                Progress::Answered(sent.unwrap_or_else(|failure| answer_failure(unit, &failure)))
            }
            Err(failure) => Progress::Answered(answer_failure(unit, &failure)),
        }
    }

    fn execute(&self, unit: &Arc<Unit>, task: Task) -> Result<Reply, Failure> {
        let command = table::find(&task.cdb).ok_or(Sense::INVALID_OPCODE)?;
        // SAM-6 §5.14.4: INQUIRY, REPORT LUNS and REQUEST SENSE are answered all the same.
        if command.when != When::Always
            && let Some(attention) = unit.take_attention()
        {
            return Err(attention.sense().into());
        }
        table::check_usage(command, &task.cdb)?;
        if command.when == When::Started && unit.is_stopped() {
            return Err(Sense::STOPPED.into());
        }
        if !command.medium {
            unit.trap.admit(Op::Other, Lba(0), BlockCount(0))?;
        }
        (command.run)(&Call { target: self, unit }, task)
    }
}

/// SPC-5 §6.6.1, SAM-6 §5.11: what a task for a unit that does not exist comes to.
fn absent(task: &Task) -> Answer {
    match task.cdb.opcode() {
        table::INQUIRY => {
            let (bytes, allocation) = inquiry::absent(&task.cdb);
            deliver_parameters(&bytes, allocation, &task.data_in)
                .unwrap_or_else(|_| refused(Sense::NO_UNIT, false))
        }
        table::REQUEST_SENSE => {
            let bytes = Sense::NO_UNIT.to_bytes(false);
            deliver_parameters(&bytes, task.cdb.byte(4).into(), &task.data_in)
                .unwrap_or_else(|_| refused(Sense::NO_UNIT, false))
        }
        _ => refused(Sense::NO_UNIT, false),
    }
}

/// Puts what a handler came to into the initiator's buffers.
fn send(
    reply: Reply,
    data_in: &Segments,
    pi_in: Option<&Segments>,
    (unit, queue): (&Unit, QueueIndex),
) -> Result<Answer, Failure> {
    match reply {
        Reply::Done | Reply::Held(_) => Ok(good(0)),
        Reply::Consumed(bytes) => Ok(good(bytes)),
        Reply::Parameters { bytes, allocation } => deliver_parameters(&bytes, allocation, data_in),
        Reply::Blocks { lba, data, tuples } => {
            let tuples = pi_in.zip(tuples.as_deref());
            if let Some((room, tuples)) = tuples {
                deliver_tuples(tuples, room)?;
            }
            let answer = deliver(&data, data_in)?;
            let sent = Delivered { into: data_in, items: &data };
            let tuples = tuples.map(|(into, items)| Delivered { into, items });
            look_at_delivered(&unit.trap, queue, lba, sent, tuples);
            Ok(answer)
        }
    }
}

fn deliver_parameters(bytes: &[u8], allocation: u64, room: &Segments) -> Result<Answer, Failure> {
    let allowed = usize::try_from(allocation).unwrap_or(usize::MAX).min(bytes.len());
    deliver(bytes.get(..allowed).unwrap_or_default(), room)
}

fn deliver(bytes: &[u8], room: &Segments) -> Result<Answer, Failure> {
    let moved = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if moved > room.len() {
        return Err(Failure::Overrun);
    }
    room.copy_in(0, bytes)?;
    Ok(good(moved))
}

fn deliver_tuples(tuples: &[Tuple], room: &Segments) -> Result<(), Failure> {
    let bytes: Vec<u8> = tuples.iter().flat_map(|tuple| tuple.to_bytes()).collect();
    deliver(&bytes, room).map(drop)
}

/// How many bytes of protection information go with so many blocks.
pub(super) fn tuple_bytes(blocks: BlockCount) -> u64 {
    blocks.0.saturating_mul(TUPLE_BYTES as u64)
}

pub(super) fn good(moved: u64) -> Answer {
    Answer { status: Status::Good, sense: Vec::new(), moved, ending: Ending::Status }
}

fn refused(sense: Sense, descriptor: bool) -> Answer {
    let sense = sense.to_bytes(descriptor);
    Answer { status: Status::CheckCondition, sense, moved: 0, ending: Ending::Status }
}

pub(super) fn answer_failure(unit: &Unit, failure: &Failure) -> Answer {
    log::debug!("command failed: {failure}");
    if matches!(failure, Failure::Trap(error) if is_fault(error)) {
        unit.trap.ledger().note_error();
    }
    match failure.sense() {
        Some(sense) => refused(sense, unit.modes().descriptor_sense()),
        None => {
            let ending = failure.ending();
            let busy = if ending == Ending::Status { Status::Busy } else { Status::Good };
            Answer { status: busy, ending, ..good(0) }
        }
    }
}

/// Whether something of ours failed, and not only the request asked for the impossible.
fn is_fault(error: &TrapError) -> bool {
    !error.is_counted_elsewhere()
        && !matches!(error, TrapError::OutOfRange { .. } | TrapError::ReadOnly)
}
