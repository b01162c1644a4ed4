//! The requests of a request queue, up to their windows and answers.

use super::address::Address;
use super::header::{Header, Layout};
use super::response::{Response, Slot};
use crate::clock::Moment;
use crate::media::{Completion, Started};
use crate::memory::Segments;
use crate::proto::scsi::drive::{
    HeldTask, ServiceResponse, Target, Task, TaskInFlight, TaskStage, run,
};
use crate::proto::{BeginOutcome, Completed, DeviceRequest, Finished, InWindow, Unanswerable};

/// A command of the task set: its names and where its response goes.
#[derive(Debug)]
#[must_use = "a held command has to be finished"]
pub struct HeldCommand {
    /// The write inside its window; `None` of a command that an injected fault silenced.
    task: Option<Box<HeldTask>>,
    slot: Slot,
    pub(super) lun: u16,
    pub(super) tag: u64,
}

impl InWindow for HeldCommand {
    fn rung(&self) -> Moment {
        self.task.as_ref().map_or(Moment(0), |task| task.rung())
    }

    fn bytes(&self) -> u64 {
        self.task.as_ref().map_or(0, |task| task.bytes())
    }
}

/// A command whose data is on its way to the medium, and where its response goes.
#[derive(Debug)]
#[must_use = "a command in flight has to be concluded"]
pub struct CommandInFlight {
    task: TaskInFlight,
    slot: Slot,
}

impl CommandInFlight {
    /// Answers a command whose data has landed. No fault silences it any more: those come before.
    pub fn conclude(self, completion: Completion) -> Result<Completed, Unanswerable> {
        self.slot.answer(&self.task.conclude(completion))
    }
}

impl HeldCommand {
    /// Ends the window. A command that falls silent stays one of the task set (SAM-6 §5.5): task
    /// management finds it.
    pub fn finish(self) -> Result<Finished<HeldCommand, CommandInFlight>, Unanswerable> {
        let HeldCommand { task: Some(task), slot, lun, tag } = self else {
            return Ok(Finished::Unanswered(Some(self)));
        };
        let answer = match task.finish() {
            Started::Done(answer) => answer,
            Started::Pending(id, task) => {
                return Ok(Finished::InFlight(id, CommandInFlight { task, slot }));
            }
        };
        if answer.response == ServiceResponse::NoAnswer {
            return Ok(Finished::Unanswered(Some(HeldCommand { task: None, slot, lun, tag })));
        }
        slot.answer(&answer).map(Finished::Completed)
    }

    /// Ends the command without carrying it out.
    pub fn abort(self, response: Response) -> Result<Completed, Unanswerable> {
        self.slot.refuse(response)
    }
}

/// Takes a request up to its answer or into its window.
pub fn begin(
    target: &Target,
    layout: Layout,
    request: DeviceRequest,
) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
    let DeviceRequest { arrival, readable, writable, flawed } = request;
    let (mut slot, data_in) = Slot::cut(writable, layout.sizes)?;
    let refuse = |slot: &Slot, response| slot.refuse(response).map(BeginOutcome::Done);
    let (head, data_out) = readable.split_at(layout.header_bytes() as u64);
    if flawed {
        return refuse(&slot, Response::Failure);
    }
    let Ok(Some(header)) = layout.read(&head) else { return refuse(&slot, Response::Failure) };
    let Address::Unit(lun) = header.address else { return refuse(&slot, Response::BadTarget) };
    let Some(parts) = Parts::cut(data_out, data_in, &header) else {
        return refuse(&slot, Response::Failure);
    };
    slot.expect(parts.data_out.len(), parts.data_in.len(), header.pi_in.into());
    let Parts { data_out, data_in, pi_out, pi_in } = parts;
    let task = Task { arrival, cdb: header.cdb, data_out, data_in, pi_out, pi_in };
    let tag = header.tag;
    match run(target, lun, task) {
        TaskStage::Answered(answer) if answer.response == ServiceResponse::NoAnswer => {
            Ok(BeginOutcome::Unanswered(Some(HeldCommand { task: None, slot, lun, tag })))
        }
        TaskStage::Answered(answer) => slot.answer(&answer).map(BeginOutcome::Done),
        TaskStage::Held(task) => {
            Ok(BeginOutcome::Held(HeldCommand { task: Some(task), slot, lun, tag }))
        }
    }
}

/// The data of a request, protection information cut off.
struct Parts {
    data_out: Segments,
    data_in: Segments,
    pi_out: Option<Segments>,
    pi_in: Option<Segments>,
}

impl Parts {
    /// `None` where the request contradicts itself: more protection information than bytes, or data
    /// both ways, which INOUT would allow and was not offered (VIRTIO 1.2 §5.6.6.1.1).
    fn cut(data_out: Segments, data_in: Segments, header: &Header) -> Option<Parts> {
        if !data_out.is_empty() && !data_in.is_empty() {
            return None;
        }
        let (pi_out, data_out) = cut_protection(data_out, header.pi_out)?;
        let (pi_in, data_in) = cut_protection(data_in, header.pi_in)?;
        Some(Parts { data_out, data_in, pi_out, pi_in })
    }
}

/// Protection information stands before the data (VIRTIO 1.2 §5.6.6.1).
fn cut_protection(all: Segments, bytes: u32) -> Option<(Option<Segments>, Segments)> {
    let bytes = u64::from(bytes);
    if bytes > all.len() {
        return None;
    }
    let (protection, data) = all.split_at(bytes);
    Some(((bytes > 0).then_some(protection), data))
}
