//! virtio-scsi from the driver's side (VIRTIO 1.2 §5.6): a guest with a control, an event and request
//! queues, and its requests laid out in guest memory.

use std::sync::Arc;

use dixtrap::pi::{TUPLE_BYTES, Tuple};

use super::guest::bit;
use super::memory::Memory;
use super::request::{Piece, readable, writable};
use super::{Daemon, Guest, Plug, VIRTIO_RING_F_EVENT_IDX};

pub const CONTROL: usize = 0;
pub const EVENT: usize = 1;
pub const REQUEST: usize = 2;

pub const T10_PI: u32 = 3;

/// The response codes that the tests look for.
pub const OK: u8 = 0;
pub const OVERRUN: u8 = 1;
pub const ABORTED: u8 = 2;
pub const BAD_TARGET: u8 = 3;
pub const RESET: u8 = 4;
pub const FAILURE: u8 = 9;
pub const SUCCEEDED: u8 = 10;
pub const REJECTED: u8 = 11;
pub const INCORRECT_LUN: u8 = 12;

const UNTOUCHED: u8 = 0xA5;
const RESPONSE_BYTES: usize = 108;

/// The address of a unit.
pub fn lun(number: u8) -> [u8; 8] {
    [1, 0, 0x40, number, 0, 0, 0, 0]
}

/// A guest on the SCSI device.
pub struct ScsiGuest {
    pub guest: Guest,
    pub protected: bool,
    next_tag: u64,
}

/// A request in guest memory.
#[derive(Clone)]
pub struct Call {
    memory: Arc<Memory>,
    pub tag: u64,
    pub out: u64,
    pub pieces: Vec<Piece>,
    response: u64,
    data_in: u64,
    room: usize,
    pi_in: u64,
    blocks: usize,
}

/// What the device made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub response: u8,
    pub status: u8,
    pub sense: Vec<u8>,
    pub residual: u32,
    pub data: Vec<u8>,
    pub tuples: Vec<Tuple>,
}

impl Reply {
    /// Sense key, code and qualifier of fixed format sense data.
    pub fn codes(&self) -> (u8, u8, u8) {
        assert_eq!((self.response, self.status), (OK, 2), "{self:?}");
        (self.sense[2], self.sense[12], self.sense[13])
    }

    /// The INFORMATION field.
    pub fn information(&self) -> u32 {
        assert_eq!(self.sense[0], 0xF0, "{self:?}");
        u32::from_be_bytes([self.sense[3], self.sense[4], self.sense[5], self.sense[6]])
    }

    pub fn is_good(&self) -> bool {
        (self.response, self.status) == (OK, 0)
    }
}

/// What goes along with a command.
#[derive(Default)]
pub struct Load<'a> {
    pub out: &'a [u8],
    pub pi_out: &'a [Tuple],
    pub room: usize,
    pub pi_room: usize,
}

impl ScsiGuest {
    /// Plugs a guest in, with T10_PI or without, and hears out the power-on attention of unit 0.
    pub fn plug(daemon: &Daemon, protected: bool) -> ScsiGuest {
        let mut guest = ScsiGuest::plug_raw(daemon, protected);
        assert_eq!(guest.ask(&[0; 6], 0).codes(), (6, 0x29, 0x00));
        guest
    }

    /// As [`ScsiGuest::plug`], and hears nothing out.
    pub fn plug_raw(daemon: &Daemon, protected: bool) -> ScsiGuest {
        let mut without = bit(VIRTIO_RING_F_EVENT_IDX);
        if !protected {
            without |= bit(T10_PI);
        }
        let guest = daemon.plug(Plug { queues: 4, without, ..Plug::default() });
        guest.assert_offers(&[T10_PI]);
        ScsiGuest { guest, protected, next_tag: 1 }
    }

    /// What is spoken over `guest`, which was plugged in without T10_PI.
    pub fn over(guest: Guest) -> ScsiGuest {
        ScsiGuest { guest, protected: false, next_tag: 1 }
    }

