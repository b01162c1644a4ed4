//! A front end that makes the files behind its guest's memory shorter while they are in use: the daemon
//! lives, judges nothing by what is not there, and serves whoever comes next.

use crate::kit::memory::{HIGH, LOW};
use crate::kit::request::{Draft, Piece, readable, writable};
use crate::kit::*;

/// A write whose pieces all lie in the region of the rings.
fn write_in_low(guest: &Guest, sector: u64, data: &[u8]) -> (Vec<Piece>, u64) {
    let [header, place, status] =
        [16, data.len() as u64, 1].map(|len| guest.memory.alloc_ring(len));
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&VIRTIO_BLK_T_OUT.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    guest.memory.write(header, &bytes);
    guest.memory.write(place, data);
    guest.memory.write(status, &[request::UNTOUCHED]);
    (vec![readable(header, 16), readable(place, data.len()), writable(status, 1)], status)
}

/// The first ring that is written down as broken.
fn await_broken(daemon: &Daemon) -> (usize, String) {
    eventually("a broken ring", || {
        let records = daemon.records();
        let broken = records.broken().first().map(|broken| (broken.queue, broken.reason.clone()));
        broken.map(|(queue, reason)| (usize::from(queue.expect("a ring").0), reason))
    })
}

/// The daemon lives and takes a new guest; nothing was recorded that did not happen.
fn goes_on(mut daemon: Daemon, guest: Guest) {
    assert!(daemon.lives(), "{}", daemon.stderr());
    drop(guest);
    let mut next = daemon.guest();
    next.proves_it_works(0, 64);
    next.proves_it_works(0, 8);
    drop(next);
    let records = daemon.stop();
    assert!(records.races().is_empty(), "what was taken away is no race");
    assert!(records.medium_faults().is_empty());
}

#[test]
fn data_that_is_gone_at_the_fetch_is_no_race_and_is_not_stored() {
    let daemon = Daemon::start(&["--window", "hold", "--num-queues", "2"]);
    let mut guest = daemon.plug(Plug { queues: 2, ..Plug::default() });
    for sector in [16, 24, 32] {
        guest.start_write(sector, &pattern(sector, 4096));
    }
    daemon.await_held(3);
    let before = daemon.disk_bytes();
    guest.memory.shrink(HIGH, 0);
    daemon.release();
    let (queue, reason) = await_broken(&daemon);
    assert_eq!(queue, 0);
    assert!(reason.contains("gone"), "{reason}");
    assert_eq!(daemon.disk_bytes(), before, "the old bytes stay");

    // The other ring and its buffers are in the other region.
    let data = pattern(9, 4096);
    let (pieces, status) = write_in_low(&guest, 40, &data);
    let head = guest.rings[1].place(&pieces);
    guest.ring_bell(1, head);
    daemon.await_held(1);
    daemon.release();
    guest.rings[1].wait(head);
    assert_eq!(guest.memory.read(status, 1), [OK]);
    assert_eq!(daemon.disk_bytes()[40 * 512..][..4096], data);
    daemon.ask(dixtrap::control::Request::Window { spec: "0".parse().unwrap() });
    goes_on(daemon, guest);
}

#[test]
fn a_read_into_memory_that_is_gone_breaks_its_ring() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    // Header and status stay: only a part of the buffer goes.
    let draft = Draft::read(&guest.memory, 0, 64 << 10);
    let head = guest.rings[0].place(&draft.pieces());
    guest.memory.shrink(HIGH, 4096);
    guest.ring_bell(0, head);
    assert!(await_broken(&daemon).1.contains("gone"));
    goes_on(daemon, guest);
}

#[test]
fn a_ring_that_is_gone_is_broken() {
    for keep in [0, 4096, 8192, 12288] {
        let daemon = Daemon::start(&["--window", "0"]);
        let mut guest = daemon.guest();
        guest.proves_it_works(0, 0);
        let draft = Draft::write(&guest.memory, 8, &pattern(1, 4096));
        let head = guest.rings[0].place(&draft.pieces());
        guest.rings[0].expose(head);
        // Descriptors, available ring and used ring have a page each.
        guest.memory.shrink(LOW, keep);
        guest.rings[0].kick();
        if keep < 12288 {
            await_broken(&daemon);
        } else {
            // Nothing that is in use is gone.
            guest.rings[0].wait(head);
            assert_eq!(draft.status(), OK);
        }
        goes_on(daemon, guest);
    }
}

#[test]
fn a_front_end_that_shrinks_under_load_harms_only_itself() {
    let daemon = Daemon::start(&["--window", "100us", "--num-queues", "2"]);
    for round in 0..20 {
        let mut guest =
            daemon.plug(Plug { queues: 2, region_by_region: round % 2 == 0, ..Plug::default() });
        guest.proves_it_works(0, 0);
        for request in 0..16 {
            let data = pattern(request, 8192);
            let draft = Draft::write(&guest.memory, request * 16, &data);
            guest.send((request % 2) as usize, draft);
        }
        std::thread::sleep(std::time::Duration::from_micros(round * 25));
        guest.memory.shrink(HIGH, 0);
        guest.memory.shrink(LOW, 0);
        guest.rings[0].kick();
        guest.rings[1].kick();
    }
    let guest = daemon.guest();
    goes_on(daemon, guest);
}
