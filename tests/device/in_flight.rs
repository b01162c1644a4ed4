//! A daemon that is killed with requests under way, and the one that comes after it: with an in-flight
//! region every request is answered, and none is done again that was answered.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dixtrap::control::Request;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use vhost::vhost_user::VhostUserFrontend;

use crate::kit::guest::bit;
use crate::kit::request::{UNTOUCHED, writable};
use crate::kit::scsi::{EVENT, Load, REQUEST, ScsiGuest, T10_PI, lun, ten};
use crate::kit::*;

fn plug() -> Plug {
    Plug { in_flight: true, ..Plug::default() }
}

/// Ends the daemon with kill -9.
fn murder(mut daemon: Daemon) -> Arc<TempDir> {
    let dir = daemon.dir();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    dir
}

#[test]
fn a_held_write_is_done_after_a_kill_and_what_was_answered_is_not() {
    let daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.plug(plug());
    let held: Vec<_> = (0..3).map(|i| guest.start_write(8 * i, &pattern(i, 4096))).collect();
    daemon.await_held(3);
    let mut answered = Vec::new();
    for sector in 0..10 {
        let draft = Draft::read(&guest.memory, 8 * sector, 4096);
        let sent = guest.send(0, draft);
        assert_eq!(guest.finish(&sent), OK);
        answered.push(sent.draft);
    }
    // The buffers are the guest's again, which puts something else there.
    for draft in &answered {
        guest.memory.write(draft.data, &pattern(99, draft.len));
        guest.memory.write(draft.status, &[UNTOUCHED]);
    }
    let daemon = Daemon::start_in(murder(daemon), &["--window", "0"]);
    // Nobody rings: what was rung for before the kill is done of the daemon's own accord.
    guest.reconnect_quietly(&daemon.socket(), &plug());
    for sent in &held {
        assert_eq!(guest.finish(sent), OK);
    }
    for draft in &answered {
        assert_eq!(draft.bytes(), pattern(99, draft.len), "memory that is the guest's was written");
        assert_eq!(draft.status(), UNTOUCHED);
    }
    for i in 0..3 {
        assert_eq!(guest.must_read(8 * i, 4096), pattern(i, 4096));
    }
    guest.proves_it_works(0, 64);
    drop(guest);
    let records = daemon.stop();
    assert!(records.broken().is_empty(), "{:?}", records.broken());
    assert!(records.races().is_empty(), "no race was invented");
}

/// A race of a write that is done again is marked: its doorbell rang in another process.
#[test]
fn a_race_of_a_resubmitted_write_says_so() {
    let daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.plug(plug());
    let held = guest.start_write(0, &pattern(1, 512));
    daemon.await_held(1);
    // Before the next doorbell sample: seen by nobody, and no race.
    guest.memory.write(held.draft.data, &pattern(2, 512));
    let daemon = Daemon::start_in(murder(daemon), &["--window", "hold", "--on-race", "report"]);
    guest.reconnect_quietly(&daemon.socket(), &plug());
    daemon.await_held(1);
    guest.memory.write(held.draft.data, &pattern(3, 512));
    let fresh = guest.start_write(8, &pattern(4, 512));
    daemon.await_held(2);
    guest.memory.write(fresh.draft.data, &pattern(5, 512));
    daemon.release();
    assert_eq!((guest.finish(&held), guest.finish(&fresh)), (OK, OK));
    drop(guest);
    let records = daemon.stop();
    let told: Vec<_> =
        records.races().iter().map(|race| (race.lba.0, race.request.resubmitted)).collect();
    assert_eq!(told, [(0, true), (8, false)]);
}

#[test]
fn forty_kills_under_load_lose_no_write() {
    let args = ["--window", "uniform:0..2ms", "--num-queues", "2"];
    let plug = || Plug { queues: 2, ring_size: 128, ..plug() };
    let mut daemon = Daemon::start(&args);
    let mut guest = daemon.plug(plug());
    let mut random = Random::new(7);
    for round in 0..40_u64 {
        let before: Vec<u16> = guest.rings.iter().map(ring::Ring::used_idx).collect();
        let sent: Vec<_> = (0..30)
            .map(|i| {
                let queue = usize::from(random.below(2) == 1);
                let draft = Draft::write(&guest.memory, 8 * i, &pattern(1000 * round + i, 4096));
                guest.send(queue, draft)
            })
            .collect();
        // After some answers, of which there may be all.
        let some = u16::try_from(random.below(21)).unwrap();
        if round % 2 == 0 {
            eventually("some answers", || {
                let now = guest.rings.iter().map(ring::Ring::used_idx);
                let new: u16 = now.zip(&before).map(|(now, old)| now.wrapping_sub(*old)).sum();
                (new >= some).then_some(())
            });
        }
        daemon = Daemon::start_in(murder(daemon), &args);
        guest.reconnect_quietly(&daemon.socket(), &plug());
        for request in &sent {
            assert_eq!(guest.finish(request), OK, "round {round}");
        }
        for i in 0..30 {
            assert_eq!(guest.must_read(8 * i, 4096), pattern(1000 * round + i, 4096));
        }
    }
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn a_ring_that_stops_in_order_goes_on_with_the_same_region() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.plug(plug());
    guest.proves_it_works(0, 0);
    guest.stop_ring(0);
    guest.hand_region_over();
    guest.start_ring(0);
    guest.proves_it_works(0, 8);
    // Also in the next process, after an orderly end.
    let dir = daemon.dir();
    daemon.stop();
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &plug());
    guest.proves_it_works(0, 16);
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}

