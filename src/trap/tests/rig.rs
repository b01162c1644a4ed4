//! Guest memory, a disk, a clock that stands still, and the records.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::clock::{Clock, ManualClock};
use crate::media::{Disk, DiskSpec, IoQueues, QueueIo, Started};
use crate::memory::{MemoryMap, Segment, Segments};
use crate::pi::{Checks, Expected, PiType, Protect, Source, Tuple, generate};
use crate::record::{Counters, Inject, Line, MediumFault, OnRace, Race, Record};
use crate::report::Sink;
use crate::trap::{
    Faults, Held, Ledger, Trap, TrapError, TrapOptions, Write, WriteProtection, inject, read, write,
};
use crate::units::{BlockCount, BlockSize, ByteSize, Lba, QueueIndex};

/// Where the data is in guest memory.
pub const DATA: u64 = 0x1_0000;
/// Where the tuples are.
pub const TUPLES: u64 = 0x8000;
/// How many blocks a test's write has.
pub const BLOCKS: u64 = 4;
/// Where it goes.
pub const LBA: Lba = Lba(8);
/// By which queue it comes.
pub const QUEUE: QueueIndex = QueueIndex(1);

/// A trap over a memory disk, and a guest that writes to it.
pub struct Rig {
    pub trap: Arc<Trap>,
    pub clock: Arc<ManualClock>,
    pub io: QueueIo,
    map: MemoryMap,
    dir: TempDir,
}

impl Rig {
    pub fn new(kind: PiType, block_size: BlockSize, on_race: OnRace) -> Rig {
        let disk = Disk::open(&memory(kind, block_size)).unwrap();
        Rig::over(disk, on_race, TempDir::new().unwrap())
    }

    /// A rig whose disk's reads and writes are in flight; `None` where that cannot be here.
    pub fn direct(on_race: OnRace) -> Option<Rig> {
        // The build's folder lies on a real file system where nothing else may.
        let dir = TempDir::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = Some(dir.path().join("disk.img"));
        let spec = DiskSpec { file, direct: true, ..memory(PiType::Type1, BlockSize::B4096) };
        let io = IoQueues::open(QUEUE.0..QUEUE.0 + 1);
        let mut disk = Disk::open(&spec).ok()?;
        disk.overlap(&io);
        let rig = disk.overlaps(QUEUE).then(|| Rig::over(disk, on_race, dir))?;
        Some(Rig { io: io.of(QUEUE), ..rig })
    }

