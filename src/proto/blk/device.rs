//! The block device: commands carried out on the trap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};

use super::config_space::{ConfigSpace, writeback_of};
use super::features::{feature_bits, has};
use super::request::{Command, HEADER_BYTES, ID_BYTES, Layout, RANGE_BYTES, Range, RequestError};
use super::status::{Failure, status_byte};
use crate::clock::Moment;
use crate::inject::Op;
use crate::media::{Completion, Started, TransferId};
use crate::memory::Segments;
use crate::proto::{
    BeginOutcome, Completed, Device, DeviceRequest, Finished, InWindow, Unanswerable,
};
use crate::trap::{
    Arrival, Held, ReadInFlight, Trap, TrapError, Write, WriteInFlight, read_into, write,
};
use crate::units::{BlockCount, Lba, QueueIndex};

/// What `GET_ID` answers for a disk that was given no name, padded with zeros.
const SERIAL: &str = "dixtrap";

/// A virtio-blk device over a trap.
#[derive(Debug)]
pub struct BlkDevice {
    trap: Arc<Trap>,
    queues: u16,
    serial: String,
    writeback: AtomicBool,
}

/// A write inside its window, and where its status byte goes.
#[derive(Debug)]
#[must_use = "a held write has to be finished"]
pub struct HeldWrite {
    held: Held,
    status: Segments,
}

impl InWindow for HeldWrite {
    fn rung(&self) -> Moment {
        self.held.rung()
    }

    fn bytes(&self) -> u64 {
        self.held.bytes()
    }
}

/// A request whose data is under way, and where its status byte goes.
#[derive(Debug)]
#[must_use = "a request under way has to be concluded"]
pub struct InFlight {
    transfer: Transfer,
    status: Segments,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "writes are what this is for")]
enum Transfer {
    Write(WriteInFlight),
    /// A read of so many bytes.
    Read(ReadInFlight, u32),
}

/// A request cut into its parts.
struct Parts {
    arrival: Arrival,
    command: Command,
    data_out: Segments,
    data_in: Segments,
}

/// What a command came to before its status is written.
#[allow(clippy::large_enum_variant, reason = "taken apart where it is made; a box would cost more")]
enum CommandStage {
    /// Carried out; so many bytes of `data_in` were filled.
    Done(u32),
    /// In its window.
    Held(Held),
    /// A read whose data is under way; so many bytes.
    Reading(TransferId, ReadInFlight, u32),
}

impl BlkDevice {
    /// A device with `queues` rings.
    pub fn new(trap: Arc<Trap>, queues: u16) -> Self {
        let serial = SERIAL.to_owned();
        BlkDevice { trap, queues, serial, writeback: AtomicBool::new(true) }
    }

    /// The same with this serial, of which a guest sees twenty bytes: two disks of one guest must not
    /// have the same, or its `/dev/disk/by-id` knows only one of them.
    #[must_use]
    pub fn with_serial(self, serial: &str) -> Self {
        BlkDevice { serial: serial.to_owned(), ..self }
    }

    fn config_space(&self) -> ConfigSpace {
        let writeback = self.writeback.load(Ordering::Relaxed);
        ConfigSpace { geometry: self.trap.geometry(), queues: self.queues, writeback }
    }

    /// Cuts header and payload apart and reads the header.
    fn dissect(&self, request: DeviceRequest, data_in: Segments) -> Result<Parts, Failure> {
        if request.flawed {
            return Err(Failure::Flawed);
        }
        let (head, data_out) = request.readable.split_at(HEADER_BYTES as u64);
        let mut header = [0; HEADER_BYTES];
        if head.len() != HEADER_BYTES as u64 {
            return Err(RequestError::Malformed("a header shorter than 16 bytes").into());
        }
        head.copy_out(&mut header)?;
        let layout = Layout { data_out: data_out.len(), data_in: data_in.len() };
        let command = Command::parse(&header, layout, self.trap.geometry().block_size)?;
        Ok(Parts { arrival: request.arrival, command, data_out, data_in })
    }

