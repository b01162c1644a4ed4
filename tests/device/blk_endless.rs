//! A driver that fills its ring as fast as it is emptied takes the ring's time and nobody else's.

use std::sync::atomic::{AtomicBool, Ordering};

use dixtrap::control::Request;

use crate::kit::request::{readable, writable};
use crate::kit::ring::Ring;
use crate::kit::*;

/// Makes the ring full again and again: every slot of it names the same chain.
fn feed(ring: &Ring, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        ring.set_avail_idx(ring.used_idx().wrapping_add(ring.size));
        ring.kick();
    }
}

#[test]
fn a_ring_that_is_never_empty_lets_others_in() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let draft = Draft::read(&guest.memory, 0, 65536);
    let pieces =
        [readable(draft.header, 16), writable(draft.data, 65536), writable(draft.status, 1)];
    let head = guest.rings[0].place(&pieces);
    let slots = head.to_le_bytes().repeat(guest.rings[0].size.into());
    guest.memory.write(guest.rings[0].avail + 4, &slots);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| feed(&guest.rings[0], &over));
        eventually("reads", || (guest.rings[0].used_idx() > 1000).then_some(()));
        // An answer each time; the control client gives up after some seconds.
        let answers: Vec<_> =
            (0..20).map(|_| daemon.control().ask(&Request::Stats).map(drop)).collect();
        let released = daemon.control().ask(&Request::Release).map(drop);
        over.store(true, Ordering::Relaxed);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert!(released.is_ok(), "{released:?}");
    });
    drop(guest);
    eventually("the connection to end", || (!daemon.stats().connected).then_some(()));
    assert!(daemon.stop().broken().is_empty());
}
