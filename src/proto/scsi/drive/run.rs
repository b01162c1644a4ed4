//! A task's way: unit attention, the table, the handler, the answer.

use std::sync::Arc;

use super::answer::Answer;
use super::command::{Call, Parameters, Reply, Task, When, check_usage};
use super::failure::Failure;
use super::held::HeldTask;
use super::sense::Sense;
use super::table;
use super::target::Target;
use super::unit::Unit;
use crate::inject::Op;
use crate::memory::Segments;
use crate::pi::Tuple;
use crate::trap::{Delivered, look_at_delivered};
use crate::units::{BlockCount, Lba, QueueIndex};

/// How far a task got.
#[derive(Debug)]
pub enum TaskStage {
    /// The task ended, with this answer.
    Answered(Answer),
    /// A write inside its window.
    Held(Box<HeldTask>),
}

/// Takes a task for unit `lun` up to its answer or into its window.
pub fn run(target: &Target, lun: u16, task: Task) -> TaskStage {
    let data_in = task.data_in.clone();
    let pi_in = task.pi_in.clone();
    let queue = task.arrival.queue;
    let Some(unit) = target.unit(lun) else { return TaskStage::Answered(answer_absent(&task)) };
    match execute(target, unit, task) {
        Ok(Reply::Held(held)) => TaskStage::Held(held),
        Ok(reply) => {
            let sent = send(reply, &data_in, pi_in.as_ref(), (unit, queue));
            TaskStage::Answered(sent.unwrap_or_else(|failure| Answer::of_failure(unit, &failure)))
        }
        Err(failure) => TaskStage::Answered(Answer::of_failure(unit, &failure)),
    }
}

fn execute(target: &Target, unit: &Arc<Unit>, task: Task) -> Result<Reply, Failure> {
    let command = table::find(&task.cdb).ok_or(Sense::INVALID_OPCODE)?;
    // SAM-6 §5.14.4: INQUIRY, REPORT LUNS and REQUEST SENSE are answered all the same.
    let is_reported_later = matches!(command.when, When::Everywhere(_) | When::Always);
    if !is_reported_later && let Some(attention) = unit.take_attention() {
        return Err(attention.sense().into());
    }
    check_usage(command, &task.cdb)?;
    if matches!(command.when, When::Started) && unit.is_stopped() {
        return Err(Sense::STOPPED.into());
    }
    if !command.medium {
        unit.trap.admit(Op::Other, Lba(0), BlockCount(0))?;
    }
    (command.run)(&Call { target, unit, commands: &table::COMMANDS }, task)
}

/// What a task for a unit that does not exist comes to.
fn answer_absent(task: &Task) -> Answer {
    let refused = Answer::refused(Sense::NO_UNIT, false);
    match table::find(&task.cdb).map(|command| command.when) {
        Some(When::Everywhere(absent)) => {
            deliver_parameters(&absent(&task.cdb), &task.data_in).unwrap_or(refused)
        }
        _ => refused,
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
        Reply::Done | Reply::Held(_) => Ok(Answer::good(0)),
        Reply::Consumed(bytes) => Ok(Answer::good(bytes)),
        Reply::Parameters(parameters) => deliver_parameters(&parameters, data_in),
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

fn deliver_parameters(parameters: &Parameters, room: &Segments) -> Result<Answer, Failure> {
    let Parameters { bytes, allocation } = parameters;
    let allowed = usize::try_from(*allocation).unwrap_or(usize::MAX).min(bytes.len());
    deliver(bytes.get(..allowed).unwrap_or_default(), room)
}

fn deliver(bytes: &[u8], room: &Segments) -> Result<Answer, Failure> {
    let moved = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if moved > room.len() {
        return Err(Failure::Overrun);
    }
    room.copy_in(0, bytes)?;
    Ok(Answer::good(moved))
}

fn deliver_tuples(tuples: &[Tuple], room: &Segments) -> Result<(), Failure> {
    let bytes: Vec<u8> = tuples.iter().flat_map(|tuple| tuple.to_bytes()).collect();
    deliver(&bytes, room).map(drop)
}
