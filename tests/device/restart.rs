//! A daemon that ends while its front end lives on, and the one that comes after it: requests that were
//! done are not done again, in memory that is the guest's, and those that are to be done are.

use std::sync::Arc;

use dixtrap::control::Request;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::request::writable;
use crate::kit::scsi::{EVENT, REQUEST, ScsiGuest};
use crate::kit::*;

/// Ends the daemon with kill -9.
fn murder(mut daemon: Daemon) -> Arc<TempDir> {
    let dir = daemon.dir();
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    dir
}

/// A daemon with one write held, and ten reads that came after it and are done. The buffers of all of
/// them are the guest's again, which has put something else there.
fn held_up() -> (Daemon, Guest, Vec<request::Draft>) {
    let daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    let write = guest.start_write(0, &pattern(1, 4096));
    daemon.await_held(1);
    let mut drafts = vec![write.draft];
    for sector in 0..10 {
        let draft = Draft::read(&guest.memory, 8 * sector, 4096);
        let sent = guest.send(0, draft);
        assert_eq!(guest.finish(&sent), OK);
        drafts.push(sent.draft);
    }
    for draft in &drafts {
        guest.memory.write(draft.data, &pattern(99, draft.len));
        guest.memory.write(draft.status, &[request::UNTOUCHED]);
    }
    (daemon, guest, drafts)
}

/// None of the buffers was touched, nor the ring, and the ring is said to be broken.
fn nothing_was_done(daemon: &Daemon, guest: &mut Guest, drafts: &[request::Draft]) {
    let reason = eventually("a record of the ring", || {
        daemon.records().broken().last().map(|broken| {
            assert_eq!(broken.queue.map(|queue| queue.0), Some(0));
            broken.reason.clone()
        })
    });
    for words in ["goes on at 10 with 11 available", "was killed", "reset the guest"] {
        assert!(reason.contains(words), "no '{words}' in: {reason}");
    }
    guest.rings[0].stays_silent();
    for draft in drafts {
        assert_eq!(draft.bytes(), pattern(99, draft.len), "memory that is the guest's was written");
        assert_eq!(draft.status(), request::UNTOUCHED);
    }
}

#[test]
fn a_restart_after_a_kill_writes_into_no_memory_that_is_the_guests_again() {
    let (daemon, mut guest, drafts) = held_up();
    let daemon = Daemon::start_in(murder(daemon), &["--window", "0"]);
    let used_ring = |guest: &Guest| guest.memory.read(guest.rings[0].used, 6 + 8 * 64);
    let before = used_ring(&guest);
    guest.reconnect(&daemon.socket(), &Plug::default());
    nothing_was_done(&daemon, &mut guest, &drafts);
    assert_eq!(used_ring(&guest), before);

    // Stopped and started, as by QEMU's `stop` and `cont`: what the ring's base is does not make it
    // known. Nor does an orderly end of this process.
    assert_eq!(guest.stop_ring(0), 10);
    guest.start_ring(0);
    guest.rings[0].kick();
    eventually("another record", || (daemon.records().broken().len() == 2).then_some(()));
    nothing_was_done(&daemon, &mut guest, &drafts);
    let dir = daemon.dir();
    daemon.stop();
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &Plug::default());
    nothing_was_done(&daemon, &mut guest, &drafts);

    // The guest's reset makes a new ring.
    guest.restart_ring(0);
    guest.proves_it_works(0, 64);
}

#[test]
fn a_restart_after_sigterm_does_what_is_left_and_nothing_twice() {
    let mut daemon = Daemon::start(&["--window", "uniform:0..3ms"]);
    let plug = || Plug { ring_size: 256, ..Plug::default() };
    let mut guest = daemon.plug(plug());
    let mut sent: Vec<_> = (0..20).map(|i| guest.start_write(8 * i, &pattern(i, 4096))).collect();
    daemon.signal(Signal::SIGTERM);
    sent.extend((20..30).map(|i| guest.start_write(8 * i, &pattern(i, 4096))));
    assert!(daemon.wait().success(), "{}", daemon.stderr());
    sent.extend((30..40).map(|i| guest.start_write(8 * i, &pattern(i, 4096))));
    let taken = usize::from(guest.rings[0].used_idx());
    assert_eq!(usize::try_from(daemon.records().stop().writes).unwrap(), taken);

    let daemon = Daemon::start_in(daemon.dir(), &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &plug());
    for request in &sent {
        assert_eq!(guest.finish(request), OK);
    }
    for i in 0..40 {
        assert_eq!(guest.must_read(8 * i, 4096), pattern(i, 4096));
    }
    assert_eq!(usize::try_from(daemon.stats().counters.writes).unwrap(), sent.len() - taken);
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn an_orderly_end_counts_once() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    let dir = daemon.dir();
    daemon.stop();
    // Another process had the disk since, and was killed.
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    assert!(!daemon.stats().connected);
    let dir = murder(daemon);
    let late = guest.start_write(0, &pattern(1, 512));
    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &Plug::default());
    eventually("a record of the ring", || daemon.records().broken().first().map(|_| ()));
    guest.rings[0].stays_silent();
    assert_eq!(late.draft.status(), request::UNTOUCHED);
}

#[test]
fn a_restart_after_a_kill_goes_on_where_nothing_was_under_way() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    let daemon = Daemon::start_in(murder(daemon), &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &Plug::default());
    guest.proves_it_works(0, 8);
}

