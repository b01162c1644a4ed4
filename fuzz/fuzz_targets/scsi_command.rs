//! Commands of any bytes: always a status, sense data exactly with CHECK CONDITION, never more data
//! than there is room for.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use dixtrap::media::Started;
use dixtrap::memory::{MemoryMap, Segment, Segments};
use dixtrap::pi::PiType;
use dixtrap::proto::scsi::drive::{Cdb, TaskStage, Status, Target, Task, Unit, UnitIdentity, run};
use dixtrap::units::{BlockSize, QueueIndex};
use dixtrap_fuzz::trap;
use libfuzzer_sys::fuzz_target;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// Where the initiator's buffers are, one after the other.
const PLACE: u64 = 128 << 10;
const RAM: usize = 512 << 10;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    pi_type: u8,
    big: bool,
    commands: Vec<Command<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Command<'a> {
    lun: bool,
    cdb: &'a [u8],
    out: &'a [u8],
    room: u16,
    pi_out: Option<&'a [u8]>,
    pi_in: Option<u16>,
}

struct Memory(MemoryMap);

impl Memory {
    fn room(&self, place: u64, len: u32) -> Segments {
        let mut segments = Segments::new(Arc::clone(&self.0));
        segments.push(Segment { addr: place * PLACE, len }).expect("it fits");
        segments
    }

    fn filled(&self, place: u64, bytes: &[u8]) -> Segments {
        let bytes = bytes.get(..65536).unwrap_or(bytes);
        let segments = self.room(place, u32::try_from(bytes.len()).expect("short"));
        segments.copy_in(0, bytes).expect("it fits");
        segments
    }
}

fuzz_target!(|input: Input<'_>| {
    let pi_type = PiType::from_number(input.pi_type % 4).expect("0 to 3");
    let size = if input.big { BlockSize::B4096 } else { BlockSize::B512 };
    let unit = Unit::new(trap("scsi", pi_type, size), UnitIdentity::of("memory"));
    let target = Target::new(vec![Arc::new(unit)]);
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).expect("memory");
    let memory = Memory(Arc::new(ram));
    for command in input.commands.iter().take(16) {
        let task = Task {
            arrival: QueueIndex(2).into(),
            cdb: Cdb::new(command.cdb),
            data_out: memory.filled(0, command.out),
            data_in: memory.room(1, command.room.into()),
            pi_out: command.pi_out.map(|bytes| memory.filled(2, bytes)),
            pi_in: command.pi_in.map(|len| memory.room(3, len.into())),
        };
        let answer = match run(&target, command.lun.into(), task) {
            TaskStage::Answered(answer) => answer,
            TaskStage::Held(held) => match held.finish() {
                Started::Done(answer) => answer,
                Started::Pending(..) => unreachable!("a memory disk is never pending"),
            },
        };
        assert_eq!(answer.status == Status::CheckCondition, !answer.sense.is_empty());
        assert!(answer.sense.len() <= 96);
        let room = u64::from(command.room).max(command.out.len() as u64);
        assert!(answer.moved <= room, "{answer:?}");
    }
});
