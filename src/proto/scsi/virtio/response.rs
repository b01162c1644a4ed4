//! The response to a request (VIRTIO 1.2 §5.6.6.1).

use super::config_space::Sizes;
use crate::memory::Segments;
use crate::proto::scsi::drive::{Answer, ServiceResponse, Status};
use crate::proto::{Completed, Unanswerable};

/// Sense length, residual, status qualifier, status, response.
const FIXED_BYTES: u64 = 12;

/// What the device itself says of a request, beside the target's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// The target answered: its status says how the command ended.
    Ok,
    /// The buffers are shorter than what the command transfers.
    Overrun,
    /// Task management aborted the request.
    Aborted,
    /// There is no such target.
    BadTarget,
    /// A reset aborted the request.
    Reset,
    /// Something else is wrong with the request.
    Failure,
    /// Task management: there is such a task.
    FunctionSucceeded,
    /// Task management: no such function.
    FunctionRejected,
    /// Task management: the target has no such unit.
    IncorrectLun,
}

impl Response {
    /// The code.
    pub const fn code(self) -> u8 {
        match self {
            Response::Ok => 0,
            Response::Overrun => 1,
            Response::Aborted => 2,
            Response::BadTarget => 3,
            Response::Reset => 4,
            Response::Failure => 9,
            Response::FunctionSucceeded => 10,
            Response::FunctionRejected => 11,
            Response::IncorrectLun => 12,
        }
    }
}

/// Where a response goes, and how much data the request has room for.
#[derive(Debug)]
pub struct Slot {
    room: Segments,
    sizes: Sizes,
    /// Bytes of data that the request carries, either way.
    expected: u64,
    /// Bytes before the data that are filled too when the driver gets data.
    pi_in: u64,
    inward: bool,
}

impl Slot {
    /// Cuts the response off the writable part; answers the rest too.
    pub fn cut(writable: Segments, sizes: Sizes) -> Result<(Slot, Segments), Unanswerable> {
        if writable.len() < FIXED_BYTES {
            return Err(Unanswerable("the writable part is shorter than a response".to_owned()));
        }
        let (room, rest) = writable.split_at(FIXED_BYTES + u64::from(sizes.sense));
        Ok((Slot { room, sizes, expected: 0, pi_in: 0, inward: false }, rest))
    }

    /// Notes what the request carries, for the residual.
    pub fn expect(&mut self, data_out: u64, data_in: u64, pi_in: u64) {
        self.expected = data_out.max(data_in);
        self.inward = data_in > 0;
        self.pi_in = pi_in;
    }

    /// Writes what the target answered.
    pub fn answer(&self, answer: &Answer) -> Result<Completed, Unanswerable> {
        let (response, status) = match answer.response {
            ServiceResponse::Complete => (Response::Ok, answer.status),
            ServiceResponse::Overrun => (Response::Overrun, answer.status),
            // Not asked for: a silenced command is only ever aborted.
            ServiceResponse::NoAnswer => (Response::Ok, Status::Busy),
        };
        self.write(response, status, &answer.sense, answer.moved)
    }

    /// Writes that the target never answered.
    pub fn refuse(&self, response: Response) -> Result<Completed, Unanswerable> {
        self.write(response, Status::Good, &[], 0)
    }

    fn write(
        &self,
        response: Response,
        status: Status,
        sense: &[u8],
        moved: u64,
    ) -> Result<Completed, Unanswerable> {
        // SENSE SIZE may be less than there is to say.
        let room = usize::try_from(self.sizes.sense).unwrap_or(0);
        let sense = sense.get(..room.min(sense.len())).unwrap_or_default();
        let residual = u32::try_from(self.expected.saturating_sub(moved)).unwrap_or(u32::MAX);
        let mut bytes = u32::try_from(sense.len()).unwrap_or(0).to_le_bytes().to_vec();
        bytes.extend(residual.to_le_bytes());
        bytes.extend([0, 0, status.code(), response.code()]);
        bytes.extend(sense);
        bytes.resize(usize::try_from(self.room.len()).unwrap_or(0), 0);
        self.room.copy_in(0, &bytes).map_err(|error| Unanswerable(error.to_string()))?;
        let data = if self.inward && moved > 0 { self.pi_in.saturating_add(moved) } else { 0 };
        let written = u32::try_from(self.room.len().saturating_add(data)).unwrap_or(u32::MAX);
        Ok(Completed { written })
    }
}
