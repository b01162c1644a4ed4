//! Connections that come and go, rings that stop, the daemon's end.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::kit::daemon::image_is_sound;
use crate::kit::*;

#[test]
fn a_front_end_that_leaves_in_the_middle_of_held_writes() {
    let mut daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    for sector in 0..8 {
        guest.start_write(sector, &pattern(sector, 512));
    }
    daemon.await_held(8);
    drop(guest);
    eventually("the end of the connection", || (!daemon.stats().connected).then_some(()));
    assert_eq!(daemon.stats().held, 0, "nothing of a front end that left is held");
    assert!(daemon.lives());

    let mut guest = daemon.guest();
    let sent = guest.start_write(100, &pattern(100, 512));
    daemon.await_held(1);
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    drop(guest);
    let disk = daemon.disk();
    let _dir = daemon.dir();
    daemon.stop();
    image_is_sound(&disk);
}

#[test]
fn many_front_ends_one_after_another() {
    let daemon = Daemon::start(&["--window", "200us"]);
    for round in 0..20 {
        let mut guest = daemon.guest();
        guest.proves_it_works(0, 8 * round);
    }
    let threads = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("Threads:")).unwrap().to_owned();
        line["Threads:".len()..].trim().parse::<u32>().unwrap()
    };
    eventually("the workers of old connections to end", || (threads() < 12).then_some(()));
}

#[test]
fn a_second_front_end_waits_for_the_first_to_leave() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut first = daemon.guest();
    let mut second = UnixStream::connect(daemon.socket()).unwrap();
    // GET_FEATURES, version 1, no payload.
    let question: Vec<u8> = [1u32, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    second.write_all(&question).unwrap();
    for round in 0..20 {
        first.proves_it_works(0, 8 * round);
        first.round_trip();
        daemon.stats();
    }
    let mut answer = [PollFd::new(second.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut answer, PollTimeout::ZERO).unwrap(), 0, "the first one is there");
    drop(first);
    let mut answer = [0; 20];
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    second.read_exact(&mut answer).expect("its turn comes");
    assert_eq!(answer[..4], question[..4]);
    drop(second);
    daemon.guest().proves_it_works(0, 64);
}

#[test]
fn a_front_end_that_says_nothing_or_nonsense_is_survived() {
    use std::io::Write;
    let daemon = Daemon::start(&["--window", "0"]);
    drop(std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap());
    for nonsense in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xFF; 4096], &[0; 12]] {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(nonsense).unwrap();
    }
    daemon.guest().proves_it_works(0, 0);
}

/// Nobody keeps others out by saying nothing, half a word, or too much: each gives way to the next, with a
/// record that says why.
#[test]
fn a_front_end_that_does_not_speak_gives_way() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let daemon = Daemon::start(&["--window", "0"]);
    let connect = || UnixStream::connect(daemon.socket()).unwrap();
    let silent = connect();
    // GET_FEATURES, half of it.
    let mut halting = connect();
    halting.write_all(&[1, 0, 0, 0, 1, 0]).unwrap();
    // SET_MEM_TABLE with one descriptor more than a table has slots.
    let crowded = connect();
    let header = [5_u32, 1, 8].map(u32::to_ne_bytes);
    let files: Vec<_> = (0..33).map(|_| std::os::fd::AsFd::as_fd(&silent)).collect();
    let message = [header.as_flattened(), &[0; 8]].concat();
    dixtrap::ancillary::send(&crowded, &message, &files, rustix::net::SendFlags::empty()).unwrap();
    // Waits for all of them: 10 s each for the first two.
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    drop(guest);
    let records = daemon.stop();
    let reasons: Vec<_> = records.broken().iter().map(|broken| broken.reason.clone()).collect();
    let words = ["said nothing for 10s", "had not come to its end", "33 descriptors"];
    assert_eq!(reasons.len(), words.len(), "{reasons:?}");
    for (reason, words) in reasons.iter().zip(words) {
        assert!(reason.contains("cut off") && reason.contains(words), "{reason}");
    }
}

#[test]
fn stopping_a_ring_drains_what_it_holds() {
    let daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    let sent: Vec<_> =
        (0..4).map(|sector| guest.start_write(sector, &pattern(sector, 512))).collect();
    daemon.await_held(4);
    assert_eq!(guest.stop_ring(0), 4, "all four were taken from the ring");
    assert_eq!(guest.rings[0].used_idx(), 4, "and all four are answered");
    for request in &sent {
        assert_eq!(guest.finish(request), OK);
    }
    guest.rings[0].clear();
    guest.start_ring(0);
    for sector in 0..4 {
        assert_eq!(guest.must_read(sector, 512), pattern(sector, 512));
    }
}

