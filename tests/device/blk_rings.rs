//! Rings: notifications, several at once, order, windows that overtake each other.

use std::collections::HashSet;

use dixtrap::units::QueueIndex;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

use crate::kit::guest::bit;
use crate::kit::{Daemon, Draft, Guest, OK, Plug, Random, VIRTIO_RING_F_EVENT_IDX, pattern};

#[test]
fn without_event_idx_the_flag_asks_for_silence() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 512)), OK);
    guest.rings[0].await_interrupt();

    guest.rings[0].want_interrupts(false);
    for sector in 0..20 {
        assert_eq!(guest.write(sector, &pattern(sector, 512)), OK);
    }
    guest.rings[0].settle();
    assert_eq!(guest.rings[0].interrupts(), 0, "VIRTQ_AVAIL_F_NO_INTERRUPT was set");

    guest.rings[0].want_interrupts(true);
    assert_eq!(guest.write(0, &pattern(2, 512)), OK);
    guest.rings[0].await_interrupt();
}

#[test]
fn without_an_answer_there_is_no_interrupt() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    for _ in 0..10 {
        guest.rings[0].kick();
        guest.rings[0].await_heard();
    }
    guest.restart_ring(0);
    assert_eq!(guest.rings[0].interrupts(), 0);
    guest.proves_it_works(0, 9);
    guest.rings[0].await_interrupt();
}

/// The ring is disabled, and its doorbell rang. Nobody listens to it, so that it can be no barrier: the
/// front end's messages have been dealt with, and whoever has the lane's work in hand has given it back.
fn nothing_is_taken(daemon: &Daemon, guest: &mut Guest) {
    for _ in 0..20 {
        guest.round_trip();
        assert_eq!(daemon.release(), 0);
    }
    assert_eq!(daemon.stats().counters.writes, 0, "the ring is disabled");
    assert!(guest.rings.iter_mut().all(|ring| ring.harvest().is_empty()));
}

/// QEMU before 8.2 enables a ring without waiting for the answer: the first doorbell may be faster.
#[test]
fn a_doorbell_before_its_ring_is_enabled_is_not_lost() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.stop_ring(0);
    guest.rings[0].clear();
    guest.front.set_vring_enable(0, false).unwrap();
    guest.describe_ring(0);
    let sent = guest.start_write(5, &pattern(1, 512));
    nothing_is_taken(&daemon, &mut guest);
    guest.front.set_vring_enable(0, true).unwrap();
    assert_eq!(guest.finish(&sent), OK);
}

/// An interrupt on the old descriptor may have been seen by nobody.
#[test]
fn a_new_call_descriptor_is_signalled_once() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 512)), OK);
    guest.rings[0].await_interrupt();
    guest.front.set_vring_call(0, &guest.rings[0].call).unwrap();
    guest.rings[0].await_interrupt();
    guest.round_trip();
    guest.rings[0].settle();
    assert_eq!(guest.rings[0].interrupts(), 0, "once");
    guest.proves_it_works(0, 9);
}

/// QEMU gives a ring that starts again its call descriptor when the ring is already at work.
#[test]
fn an_interrupt_before_there_is_a_call_descriptor_is_not_lost() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.stop_ring(0);
    guest.rings[0].clear();
    guest.describe_ring_without_call(0);
    assert_eq!(guest.write(5, &pattern(1, 512)), OK);
    assert_eq!(guest.rings[0].interrupts(), 0, "there is no descriptor");
    guest.front.set_vring_call(0, &guest.rings[0].call).unwrap();
    guest.rings[0].await_interrupt();
    guest.round_trip();
    guest.rings[0].settle();
    assert_eq!(guest.rings[0].interrupts(), 0, "once");
    guest.proves_it_works(0, 9);
}

