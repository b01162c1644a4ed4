//! The control queue (VIRTIO 1.2 §5.6.6.2): task management reaches requests inside their windows.

use std::sync::Arc;

use super::address::Address;
use super::request::{CommandInFlight, HeldCommand};
use super::response::Response;
use crate::memory::Segments;
use crate::proto::scsi::drive::{Target, UnitAttention};
use crate::proto::{BeginOutcome, Completed, DeviceRequest, TaskManagement, Unanswerable};

// Types of control requests.
const TASK_MANAGEMENT: u32 = 0;
const QUERY_NOTIFICATION: u32 = 1;
const SUBSCRIBE: u32 = 2;

/// The longest request: task management.
const REQUEST_BYTES: usize = 24;
/// An asynchronous notification request: no tag, and four bytes of events.
const NOTIFICATION_BYTES: usize = 16;

/// Task management functions (SAM-6 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    AbortTask,
    AbortTaskSet,
    ClearTaskSet,
    NexusReset,
    UnitReset,
    QueryTask,
    QueryTaskSet,
}

impl Function {
    /// CLEAR ACA (2) is not among them: no command asks for one.
    fn from_code(code: u32) -> Option<Function> {
        Some(match code {
            0 => Function::AbortTask,
            1 => Function::AbortTaskSet,
            3 => Function::ClearTaskSet,
            4 => Function::NexusReset,
            5 => Function::UnitReset,
            6 => Function::QueryTask,
            7 => Function::QueryTaskSet,
            _ => return None,
        })
    }

    fn asks_only(self) -> bool {
        matches!(self, Function::QueryTask | Function::QueryTaskSet)
    }

    /// What the requests that it ends are answered with.
    fn response(self) -> Response {
        match self {
            Function::NexusReset | Function::UnitReset => Response::Reset,
            _ => Response::Aborted,
        }
    }
}

/// A function on its way over the queues.
#[derive(Debug)]
struct Management {
    function: Function,
    lun: u16,
    tag: u64,
    found: bool,
    target: Arc<Target>,
    room: Segments,
}

impl Management {
    fn concerns(&self, held: &HeldCommand) -> bool {
        match self.function {
            Function::AbortTask | Function::QueryTask => {
                held.lun == self.lun && held.tag == self.tag
            }
            Function::AbortTaskSet
            | Function::ClearTaskSet
            | Function::UnitReset
            | Function::QueryTaskSet => held.lun == self.lun,
            Function::NexusReset => true,
        }
    }
}

impl TaskManagement<HeldCommand> for Management {
    fn takes(&mut self, held: &HeldCommand) -> bool {
        let concerned = self.concerns(held);
        self.found |= concerned;
        concerned && !self.function.asks_only()
    }

    fn end(&mut self, held: HeldCommand) -> Result<Completed, Unanswerable> {
        held.abort(self.function.response())
    }

    fn conclude(self: Box<Self>) -> Result<Completed, Unanswerable> {
        match self.function {
            Function::UnitReset => {
                if let Some(unit) = self.target.unit(self.lun) {
                    unit.reset(UnitAttention::Reset);
                }
            }
            Function::NexusReset => {
                for unit in self.target.units() {
                    unit.attend(UnitAttention::NexusLoss);
                }
            }
            _ => {}
        }
        let succeeded = self.function.asks_only() && self.found;
        let response = if succeeded { Response::FunctionSucceeded } else { Response::Ok };
        respond(&self.room, &[response.code()])
    }
}

/// Takes a control request up to its answer, or to the queues it acts on.
pub fn begin(
    target: &Arc<Target>,
    request: DeviceRequest,
) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
    let DeviceRequest { readable, writable, flawed, .. } = request;
    if writable.is_empty() {
        return Err(Unanswerable("the writable part is shorter than a response".to_owned()));
    }
    let (head, _) = readable.split_at(REQUEST_BYTES as u64);
    let mut bytes = [0; REQUEST_BYTES];
    let length = usize::try_from(head.len()).unwrap_or(0);
    let copied = bytes.get_mut(..length).map(|bytes| head.copy_out(bytes));
    if flawed || !matches!(copied, Some(Ok(()))) {
        return refuse(&writable, Response::Failure);
    }
    let [k0, k1, k2, k3, ..] = bytes;
    match u32::from_le_bytes([k0, k1, k2, k3]) {
        TASK_MANAGEMENT if length == REQUEST_BYTES => manage(target, &bytes, writable),
        QUERY_NOTIFICATION | SUBSCRIBE if length >= NOTIFICATION_BYTES => notify(writable),
        _ => refuse(&writable, Response::Failure),
    }
}

fn manage(
    target: &Arc<Target>,
    bytes: &[u8; REQUEST_BYTES],
    room: Segments,
) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
    let [_, _, _, _, f0, f1, f2, f3, rest @ ..] = *bytes;
    let (address, tag) = rest.split_at(8);
    let address = Address::parse(address.try_into().unwrap_or_default());
    let tag = u64::from_le_bytes(tag.try_into().unwrap_or_default());
    let Some(function) = Function::from_code(u32::from_le_bytes([f0, f1, f2, f3])) else {
        return refuse(&room, Response::FunctionRejected);
    };
    let lun = match address {
        Address::NoTarget => return refuse(&room, Response::BadTarget),
        Address::Unit(lun) => lun,
    };
    if target.unit(lun).is_none() && function != Function::NexusReset {
        return refuse(&room, Response::IncorrectLun);
    }
    let target = Arc::clone(target);
    let management = Management { function, lun, tag, found: false, target, room };
    Ok(BeginOutcome::TaskManagement(Box::new(management)))
}

/// Asynchronous notifications are about media and power: this device has none (VIRTIO 1.2 §5.6.6.2,
/// "event_actual … zero").
fn notify(room: Segments) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
    if room.len() < 5 {
        return refuse(&room, Response::Failure);
    }
    respond(&room, &[0, 0, 0, 0, Response::Ok.code()]).map(BeginOutcome::Done)
}

/// The response is the last byte.
fn refuse(
    room: &Segments,
    response: Response,
) -> Result<BeginOutcome<HeldCommand, CommandInFlight>, Unanswerable> {
    let mut bytes = vec![0; usize::try_from(room.len().min(5)).unwrap_or(1)];
    if let Some(last) = bytes.last_mut() {
        *last = response.code();
    }
    respond(room, &bytes).map(BeginOutcome::Done)
}

fn respond(room: &Segments, bytes: &[u8]) -> Result<Completed, Unanswerable> {
    room.copy_in(0, bytes).map_err(|error| Unanswerable(error.to_string()))?;
    Ok(Completed { written: u32::try_from(bytes.len()).unwrap_or(0) })
}
