//! A target with one unit, and an initiator's memory.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::clock::MonotonicClock;
use crate::media::{Disk, DiskSpec, Started};
use crate::memory::{MemoryMap, Segment, Segments};
use crate::pi::{PiType, TUPLE_BYTES, Tuple};
use crate::proto::scsi::drive::{
    Answer, Cdb, ServiceResponse, Status, Target, Task, TaskStage, Unit, UnitIdentity, run,
};
use crate::record::OnRace;
use crate::report::Sink;
use crate::trap::{Faults, Ledger, Trap, TrapOptions};
use crate::units::{BlockSize, ByteSize, QueueIndex};

/// The disk's length.
pub const DISK_BYTES: u64 = 256 << 10;
/// Where the initiator's buffers are: data out, data in, tuples out, tuples in.
const OUT: u64 = 0;
const IN: u64 = 1 << 20;
const PI_OUT: u64 = 2 << 20;
const PI_IN: u64 = 3 << 20;
const RAM: usize = 4 << 20;

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub answer: Answer,
    /// The data-in buffer as far as it was filled.
    pub data: Vec<u8>,
    /// The room for tuples, whole.
    pub tuples: Vec<Tuple>,
}

impl Outcome {
    /// Sense key, code and qualifier of a CHECK CONDITION, from either format.
    pub fn sense(&self) -> Option<(u8, u8, u8)> {
        let sense = &self.answer.sense;
        match sense.first()? & 0x7F {
            0x70 => Some((sense[2], sense[12], sense[13])),
            _ => Some((sense[1], sense[2], sense[3])),
        }
    }

    /// INFORMATION of fixed format sense data.
    pub fn information(&self) -> Option<u32> {
        let sense = &self.answer.sense;
        (sense.first()? & 0x80 != 0)
            .then(|| u32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]]))
    }

    pub fn is_overrun(&self) -> bool {
        self.answer.response == ServiceResponse::Overrun
    }

    pub fn is_good(&self) -> bool {
        self.answer.status == Status::Good && self.answer.response == ServiceResponse::Complete
    }
}

/// A target and memory to speak to it from.
pub struct Rig {
    pub target: Target,
    map: MemoryMap,
    size: BlockSize,
}

impl Rig {
    /// A disk of 512-byte blocks whose first attention was told.
    pub fn new(pi_type: PiType) -> Rig {
        Rig::with(pi_type, BlockSize::B512, OnRace::Fail)
    }

    pub fn with(pi_type: PiType, block_size: BlockSize, on_race: OnRace) -> Rig {
        let size = Some(ByteSize(DISK_BYTES));
        let spec = DiskSpec {
            file: None,
            size,
            block_size,
            pi_type,
            pi_file: None,
            read_only: false,
            direct: false,
        };
        let disk = Disk::open(&spec).unwrap();
        let clock = Arc::new(MonotonicClock::new());
        let ledger = Arc::new(Ledger::new("scsi", 1, clock, Sink::none()));
        let faults = Arc::new(Faults::new(0, Arc::clone(&ledger)));
        let options = TrapOptions { on_race, audit: false, unit: 0 };
        let trap = Trap::new(disk, ledger, faults, options);
        let unit = Unit::new(Arc::new(trap), UnitIdentity::of("memory"));
        unit.take_attention();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let target = Target::new(vec![Arc::new(unit)]);
        Rig { target, map: Arc::new(ram), size: block_size }
    }

    /// A command without data from the initiator, with room for 64 KiB to it.
    pub fn ask(&self, cdb: &[u8]) -> Outcome {
        self.run(cdb, &[], 65536, None, 0)
    }

    /// A command with data from the initiator.
    pub fn tell(&self, cdb: &[u8], data: &[u8]) -> Outcome {
        self.run(cdb, data, 0, None, 0)
    }

    /// A command with data and tuples from the initiator.
    pub fn tell_protected(&self, cdb: &[u8], data: &[u8], tuples: &[Tuple]) -> Outcome {
        self.run(cdb, data, 0, Some(tuples), 0)
    }

