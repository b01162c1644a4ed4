//! What the targets share: a trap over a small memory disk.

use std::sync::Arc;

use dixtrap::clock::MonotonicClock;
use dixtrap::media::{Disk, DiskSpec};
use dixtrap::pi::PiType;
use dixtrap::record::OnRace;
use dixtrap::report::Sink;
use dixtrap::trap::{Faults, Ledger, Trap, TrapOptions};
use dixtrap::units::{BlockSize, ByteSize};

/// The disk's length.
pub const DISK_BYTES: u64 = 256 << 10;

/// A trap over an empty disk in memory.
pub fn trap(device: &'static str, pi_type: PiType, block_size: BlockSize) -> Arc<Trap> {
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
    let disk = Disk::open(&spec).expect("a memory disk");
    let clock = Arc::new(MonotonicClock::new());
    let ledger = Arc::new(Ledger::new(device, 1, clock, Sink::none()));
    let faults = Arc::new(Faults::new(1, Arc::clone(&ledger)));
    let options = TrapOptions { on_race: OnRace::Report, audit: false, unit: 0 };
    Arc::new(Trap::new(disk, ledger, faults, options))
}