#[test]
fn stopping_one_ring_leaves_the_writes_of_another_held() {
    let daemon = Daemon::start(&["--window", "hold", "--num-queues", "2"]);
    let mut guest = daemon.plug(Plug { queues: 2, ..Plug::default() });
    let draft = Draft::write(&guest.memory, 0, &pattern(1, 512));
    let on_zero = guest.send(0, draft);
    let draft = Draft::write(&guest.memory, 8, &pattern(2, 512));
    let on_one = guest.send(1, draft);
    daemon.await_held(2);
    assert_eq!(guest.stop_ring(1), 1);
    assert_eq!(guest.finish(&on_one), OK);
    assert_eq!(daemon.stats().held, 1);
    guest.rings[0].stays_silent();
    daemon.release();
    assert_eq!(guest.finish(&on_zero), OK);
}

#[test]
fn a_stopped_ring_goes_on_where_it_was() {
    let daemon = Daemon::start(&["--window", "100us"]);
    let mut guest = daemon.guest();
    for round in 0..10u32 {
        for sector in 0..7 {
            assert_eq!(guest.write(sector, &pattern(u64::from(round) ^ sector, 512)), OK);
        }
        assert_eq!(guest.stop_ring(0), 7 * (round + 1));
        guest.start_ring(0);
    }
    assert_eq!(guest.must_read(6, 512), pattern(9 ^ 6, 512));
}

#[test]
fn sigterm_drains_and_says_goodbye() {
    let mut daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    let data = pattern(1, 4096);
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success(), "{}", daemon.stderr());
    assert_eq!(guest.finish(&sent), OK, "what was held is finished");
    assert_eq!(daemon.disk_bytes()[..4096], data);
    assert_eq!(daemon.records().stop().writes, 1);
    assert!(!daemon.socket().exists(), "the socket is removed");
    assert!(!daemon.control_path().exists(), "the control socket is removed");
    image_is_sound(&daemon.disk());
}

#[test]
fn sigterm_is_prompt_with_nobody_connected() {
    let mut daemon = Daemon::start(&["--window", "1ms"]);
    let asked = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(asked.elapsed() < Duration::from_secs(5));
    daemon.records().stop();
}

/// Somebody has put something else where the socket was: that is not the daemon's to remove.
#[test]
fn sigterm_leaves_what_is_not_its_socket() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    let (socket, _dir) = (daemon.socket().to_owned(), daemon.dir());
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn sigterm_in_the_middle_of_a_load() {
    let mut daemon = Daemon::start(&["--window", "uniform:0..3ms"]);
    let mut guest = daemon.guest();
    let sent: Vec<_> = (0..20).map(|i| guest.start_write(8 * i, &pattern(i, 4096))).collect();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success(), "{}", daemon.stderr());
    let disk = daemon.disk_bytes();
    guest.rings[0].harvest();
    for (i, request) in sent.iter().enumerate() {
        // Requests that were not taken from the ring may be left; the taken ones are whole.
        if request.draft.status() == OK {
            assert_eq!(disk[i * 4096..(i + 1) * 4096], request.draft.bytes());
        } else {
            assert_eq!(request.draft.status(), request::UNTOUCHED);
        }
    }
    daemon.records().stop();
    image_is_sound(&daemon.disk());
}

#[test]
fn exit_on_disconnect_does_what_it_says() {
    let mut daemon = Daemon::start(&["--window", "0", "--exit-on-disconnect"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    drop(guest);
    assert!(daemon.wait().success());
    assert_eq!(daemon.records().stop().writes, 1);
}

#[test]
fn a_killed_daemon_leaves_a_sound_image_and_a_socket_that_is_replaced() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    let dir = daemon.dir();
    let mut guest = daemon.guest();
    let data = pattern(1, 65536);
    assert_eq!(guest.write(0, &data), OK);
    assert_eq!(guest.flush(), OK);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert!(daemon.socket().exists(), "kill -9 leaves the socket behind");
    drop(daemon);

    let daemon = Daemon::start_in(dir, &["--window", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.must_read(0, 65536), data);
    drop(guest);
    let (disk, _dir) = (daemon.disk(), daemon.dir());
    daemon.stop();
    image_is_sound(&disk);
}