    fn execute(&self, parts: Parts) -> Result<CommandStage, Failure> {
        match parts.command {
            Command::Read { lba, .. } => self.read(parts.arrival.queue, lba, &parts.data_in),
            Command::Write { lba, blocks } => {
                let (arrival, data) = (parts.arrival, parts.data_out);
                self.write(Write { arrival, lba, blocks, data, protection: None })
            }
            Command::Flush => {
                self.trap.flush()?;
                Ok(CommandStage::Done(0))
            }
            Command::GetId => {
                self.trap.admit(Op::Other, Lba(0), BlockCount(0))?;
                identify(&self.serial, &parts.data_in)
            }
            Command::Discard => self.change_ranges(&parts.data_out, false),
            Command::WriteZeroes => self.change_ranges(&parts.data_out, true),
        }
    }

    fn read(&self, queue: QueueIndex, lba: Lba, into: &Segments) -> Result<CommandStage, Failure> {
        // `Command::parse` has bounded the length to 64 MiB.
        let bytes = u32::try_from(into.len()).unwrap_or(u32::MAX);
        Ok(match read_into::begin(&self.trap, queue, lba, into)? {
            Started::Done(()) => CommandStage::Done(bytes),
            Started::Pending(id, reading) => CommandStage::Reading(id, reading, bytes),
        })
    }

    fn write(&self, write: Write) -> Result<CommandStage, Failure> {
        if write.blocks == BlockCount(0) {
            return Ok(CommandStage::Done(0));
        }
        Ok(CommandStage::Held(write::sample(&self.trap, write)?))
    }

    /// Checks all ranges before it touches the first.
    fn change_ranges(&self, payload: &Segments, zeroing: bool) -> Result<CommandStage, Failure> {
        let size = self.trap.geometry().block_size;
        // `Command::parse` has bounded the payload to 16 ranges.
        let mut bytes = vec![0; usize::try_from(payload.len()).unwrap_or(0)];
        payload.copy_out(&mut bytes)?;
        let (ranges, _) = bytes.as_chunks::<RANGE_BYTES>();
        let ranges: Vec<Range> = ranges
            .iter()
            .map(|bytes| Range::parse(bytes, zeroing, size))
            .collect::<Result<_, _>>()?;
        for range in &ranges {
            self.trap.check_range(range.lba, range.blocks)?;
        }
        for Range { lba, blocks, unmap } in ranges {
            if zeroing {
                self.trap.write_zeroes(lba, blocks, unmap)?;
            } else {
                self.trap.discard(lba, blocks)?;
            }
        }
        self.persist()?;
        Ok(CommandStage::Done(0))
    }

    /// With the write cache off a change is durable before it completes (VIRTIO 1.2 §5.2.6.2).
    fn persist(&self) -> Result<(), TrapError> {
        if self.writeback.load(Ordering::Relaxed) { Ok(()) } else { self.trap.persist() }
    }

    /// Writes the status byte.
    fn answer(
        &self,
        status: &Segments,
        outcome: Result<u32, Failure>,
    ) -> Result<Completed, Unanswerable> {
        if let Err(failure) = &outcome {
            log::debug!("request failed: {failure}");
            if !failure.is_counted_elsewhere() {
                self.trap.ledger().note_error();
            }
        }
        status
            .copy_in(0, &[status_byte(&outcome)])
            .map_err(|error| Unanswerable(error.to_string()))?;
        Ok(Completed { written: outcome.unwrap_or(0).saturating_add(1) })
    }
}

fn identify(serial: &str, into: &Segments) -> Result<CommandStage, Failure> {
    let id: Vec<u8> = serial.bytes().chain(std::iter::repeat(0)).take(ID_BYTES).collect();
    let room = usize::try_from(into.len()).unwrap_or(usize::MAX);
    let id = id.get(..room.min(ID_BYTES)).unwrap_or(&id);
    into.copy_in(0, id)?;
    Ok(CommandStage::Done(u32::try_from(id.len()).unwrap_or(0)))
}