#[test]
fn a_ring_that_was_never_answered_in_is_begun_again() {
    let daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    let sent: Vec<_> =
        (0..3).map(|sector| guest.start_write(sector, &pattern(sector, 512))).collect();
    daemon.await_held(3);
    let daemon = Daemon::start_in(murder(daemon), &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &Plug::default());
    for request in &sent {
        assert_eq!(guest.finish(request), OK);
    }
    guest.proves_it_works(0, 8);
}

#[test]
fn a_ring_that_came_round_to_its_beginning_is_not_taken_for_a_new_one() {
    let (daemon, mut guest, drafts) = held_up();
    // As after 65,536 answers.
    guest.memory.store(guest.rings[0].used + 2, 0u16);
    guest.rings[0].set_avail_idx(1);
    let daemon = Daemon::start_in(murder(daemon), &["--window", "0"]);
    guest.reconnect(&daemon.socket(), &Plug::default());
    eventually("a record of the ring", || daemon.records().broken().first().map(|_| ()));
    guest.rings[0].settle();
    for draft in &drafts {
        assert_eq!(draft.bytes(), pattern(99, draft.len));
    }
}

#[test]
fn a_driver_may_fill_its_ring_before_the_device_starts() {
    let daemon = Daemon::start(&["--window", "0"]);
    let plug = Plug::default();
    let mut guest = daemon.guest();
    for round in 0..3 {
        guest.stop_ring(0);
        guest.rings[0].clear();
        let drafts: Vec<_> = (0..3)
            .map(|sector| Draft::write(&guest.memory, sector, &pattern(round ^ sector, 512)))
            .collect();
        let sent: Vec<_> = drafts.into_iter().map(|draft| guest.send(0, draft)).collect();
        guest.start_ring(0);
        for request in &sent {
            assert_eq!(guest.finish(request), OK, "round {round}");
        }
    }
    drop(guest);
    daemon.plug(plug).proves_it_works(0, 0);
    assert!(daemon.stop().broken().is_empty());
}

#[test]
fn a_front_end_that_leaves_without_a_word_may_come_back() {
    let daemon = Daemon::start(&["--window", "0", "--inject", "no-answer,lba=64"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    // As a chardev that is closed and opened again; requests come in meanwhile.
    let away = std::os::unix::net::UnixStream::pair().unwrap().0;
    guest.front = vhost::vhost_user::Frontend::from_stream(away, 1);
    eventually("the end of the connection", || (!daemon.stats().connected).then_some(()));
    let late = guest.start_write(8, &pattern(3, 512));
    guest.reconnect(&daemon.socket(), &Plug::default());
    assert_eq!(guest.finish(&late), OK);

    // Not where a request was left unanswered: then `used.idx` is not where we stopped.
    let used = guest.rings[0].used_idx();
    let draft = Draft::write(&guest.memory, 64, &pattern(4, 512));
    let hung = guest.send(0, draft);
    eventually("the fault", || (daemon.stats().counters.injected == 1).then_some(()));
    guest.proves_it_works(0, 16);
    let away = std::os::unix::net::UnixStream::pair().unwrap().0;
    guest.front = vhost::vhost_user::Frontend::from_stream(away, 1);
    eventually("the end of the connection", || (!daemon.stats().connected).then_some(()));
    guest.reconnect(&daemon.socket(), &Plug::default());
    let reason = eventually("a record of the ring", || {
        daemon.records().broken().first().map(|broken| broken.reason.clone())
    });
    let words = format!("goes on at {} with {} available", used + 2, used + 3);
    assert!(reason.contains(&words), "{reason}");
    assert_eq!(hung.draft.status(), request::UNTOUCHED);
}

/// Event buffers are the device's for as long as there is no news: an end in order gives them back.
#[test]
fn a_scsi_restart_after_sigterm_goes_on_with_events_and_requests() {
    let args = ["--device", "scsi", "--num-queues", "2", "--window", "0"];
    let mut daemon = Daemon::start(&args);
    let mut guest = ScsiGuest::plug(&daemon, false).guest;
    let memory = Arc::clone(&guest.memory);
    let offer = |guest: &mut Guest| {
        let room = memory.alloc(16, 16);
        let head = guest.rings[EVENT].place(&[writable(room, 16)]);
        guest.ring_bell(EVENT, head);
        (room, head)
    };
    // The first comes back with news, so that the ring is not as new.
    let (_, told) = offer(&mut guest);
    offer(&mut guest);
    daemon.ask(Request::Unplug { lun: 0 });
    guest.rings[EVENT].wait(told);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success(), "{}", daemon.stderr());
    assert_eq!(guest.rings[EVENT].harvest().len(), 1, "a buffer was kept");
    let (room, head) = offer(&mut guest);

    let daemon = Daemon::start_in(daemon.dir(), &args);
    guest.reconnect(&daemon.socket(), &Plug { queues: 4, ..Plug::default() });
    daemon.ask(Request::Unplug { lun: 0 });
    assert_eq!(guest.rings[EVENT].wait(head).len, 16);
    assert_eq!(memory.read(room, 1), [1], "a transport reset: the unit is gone");
    assert_eq!(guest.rings[REQUEST].harvest(), []);
    drop(guest);
    assert!(daemon.stop().broken().is_empty());
}