    /// A command with room for data and so many tuples.
    pub fn ask_protected(&self, cdb: &[u8], blocks: u32) -> Outcome {
        self.run(cdb, &[], 65536, None, blocks)
    }

    pub fn run(
        &self,
        cdb: &[u8],
        out: &[u8],
        room: u32,
        tuples: Option<&[Tuple]>,
        pi_room: u32,
    ) -> Outcome {
        let sent: Vec<u8> =
            tuples.unwrap_or_default().iter().flat_map(|tuple| tuple.to_bytes()).collect();
        let task = Task {
            arrival: QueueIndex(2).into(),
            cdb: Cdb::new(cdb),
            data_out: self.filled(OUT, out),
            data_in: self.buffer(IN, room),
            pi_out: tuples.map(|_| self.filled(PI_OUT, &sent)),
            pi_in: (pi_room > 0).then(|| self.buffer(PI_IN, pi_room * TUPLE_BYTES as u32)),
        };
        let (data_in, pi_in) = (task.data_in.clone(), task.pi_in.clone());
        let answer = match run(&self.target, 0, task) {
            TaskStage::Answered(answer) => answer,
            TaskStage::Held(held) => match held.finish() {
                Started::Done(answer) => answer,
                Started::Pending(..) => panic!("a memory disk is never pending"),
            },
        };
        let filled = data_in.split_at(answer.moved.min(room.into())).0;
        let tuples = pi_in.map(|room| bytes_of(&room)).unwrap_or_default();
        let tuples = tuples.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect();
        Outcome { answer, data: bytes_of(&filled), tuples }
    }

    fn buffer(&self, at: u64, len: u32) -> Segments {
        let mut segments = Segments::new(Arc::clone(&self.map));
        segments.push(Segment { addr: at, len }).unwrap();
        segments
    }

    fn filled(&self, at: u64, bytes: &[u8]) -> Segments {
        let segments = self.buffer(at, bytes.len() as u32);
        segments.copy_in(0, bytes).unwrap();
        segments
    }

    /// A block of bytes that tell `salt` apart.
    pub fn block(&self, salt: u8) -> Vec<u8> {
        (0..self.size.bytes()).map(|at| (at as u8).wrapping_mul(31) ^ salt).collect()
    }

    /// READ(10) of whole blocks, which has to succeed.
    pub fn read(&self, lba: u8, count: u8) -> Vec<u8> {
        let outcome = self.ask(&[0x28, 0, 0, 0, 0, lba, 0, 0, count]);
        assert!(outcome.is_good(), "{outcome:?}");
        outcome.data
    }

    /// WRITE(10), which has to succeed.
    pub fn write(&self, lba: u8, data: &[u8]) {
        let count = (data.len() / self.size.bytes()) as u8;
        let outcome = self.tell(&[0x2A, 0, 0, 0, 0, lba, 0, 0, count], data);
        assert!(outcome.is_good(), "{outcome:?}");
    }
}

fn bytes_of(segments: &Segments) -> Vec<u8> {
    let mut bytes = vec![0; segments.len() as usize];
    segments.copy_out(&mut bytes).unwrap();
    bytes
}

/// A 32-byte command: service action, flag byte, address, tags, count.
pub fn long(
    action: u8,
    flags: u8,
    lba: u8,
    (reference, app, mask): (u32, u16, u16),
    count: u8,
) -> [u8; 32] {
    let mut cdb = [0; 32];
    (cdb[0], cdb[7], cdb[9], cdb[10], cdb[19], cdb[31]) = (0x7F, 0x18, action, flags, lba, count);
    cdb[20..24].copy_from_slice(&reference.to_be_bytes());
    cdb[24..26].copy_from_slice(&app.to_be_bytes());
    cdb[26..28].copy_from_slice(&mask.to_be_bytes());
    cdb
}

/// A 16-byte command: operation code, byte 1, address, count.
pub fn sixteen(opcode: u8, flags: u8, lba: u64, count: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&count.to_be_bytes());
    cdb
}