#[test]
fn with_event_idx_interrupts_come_when_asked_for() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.plug(Plug { without: 0, ..Plug::default() });
    assert_ne!(guest.offered & bit(VIRTIO_RING_F_EVENT_IDX), 0);
    // Interrupt after the fourth completion, and not before.
    guest.rings[0].set_used_event(3);
    for sector in 0..3 {
        assert_eq!(guest.write(sector, &pattern(sector, 512)), OK);
    }
    guest.rings[0].settle();
    assert_eq!(guest.rings[0].interrupts(), 0);
    assert_eq!(guest.write(3, &pattern(3, 512)), OK);
    guest.rings[0].await_interrupt();
}

#[test]
fn with_event_idx_no_request_is_forgotten() {
    // A driver that rings only when the device asks: a wrong avail_event would leave it waiting.
    let daemon = Daemon::start(&["--window", "uniform:0..300us"]);
    let mut guest = daemon.plug(Plug { without: 0, ..Plug::default() });
    let mut random = Random::new(11);
    let mut silent = 0;
    for round in 0..400 {
        let before = guest.rings[0].avail_idx();
        let batch = 1 + random.below(8);
        let drafts: Vec<Draft> = (0..batch)
            .map(|i| Draft::write(&guest.memory, 8 * i, &pattern(round + i, 512)))
            .collect();
        for draft in &drafts {
            let head = guest.rings[0].place(&draft.pieces());
            guest.rings[0].expose(head);
        }
        silent += u32::from(!guest.rings[0].kick_if_wanted(before));
        guest.rings[0].wait_for(drafts.len());
        assert!(drafts.iter().all(|draft| draft.status() == OK));
    }
    eprintln!("{silent} of 400 batches needed no doorbell");
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn one_doorbell_serves_a_full_ring() {
    let daemon = Daemon::start(&["--window", "1ms"]);
    let mut guest = daemon.plug(Plug { ring_size: 256, ..Plug::default() });
    let drafts: Vec<Draft> =
        (0..85).map(|i| Draft::write(&guest.memory, 8 * i, &pattern(i, 4096))).collect();
    for draft in &drafts {
        let head = guest.rings[0].place(&draft.pieces());
        guest.rings[0].expose(head);
    }
    guest.rings[0].kick();
    guest.rings[0].wait_for(drafts.len());
    for (i, draft) in drafts.iter().enumerate() {
        assert_eq!(draft.status(), OK);
        assert_eq!(guest.must_read(8 * i as u64, 4096), draft.bytes());
    }
}

#[test]
fn completions_overtake_and_keep_their_names() {
    let daemon = Daemon::start(&["--window", "uniform:0..40ms", "--seed", "5"]);
    let mut guest = daemon.guest();
    let drafts: Vec<Draft> =
        (0..16).map(|i| Draft::write(&guest.memory, 8 * i, &pattern(i, 4096))).collect();
    let mut heads = Vec::new();
    for draft in &drafts {
        let head = guest.rings[0].place(&draft.pieces());
        guest.rings[0].expose(head);
        heads.push(head);
    }
    guest.rings[0].kick();
    let finished: Vec<u16> =
        guest.rings[0].wait_for(16).into_iter().map(|used| used.head).collect();
    assert_ne!(finished, heads, "16 random windows in ring order would be a wonder");
    assert_eq!(finished.iter().collect::<HashSet<_>>(), heads.iter().collect());
    for (i, draft) in drafts.iter().enumerate() {
        assert_eq!(draft.status(), OK);
        assert_eq!(guest.must_read(8 * i as u64, 4096), draft.bytes());
    }
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn one_seed_draws_one_order() {
    let order = |seed: &str| {
        let daemon = Daemon::start(&["--window", "uniform:0..400ms", "--seed", seed]);
        let mut guest = daemon.guest();
        for sector in 0..8 {
            let draft = Draft::write(&guest.memory, sector, &pattern(sector, 512));
            let head = guest.rings[0].place(&draft.pieces());
            guest.rings[0].expose(head);
        }
        guest.rings[0].kick();
        guest.rings[0].wait_for(8).into_iter().map(|used| used.head).collect::<Vec<_>>()
    };
    assert_eq!(order("42"), order("42"));
    assert_ne!(order("42"), order("43"));
}

#[test]
fn several_rings_work_side_by_side() {
    let daemon = Daemon::start(&["--window", "500us", "--num-queues", "4"]);
    let mut guest = daemon.plug(Plug { queues: 4, ..Plug::default() });
    for round in 0..30 {
        let sent: Vec<_> = (0..4)
            .flat_map(|queue| (0..4).map(move |i| (queue, i)))
            .map(|(queue, i)| {
                let sector = (queue as u64 * 4 + i) * 8;
                let draft = Draft::write(&guest.memory, sector, &pattern(round ^ sector, 4096));
                guest.send(queue, draft)
            })
            .collect();
        for request in &sent {
            assert_eq!(guest.finish(request), OK);
        }
    }
    for sector in (0..128).step_by(8) {
        assert_eq!(guest.must_read(sector, 4096), pattern(29 ^ sector, 4096));
    }
    let counters = daemon.stop().stop().clone();
    assert_eq!((counters.writes, counters.all_races()), (480, 0));
}

#[test]
fn a_race_names_its_ring() {
    let daemon = Daemon::start(&["--window", "hold", "--num-queues", "3", "--on-race", "report"]);
    let mut guest = daemon.plug(Plug { queues: 3, ..Plug::default() });
    let sent: Vec<_> = (0..3)
        .map(|queue| {
            let draft = Draft::write(&guest.memory, queue as u64, &pattern(1, 512));
            guest.send(queue, draft)
        })
        .collect();
    daemon.await_held(3);
    guest.memory.flip(sent[2].draft.data);
    assert_eq!(daemon.release(), 3);
    for request in &sent {
        assert_eq!(guest.finish(request), OK);
    }
    assert_eq!(daemon.stop().race().queue, QueueIndex(2));
}

#[test]
fn a_disabled_ring_waits_and_goes_on_when_enabled() {
    use vhost::vhost_user::VhostUserFrontend;
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.front.set_vring_enable(0, false).unwrap();
    let sent = guest.start_write(0, &pattern(1, 512));
    nothing_is_taken(&daemon, &mut guest);
    guest.front.set_vring_enable(0, true).unwrap();
    guest.rings[0].kick();
    assert_eq!(guest.finish(&sent), OK);
}

#[test]
fn memory_may_come_region_by_region() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.plug(Plug { region_by_region: true, ..Plug::default() });
    guest.proves_it_works(0, 64);
}

#[test]
fn too_many_bytes_in_flight_wait_their_turn() {
    let daemon = Daemon::start(&["--window", "hold", "--size", "64M"]);
    let mut guest = daemon.guest();
    // 20 writes of 16 MiB each, all out of the same memory: more than the daemon may hold.
    let big = Draft::write(&guest.memory, 0, &[]);
    let mut pieces = vec![crate::kit::request::readable(big.header, 16)];
    pieces.push(crate::kit::request::readable(crate::kit::memory::HIGH, 16 << 20));
    let statuses: Vec<u64> = (0..20).map(|_| guest.memory.alloc(1, 1)).collect();
    for status in &statuses {
        let chain = [&pieces[..], &[crate::kit::request::writable(*status, 1)]].concat();
        let head = guest.rings[0].place(&chain);
        guest.rings[0].expose(head);
    }
    guest.rings[0].kick();
    crate::kit::eventually("a deferred write", || {
        (daemon.stats().counters.deferred > 0).then_some(())
    });
    let held = daemon.stats().held;
    assert!((1..20).contains(&held), "{held} held");
    // Each doorbell that is heard is one more look at the request that waits.
    for _ in 0..50 {
        guest.rings[0].kick();
        guest.rings[0].await_heard();
    }
    let deferred = daemon.stats().counters.deferred;
    assert!(deferred <= 20, "{deferred} deferred requests, and only 20 there are");
    let mut finished = 0;
    crate::kit::eventually("all writes", || {
        daemon.release();
        finished += guest.rings[0].harvest().len();
        (finished == 20).then_some(())
    });
    for status in statuses {
        assert_eq!(guest.memory.read(status, 1), [OK]);
    }
}