/// What a fault left without an answer is in flight still: whoever comes next answers it.
#[test]
fn a_request_without_an_answer_is_the_next_ones() {
    let daemon = Daemon::start(&["--window", "0", "--inject", "no-answer,lba=64"]);
    let mut guest = daemon.plug(plug());
    let draft = Draft::write(&guest.memory, 64, &pattern(4, 512));
    let hung = guest.send(0, draft);
    eventually("the fault", || (daemon.stats().counters.injected == 1).then_some(()));
    guest.proves_it_works(0, 16);
    let dir = daemon.dir();
    daemon.stop();
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &plug());
    assert_eq!(guest.finish(&hung), OK);
    assert_eq!(guest.must_read(64, 512), pattern(4, 512));
}

/// A region that somebody wrote over: nothing is done that the driver did not ask for, nobody dies, and
/// the ring is said to be broken where the two contradict each other.
#[test]
fn whatever_lies_in_a_region_the_daemon_lives() {
    let mut daemon = Daemon::start(&["--window", "hold"]);
    let mut random = Random::new(5);
    let mut refused = 0;
    for round in 0..30 {
        let mut guest = daemon.plug(plug());
        let held = guest.start_write(0, &pattern(1, 512));
        daemon.await_held(1);
        let (shape, file) = guest.region.as_ref().unwrap();
        let whole = random.below(2) == 0;
        for at in 0..shape.mmap_size {
            // Everything but the version, or all marks: more than the driver made available.
            if (whole && !(8..12).contains(&at)) || (!whole && at >= 16 && at % 16 == 0) {
                let byte = if whole { random.next().to_le_bytes()[0] } else { 1 };
                file.write_all_at(&[byte], at).unwrap();
            }
        }
        daemon = Daemon::start_in(murder(daemon), &["--window", "hold"]);
        guest.reconnect(&daemon.socket(), &plug());
        // Refused, done, or another request done that was never made: whose memory this is harms itself.
        let ended = eventually("an end", || {
            let told = refused_words(&daemon);
            let moved = guest.rings[0].used_idx() > 0 || held.draft.status() == OK;
            let ended = moved || daemon.stats().held > 0 || !told.is_empty();
            ended.then(|| told.iter().any(|it| it.contains("in-flight")))
        });
        refused += u32::from(ended);
        assert!(daemon.lives(), "round {round}");
        guest.restart_ring(0);
        drop(guest);
    }
    assert!(refused > 0, "no region was refused");
    daemon.release();
}

fn refused_words(daemon: &Daemon) -> Vec<String> {
    daemon.records().broken().iter().map(|broken| broken.reason.clone()).collect()
}

#[test]
fn a_region_that_could_be_made_shorter_is_refused() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.plug(plug());
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 16).unwrap();
    let (shape, _) = guest.region.take().unwrap();
    guest.region = Some((shape, file));
    let (shape, file) = guest.region.as_ref().unwrap();
    guest.front.set_inflight_fd(shape, file.as_raw_fd()).unwrap_err();
    eventually("a record", || {
        refused_words(&daemon).iter().any(|it| it.contains("not sealed")).then_some(())
    });
    guest.region = None;
    guest.restart_ring(0);
    guest.proves_it_works(0, 0);
}

/// Control requests are answered at once; event buffers are the device's until there is news.
#[test]
fn scsi_events_and_requests_survive_a_kill() {
    let args = ["--device", "scsi", "--num-queues", "2", "--window", "hold"];
    let without = bit(VIRTIO_RING_F_EVENT_IDX) | bit(T10_PI);
    let plug = || Plug { queues: 4, without, ..plug() };
    let daemon = Daemon::start(&args);
    let mut scsi = ScsiGuest::over(daemon.plug(plug()));
    let memory = Arc::clone(&scsi.guest.memory);
    // Until the news of a power-on are told.
    scsi.ask(&[0; 6], 0);
    let room = memory.alloc(16, 16);
    let event = scsi.guest.rings[EVENT].place(&[writable(room, 16)]);
    scsi.guest.ring_bell(EVENT, event);
    let bytes = pattern(8, 512);
    let cdb = ten(0x2A, 0, 3, 1);
    let write = scsi.call(lun(0), &cdb, &Load { out: &bytes, ..Load::default() });
    let head = scsi.send(REQUEST, &write);
    daemon.await_held(1);

    let daemon = Daemon::start_in(
        murder(daemon),
        &["--device", "scsi", "--num-queues", "2", "--window", "0"],
    );
    scsi.guest.reconnect_quietly(&daemon.socket(), &plug());
    scsi.guest.rings[REQUEST].wait(head);
    // The next daemon's unit was just switched on, and says so (SPC-4 5.14: 29h).
    assert_eq!(write.reply().codes(), (6, 0x29, 0));
    assert!(scsi.tell(&cdb, &bytes).is_good());
    daemon.ask(Request::Unplug { lun: 0 });
    assert_eq!(scsi.guest.rings[EVENT].wait(event).len, 16, "the buffer was not lost");
    drop(scsi);
    assert!(daemon.stop().broken().is_empty());
}

/// With direct I/O the transfer is in an io_uring when the kill comes.
#[test]
fn direct_writes_survive_kills() {
    let Some(folder) = crate::kit::direct::folder() else { return };
    let args = ["--window", "uniform:0..1ms", "--direct"];
    let mut daemon = Daemon::start_in(folder, &args);
    let mut guest = daemon.plug(plug());
    for round in 0..8_u64 {
        let sent: Vec<_> =
            (0..16).map(|i| guest.start_write(8 * i, &pattern(100 * round + i, 4096))).collect();
        daemon = Daemon::start_in(murder(daemon), &args);
        guest.reconnect_quietly(&daemon.socket(), &plug());
        for request in &sent {
            assert_eq!(guest.finish(request), OK, "round {round}");
        }
        for i in 0..16 {
            assert_eq!(guest.must_read(8 * i, 4096), pattern(100 * round + i, 4096));
        }
    }
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}
