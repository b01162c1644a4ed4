//! What the targets share: a trap over a small memory disk.

use std::sync::Arc;

use dixtrap::clock::MonotonicClock;
use dixtrap::media::{Disk, DiskSpec};
use dixtrap::pi::PiType;
use dixtrap::record::OnRace;
use dixtrap::report::Sink;
use dixtrap::trap::{Trap, TrapOptions};
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
    let options = TrapOptions { device, on_race: OnRace::Report, audit: false, lun: None };
    let disk = Disk::open(&spec).expect("a memory disk");
    Arc::new(Trap::new(disk, Arc::new(MonotonicClock::new()), Sink::none(), options))
}
