//! The trap without a ring: what a request costs between its doorbell and its answer, with
//! criterion's statistics.
//!
//! As many requests at once as a driver would have in flight, on places all over a disk that is
//! larger than the caches; with every check, without any, and with every check on a file of tmpfs, which has
//! an intent log (`logged`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may stop"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dixtrap::clock::MonotonicClock;
use dixtrap::media::{Disk, DiskSpec};
use dixtrap::memory::{MemoryMap, Segment, Segments};
use dixtrap::pi::PiType;
use dixtrap::record::OnRace;
use dixtrap::report::Sink;
use dixtrap::trap::{Faults, Held, Ledger, Trap, TrapOptions, Write, read_into, write};
use dixtrap::units::{BlockCount, BlockSize, ByteSize, Lba, QueueIndex};
use vm_memory::{GuestAddress, GuestMemoryMmap};

const DISK_BYTES: u64 = 512 << 20;
const BLOCK: u64 = 512;

/// A trap over a populated memory disk, and a guest's buffers.
struct Rig {
    trap: Trap,
    map: MemoryMap,
    random: fastrand::Rng,
}

impl Rig {
    fn new(checked: bool, file: Option<PathBuf>) -> Rig {
        let spec = DiskSpec {
            file,
            size: Some(ByteSize(DISK_BYTES)),
            block_size: BlockSize::B512,
            pi_type: if checked { PiType::Type1 } else { PiType::None },
            pi_file: None,
            read_only: false,
            direct: false,
        };
        let disk = Disk::open(&spec).unwrap();
        let clock = Arc::new(MonotonicClock::new());
        let ledger = Arc::new(Ledger::new("blk", 1, clock, Sink::none()));
        let faults = Arc::new(Faults::new(1, Arc::clone(&ledger)));
        let options = TrapOptions { on_race: OnRace::Fail, audit: false, unit: 0 };
        let trap = Trap::new(disk, ledger, faults, options);
        let trap = trap.without_checks(!checked);
        let map = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap());
        let mut rig = Rig { trap, map, random: fastrand::Rng::with_seed(1) };
        for at in (0..DISK_BYTES).step_by(1 << 20) {
            let held = write::sample(&rig.trap, rig.write(0, at, 1 << 20)).unwrap();
            rig.store(held);
        }
        rig.random = fastrand::Rng::with_seed(2);
        rig
    }

    fn buffer(&self, slot: u64, len: u64) -> Segments {
        let mut data = Segments::new(Arc::clone(&self.map));
        let len32 = u32::try_from(len).unwrap();
        data.push(Segment { addr: slot * len, len: len32 }).unwrap();
        data
    }

    fn write(&self, slot: u64, at: u64, len: u64) -> Write {
        Write {
            arrival: QueueIndex(0).into(),
            lba: Lba(at / BLOCK),
            blocks: BlockCount(len / BLOCK),
            data: self.buffer(slot, len),
            protection: None,
        }
    }

    fn store(&self, held: Held) {
        let judged = write::judge(&self.trap, held).unwrap();
        write::start(&self.trap, judged, BlockCount(1)).unwrap();
    }

    fn place(&mut self, len: u64) -> u64 {
        self.random.u64(0..DISK_BYTES / len) * len
    }

    fn writes(&mut self, depth: u64, len: u64) {
        let held: Vec<_> = (0..depth)
            .map(|slot| {
                let at = self.place(len);
                write::sample(&self.trap, self.write(slot, at, len)).unwrap()
            })
            .collect();
        for held in held {
            self.store(held);
        }
    }

    fn reads(&mut self, depth: u64, len: u64) {
        for slot in 0..depth {
            let at = self.place(len);
            let into = self.buffer(slot, len);
            read_into::begin(&self.trap, QueueIndex(0), Lba(at / BLOCK), &into).unwrap();
        }
    }
}

fn requests(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = folder.path().join("disk.img");
    let mut rigs = [
        ("checked", Rig::new(true, None)),
        ("logged", Rig::new(true, Some(file))),
        ("unchecked", Rig::new(false, None)),
    ];
    for (name, write, depth, len) in [
        ("write4k", true, 32, 4 << 10),
        ("write128k", true, 2, 128 << 10),
        ("read4k", false, 32, 4 << 10),
        ("read128k", false, 8, 128 << 10),
    ] {
        let mut group = criterion.benchmark_group(format!("trap/{name}"));
        group.throughput(Throughput::Elements(depth));
        for (checks, rig) in &mut rigs {
            group.bench_function(BenchmarkId::from_parameter(*checks), |bencher| {
                bencher.iter(|| if write { rig.writes(depth, len) } else { rig.reads(depth, len) });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = requests
}
criterion_main!(benches);
