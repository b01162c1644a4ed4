//! What the tests are made of. [`Daemon`] and [`Guest`] are a scripted guest: the real daemon, and a front
//! end that speaks vhost-user to it as QEMU would and lays out its own virtqueues by hand, so that a test can
//! make every legal and every illegal request.
//!
//! - [`daemon`] — the process, its files, its control socket
//! - [`direct`] — folders and devices that do direct I/O
//! - [`memory`] — guest memory: two regions of memfds
//! - [`ring`] — a split virtqueue seen from the driver's side
//! - [`request`] — virtio-blk requests as pieces of a chain
//! - [`scsi`] — virtio-scsi requests and a guest that sends them
//! - [`guest`] — all of it put together: connect, write, read
//! - [`hostile`] — what became of a request that no honest driver makes
//! - [`records`] — what the daemon wrote down
//! - [`programs`] — the programs as child processes
//! - [`commands`] — commands as pages show them, and their flags
//! - [`packing`] — kernels' packages of any contents
//!
//! What needs a kernel or QEMU is not here but in `booted/`, which `tests/guests` alone includes.
#![allow(dead_code, unused_imports, reason = "each test program uses its own part of the kit")]

pub mod commands;
pub mod daemon;
pub mod direct;
pub mod guest;
pub mod hostile;
pub mod memory;
pub mod packing;
pub mod programs;
pub mod records;
pub mod request;
pub mod ring;
pub mod scsi;

use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use guest::{Guest, Plug};
pub use request::{Draft, Piece};

pub use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
pub use virtio_bindings::bindings::virtio_config::{VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1};
pub use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};

/// The status bytes (VIRTIO 1.2 §5.2.6).
pub const OK: u8 = 0;
pub const IOERR: u8 = 1;
pub const UNSUPP: u8 = 2;

/// How long anything may take before the test calls it a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` answers with something; a hang is a failure that says what was awaited.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// `len` bytes that differ from place to place and from `salt` to `salt`.
pub fn pattern(salt: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(salt);
    (0..len).map(|_| random.next() as u8).collect()
}

/// A small generator of repeatable numbers (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to and without `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