    fn over(disk: Disk, on_race: OnRace, dir: TempDir) -> Rig {
        let clock = Arc::new(ManualClock::default());
        let sink = Sink::open(&dir.path().join("races.jsonl"), None).unwrap();
        sink.begin().unwrap();
        let books = Arc::clone(&clock) as Arc<dyn Clock>;
        let ledger = Arc::new(Ledger::new("scsi", 1, books, sink));
        let faults = Arc::new(Faults::new(0, Arc::clone(&ledger)));
        let options = TrapOptions { on_race, audit: false, unit: 0 };
        let trap = Arc::new(Trap::new(disk, ledger, faults, options));
        let map = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap());
        Rig { trap, clock, io: IoQueues::none().of(QUEUE), map, dir }
    }

    /// Adds a fault.
    pub fn inject(&self, spec: &str) {
        inject(std::slice::from_ref(&self.trap), spec.parse().unwrap()).unwrap();
    }

    pub fn counters(&self) -> Counters {
        self.trap.ledger().counters()
    }

    pub fn kind(&self) -> PiType {
        self.trap.geometry().pi_type
    }

    pub fn size(&self) -> usize {
        self.trap.geometry().block_size.bytes()
    }

    pub fn segments(&self, addr: u64, len: u64) -> Segments {
        let mut segments = Segments::new(Arc::clone(&self.map));
        segments.push(Segment { addr, len: len as u32 }).unwrap();
        segments
    }

    /// Puts `bytes` into guest memory.
    pub fn poke(&self, addr: u64, bytes: &[u8]) {
        self.map.write_slice(bytes, GuestAddress(addr)).unwrap();
    }

    pub fn peek(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.map.read_slice(&mut bytes, GuestAddress(addr)).unwrap();
        bytes
    }

    /// Inverts one byte of guest memory.
    pub fn flip(&self, addr: u64) {
        let byte = self.peek(addr, 1)[0];
        self.poke(addr, &[!byte]);
    }

    /// The address of a byte of a block of the data.
    pub fn data(&self, block: u64, byte: u64) -> u64 {
        DATA + block * self.size() as u64 + byte
    }

    /// The bytes of a block as they are in guest memory now.
    pub fn block(&self, block: u64) -> Vec<u8> {
        self.peek(self.data(block, 0), self.size())
    }

    pub fn tuple(&self, block: u64) -> Tuple {
        let bytes = self.peek(TUPLES + 8 * block, 8);
        Tuple::from_bytes(bytes.try_into().unwrap())
    }

    pub fn set_tuple(&self, block: u64, tuple: Tuple) {
        self.poke(TUPLES + 8 * block, &tuple.to_bytes());
    }

    /// What a guest does before it submits: data, and tuples made of it.
    pub fn prepare(&self, salt: u8) {
        for block in 0..BLOCKS {
            let data = vec![salt.wrapping_add(block as u8 * 17); self.size()];
            self.poke(self.data(block, 0), &data);
            self.set_tuple(block, generate(self.kind(), &data, LBA.offset(block)));
        }
    }

    /// The checks of WRPROTECT (or another field) with the CDB that the type asks for.
    pub fn checks(&self, source: Source, field: u8) -> Checks {
        let expected = Expected::new(LBA.0 as u32, 0, 0);
        let expected = (self.kind() == PiType::Type2).then_some(expected);
        let protect = Protect { field, kind: self.kind(), ato: true, lba: LBA, expected };
        protect.transfer(source).unwrap().checks
    }

    /// A write with tuples, submitted.
    pub fn submit(&self, wrprotect: u8) -> Held {
        self.submit_or_fail(wrprotect).unwrap()
    }

    pub fn submit_or_fail(&self, wrprotect: u8) -> Result<Held, TrapError> {
        let tuples = (wrprotect != 0).then(|| self.segments(TUPLES, 8 * BLOCKS));
        let checks = self.checks(Source::Write, wrprotect);
        self.doorbell(Some(WriteProtection { tuples, checks }))
    }

    pub fn doorbell(&self, protection: Option<WriteProtection>) -> Result<Held, TrapError> {
        let write = Write {
            arrival: QUEUE.into(),
            lba: LBA,
            blocks: BlockCount(BLOCKS),
            data: self.segments(DATA, BLOCKS * self.size() as u64),
            protection,
        };
        write::sample(&self.trap, write)
    }

    /// Ends the window after 250 us.
    pub fn fetch(&self, held: Held) -> Result<(), TrapError> {
        self.clock.advance(Duration::from_micros(250));
        self.fetch_same(held, BlockCount(1))
    }

    /// Ends the window and stores so many copies.
    pub fn fetch_same(&self, held: Held, copies: BlockCount) -> Result<(), TrapError> {
        match write::start(&self.trap, write::judge(&self.trap, held)?, copies)? {
            Started::Done(_) => Ok(()),
            Started::Pending(..) => panic!("a memory disk is never pending"),
        }
    }

    /// A block as it is on the medium.
    pub fn stored(&self, block: u64) -> (Vec<u8>, Tuple) {
        let (mut data, mut tuple) = (vec![0; self.size()], [Tuple::ESCAPE]);
        self.trap.disk.read(LBA.offset(block), &mut data, &mut tuple).unwrap();
        (data, tuple[0])
    }

    /// Every block reads back with all its checks.
    pub fn reads_clean(&self) {
        let mut data = vec![0; self.size() * BLOCKS as usize];
        self.read(LBA, &mut data).unwrap();
    }

    /// Reads blocks with every check that needs no command.
    pub fn read(&self, lba: Lba, data: &mut [u8]) -> Result<(), TrapError> {
        let mut tuples = vec![Tuple::ESCAPE; data.len() / self.size()];
        let checks = Checks::of_address(self.kind(), lba);
        read::protected(&self.trap, lba, data, &mut tuples, &checks)
    }

    /// All records, after which the trap is at its end.
    pub fn records(&self) -> Vec<Record> {
        self.trap.ledger().stop();
        let text = std::fs::read_to_string(self.dir.path().join("races.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().record).collect()
    }

    pub fn injections(&self) -> Vec<Inject> {
        let inject = |record| if let Record::Inject(it) = record { Some(it) } else { None };
        self.records().into_iter().filter_map(inject).collect()
    }

    pub fn races(&self) -> Vec<Race> {
        let race = |record| if let Record::Race(race) = record { Some(*race) } else { None };
        self.records().into_iter().filter_map(race).collect()
    }

    pub fn medium_faults(&self) -> Vec<MediumFault> {
        let fault = |record| if let Record::Medium(fault) = record { Some(fault) } else { None };
        self.records().into_iter().filter_map(fault).collect()
    }
}

fn memory(pi_type: PiType, block_size: BlockSize) -> DiskSpec {
    DiskSpec {
        file: None,
        size: Some(ByteSize(1 << 20)),
        block_size,
        pi_type,
        pi_file: None,
        read_only: false,
        direct: false,
    }
}

/// Every protected type with both block sizes.
pub fn every_format() -> impl Iterator<Item = (PiType, BlockSize)> {
    [PiType::Type1, PiType::Type2, PiType::Type3]
        .into_iter()
        .flat_map(|kind| [(kind, BlockSize::B512), (kind, BlockSize::B4096)])
}
