//! Once a lane is warm, a request allocates nothing: neither read nor write, short or long.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "test code states what it knows"
)]

#[path = "../benches/daemon/client.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod client;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, Pattern};
use dixtrap::clock::MonotonicClock;
use dixtrap::media::{Disk, DiskSpec, IoQueues};
use dixtrap::pi::PiType;
use dixtrap::proto::blk::BlkDevice;
use dixtrap::record::OnRace;
use dixtrap::report::Sink;
use dixtrap::transport::{Endpoint, Server, WindowControl};
use dixtrap::trap::{Faults, Ledger, Trap, TrapOptions};
use dixtrap::units::{BlockSize, ByteSize, SocketMode, WindowSpec};

/// The system's allocator, which counts what the queues' threads ask of it.
struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);

/// The name that the vhost-user crate gives them.
const WORKER: &[u8] = b"vring_worker\0";

fn count() {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes sixteen bytes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    if name.starts_with(WORKER) {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PATTERNS: [Pattern; 4] = [
    Pattern { write: true, bytes: 4 << 10, depth: 32, sequential: false },
    Pattern { write: false, bytes: 4 << 10, depth: 32, sequential: false },
    Pattern { write: true, bytes: 128 << 10, depth: 8, sequential: false },
    Pattern { write: false, bytes: 128 << 10, depth: 8, sequential: false },
];

fn trap() -> Arc<Trap> {
    let spec = DiskSpec {
        file: None,
        size: Some(ByteSize(16 << 20)),
        block_size: BlockSize::B512,
        pi_type: PiType::Type1,
        pi_file: None,
        read_only: false,
        direct: false,
    };
    let clock = Arc::new(MonotonicClock::new());
    let ledger = Arc::new(Ledger::new("blk", 1, clock, Sink::none()));
    let faults = Arc::new(Faults::new(1, Arc::clone(&ledger)));
    let options = TrapOptions { on_race: OnRace::Fail, audit: false, unit: 0 };
    Arc::new(Trap::new(Disk::open(&spec).unwrap(), ledger, faults, options))
}

fn requests_allocate_nothing(window: WindowSpec) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let trap = trap();
    let control = Arc::new(WindowControl::new(window, 1, Duration::ZERO));
    let device = Arc::new(BlkDevice::new(Arc::clone(&trap), 1));
    let server = Server::new(device, Arc::clone(trap.ledger()), IoQueues::none(), control).unwrap();
    let endpoint = Endpoint::bind(&socket, SocketMode::default()).unwrap();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&endpoint, true).unwrap());
        let mut client = Client::connect(&socket, 1, 256, 1 << 20).unwrap();
        client.populate().unwrap();
        let mut turns = |time| {
            let mut turn = |pattern| client.run(pattern, time).unwrap().latencies.len();
            PATTERNS.map(&mut turn)
        };
        turns(Duration::from_millis(300));
        assert!(
            ASKED.load(Ordering::Relaxed) > 0,
            "the queues' threads are not found by their name"
        );
        // A turn may have more in flight than any before it, and need room for that, once.
        let asked: Vec<u64> = std::iter::from_fn(|| {
            let before = ASKED.load(Ordering::Relaxed);
            // On a busy machine a turn may have hardly any requests; then it goes on.
            let enough = |requests: &[usize; 4]| requests.iter().all(|requests| *requests > 20);
            let mut turns = (0..100).map(|_| turns(Duration::from_millis(200)));
            assert!(turns.any(|requests| enough(&requests)), "hardly any request in 20 s");
            let asked = ASKED.load(Ordering::Relaxed) - before;
            (asked > 0).then_some(asked)
        })
        .take(5)
        .collect();
        assert!(asked.len() < 5, "each turn asked for memory: {asked:?} times");
        drop(client);
        serving.join().unwrap();
    });
    assert_eq!(trap.ledger().counters().errors, 0);
}

/// One test: the counter is one.
#[test]
fn a_warm_lane_allocates_nothing() {
    requests_allocate_nothing("0".parse().unwrap());
    requests_allocate_nothing("500us".parse().unwrap());
}