    /// Lays a command for a unit out.
    pub fn call(&mut self, address: [u8; 8], cdb: &[u8], load: &Load) -> Call {
        let memory = Arc::clone(&self.guest.memory);
        let tag = self.next_tag;
        self.next_tag += 1;
        let mut header = address.to_vec();
        header.extend(tag.to_le_bytes());
        header.extend([0; 3]);
        let pi_in = load.pi_room * TUPLE_BYTES;
        if self.protected {
            header.extend(((load.pi_out.len() * TUPLE_BYTES) as u32).to_le_bytes());
            header.extend((pi_in as u32).to_le_bytes());
        }
        let at = header.len();
        header.extend(cdb);
        header.resize(at + 32, 0);
        let pi_out: Vec<u8> = load.pi_out.iter().flat_map(|tuple| tuple.to_bytes()).collect();
        let [header_at, pi_at, out] = [&header[..], &pi_out, load.out].map(|bytes| {
            let at = memory.alloc(bytes.len(), 4096);
            memory.write(at, bytes);
            at
        });
        let response = memory.alloc(RESPONSE_BYTES, 16);
        memory.write(response, &[UNTOUCHED; RESPONSE_BYTES]);
        let pi_in_at = memory.alloc(pi_in, 16);
        let data_in = memory.alloc(load.room, 4096);
        let pieces = [
            readable(header_at, header.len()),
            readable(pi_at, pi_out.len()),
            readable(out, load.out.len()),
            writable(response, RESPONSE_BYTES),
            writable(pi_in_at, pi_in),
            writable(data_in, load.room),
        ];
        let pieces = pieces.into_iter().filter(|piece| piece.len > 0).collect();
        let (room, blocks) = (load.room, load.pi_room);
        Call { memory, tag, out, pieces, response, data_in, room, pi_in: pi_in_at, blocks }
    }

    /// Exposes a request on a queue and rings.
    pub fn send(&mut self, queue: usize, call: &Call) -> u16 {
        let head = self.guest.rings[queue].place(&call.pieces);
        self.guest.ring_bell(queue, head);
        head
    }

    /// One command for unit 0 from beginning to end.
    pub fn run(&mut self, cdb: &[u8], load: &Load) -> Reply {
        let call = self.call(lun(0), cdb, load);
        self.run_call(&call)
    }

    pub fn run_call(&mut self, call: &Call) -> Reply {
        let head = self.send(REQUEST, call);
        self.guest.rings[REQUEST].wait(head);
        call.reply()
    }

    /// A command with room for an answer.
    pub fn ask(&mut self, cdb: &[u8], room: usize) -> Reply {
        self.run(cdb, &Load { room, ..Load::default() })
    }

    /// A command with data.
    pub fn tell(&mut self, cdb: &[u8], out: &[u8]) -> Reply {
        self.run(cdb, &Load { out, ..Load::default() })
    }

    /// A task management function; its response.
    pub fn manage(&mut self, function: u32, address: [u8; 8], tag: u64) -> u8 {
        let mut request = 0u32.to_le_bytes().to_vec();
        request.extend(function.to_le_bytes());
        request.extend(address);
        request.extend(tag.to_le_bytes());
        self.control(&request, 1)
    }

    /// Any control request; the last byte of its answer.
    pub fn control(&mut self, request: &[u8], answer: usize) -> u8 {
        let memory = Arc::clone(&self.guest.memory);
        let (at, room) = (memory.alloc(request.len(), 16), memory.alloc(answer, 16));
        memory.write(at, request);
        memory.write(room, &vec![UNTOUCHED; answer]);
        let pieces = [readable(at, request.len()), writable(room, answer)];
        let head = self.guest.rings[CONTROL].place(&pieces);
        self.guest.ring_bell(CONTROL, head);
        self.guest.rings[CONTROL].wait(head);
        memory.read(room, answer)[answer - 1]
    }
}

impl Call {
    /// The answer as it stands in memory.
    pub fn reply(&self) -> Reply {
        let bytes = self.memory.read(self.response, RESPONSE_BYTES);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let tuples = self.memory.read(self.pi_in, self.blocks * TUPLE_BYTES);
        Reply {
            response: bytes[11],
            status: bytes[10],
            sense: bytes[12..].get(..word(0) as usize).unwrap_or_default().to_vec(),
            residual: word(4),
            data: self.memory.read(self.data_in, self.room),
            tuples: tuples.as_chunks().0.iter().map(|tuple| Tuple::from_bytes(*tuple)).collect(),
        }
    }

    /// Whether the device has not written its response.
    pub fn is_untouched(&self) -> bool {
        self.memory.read(self.response + 11, 1) == [UNTOUCHED]
    }
}

/// READ(10) or WRITE(10) with a protect field.
pub fn ten(opcode: u8, protect: u8, lba: u8, count: u8) -> [u8; 10] {
    [opcode, protect << 5, 0, 0, 0, lba, 0, 0, count, 0]
}