impl Device for BlkDevice {
    type Held = HeldWrite;
    type InFlight = InFlight;

    fn queues(&self) -> u16 {
        self.queues
    }

    fn features(&self) -> u64 {
        feature_bits(self.trap.geometry().read_only)
    }

    fn acknowledge(&self, features: u64) {
        // VIRTIO 1.2 §5.2.5.2: without FLUSH the driver assumes that writes are durable.
        let cached = has(features, VIRTIO_BLK_F_CONFIG_WCE) || has(features, VIRTIO_BLK_F_FLUSH);
        self.writeback.store(cached, Ordering::Relaxed);
    }

    /// The capacity is part of the configuration space (VIRTIO 1.2 §5.2.5).
    fn notice_growth(&self) -> bool {
        self.trap.grow().unwrap_or_else(|error| {
            log::warn!("the disk has grown and cannot follow: {error}");
            false
        })
    }

    fn config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.config_space().read(offset, size)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> bool {
        let Some(writeback) = writeback_of(offset, bytes) else { return false };
        self.writeback.store(writeback, Ordering::Relaxed);
        true
    }

    fn begin(
        &self,
        mut request: DeviceRequest,
    ) -> Result<BeginOutcome<HeldWrite, InFlight>, Unanswerable> {
        let Some(last) = request.writable.len().checked_sub(1) else {
            return Err(Unanswerable("the chain has no writable byte".to_owned()));
        };
        let empty = request.readable.empty_like();
        let writable = std::mem::replace(&mut request.writable, empty);
        let (data_in, status) = writable.split_at(last);
        match self.dissect(request, data_in).and_then(|parts| self.execute(parts)) {
            Ok(CommandStage::Held(held)) => Ok(BeginOutcome::Held(HeldWrite { held, status })),
            Ok(CommandStage::Reading(ticket, reading, bytes)) => Ok(BeginOutcome::InFlight(
                ticket,
                InFlight { transfer: Transfer::Read(reading, bytes), status },
            )),
            Ok(CommandStage::Done(bytes)) => {
                self.answer(&status, Ok(bytes)).map(BeginOutcome::Done)
            }
            Err(failure) if failure.is_silence() => Ok(BeginOutcome::Unanswered(None)),
            Err(failure) => self.answer(&status, Err(failure)).map(BeginOutcome::Done),
        }
    }

    fn finish(&self, held: HeldWrite) -> Result<Finished<HeldWrite, InFlight>, Unanswerable> {
        let HeldWrite { held, status } = held;
        let judged = write::judge(&self.trap, held);
        let started = judged.and_then(|judged| write::start(&self.trap, judged, BlockCount(1)));
        let stored = match started {
            Ok(Started::Pending(id, in_flight)) => {
                let transfer = Transfer::Write(in_flight);
                return Ok(Finished::InFlight(id, InFlight { transfer, status }));
            }
            Ok(Started::Done(_)) => self.persist(),
            Err(error) => Err(error),
        };
        let outcome = stored.map(|()| 0).map_err(Failure::from);
        self.answer(&status, outcome).map(Finished::Completed)
    }

    fn conclude(
        &self,
        request: InFlight,
        completion: Completion,
    ) -> Result<Completed, Unanswerable> {
        let outcome = match request.transfer {
            Transfer::Write(in_flight) => {
                let stored = write::conclude(&self.trap, in_flight, completion);
                stored.and_then(|_| self.persist()).map(|()| 0)
            }
            Transfer::Read(reading, bytes) => {
                read_into::conclude(&self.trap, reading, completion).map(|()| bytes)
            }
        };
        self.answer(&request.status, outcome.map_err(Failure::from))
    }
}
