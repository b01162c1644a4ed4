//! The control socket while the disk is in use.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use dixtrap::control::{Reply, Request};
use dixtrap::record::{MarkState, Record};

use crate::kit::{Daemon, OK, pattern};

/// One line to the control socket as it stands, and the line that comes back.
fn raw(stream: &mut BufReader<UnixStream>, line: &[u8]) -> Reply {
    stream.get_mut().write_all(line).unwrap();
    stream.get_mut().write_all(b"\n").unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

fn raw_client(daemon: &Daemon) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(daemon.control_path()).unwrap();
    stream.set_read_timeout(Some(crate::kit::PATIENCE)).unwrap();
    BufReader::new(stream)
}

#[test]
fn races_carry_the_label_in_force_when_the_doorbell_rang() {
    let daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.guest();
    daemon.mark("first");
    let early = guest.start_write(0, &pattern(1, 512));
    daemon.await_held(1);
    daemon.unmark("first");
    daemon.mark("second");
    let late = guest.start_write(1, &pattern(2, 512));
    daemon.await_held(2);
    guest.memory.flip(early.draft.data);
    guest.memory.flip(late.draft.data);
    assert_eq!(daemon.release(), 2);
    assert_eq!((guest.finish(&early), guest.finish(&late)), (OK, OK));
    let closed = daemon.unmark("second");
    assert!(closed.counters.is_some());
    drop(guest);
    let records = daemon.stop();
    let mut labels: Vec<_> =
        records.races().iter().map(|race| (race.lba.0, race.label.clone())).collect();
    labels.sort();
    assert_eq!(labels, [(0, Some("first".to_owned())), (1, Some("second".to_owned()))]);
}

#[test]
fn a_label_counts_what_happened_under_it() {
    let daemon = Daemon::start(&["--window", "0", "--on-race", "report"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 4096)), OK);
    daemon.mark("counted");
    for sector in [0, 8, 16] {
        assert_eq!(guest.write(sector, &pattern(sector, 4096)), OK);
    }
    guest.must_read(0, 512);
    assert_eq!(guest.flush(), OK);
    let reply = daemon.unmark("counted");
    assert_eq!(guest.write(0, &pattern(1, 4096)), OK);
    let counters = reply.counters.unwrap();
    assert_eq!((counters.writes, counters.blocks_checked), (3, 24));
    assert_eq!((counters.reads, counters.flushes), (1, 1));
    drop(guest);

    let records = daemon.stop();
    let marks = records.marks();
    let states: Vec<_> = marks.iter().map(|mark| (mark.label.as_str(), mark.state)).collect();
    assert_eq!(states, [("counted", MarkState::Begin), ("counted", MarkState::End)]);
    assert_eq!(marks[1].counters.as_ref(), Some(&*counters));
    assert_eq!(records.stop().writes, 5);
}

#[test]
fn marks_that_do_not_fit_are_refused() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut client = daemon.control();
    let mut mark = |label: &str, state| {
        client.ask(&Request::Mark { label: label.to_owned(), state }).map(drop)
    };
    assert!(mark("never opened", MarkState::End).is_err());
    assert!(mark("", MarkState::Begin).is_err());
    assert!(mark(&"x".repeat(10_000), MarkState::Begin).is_err());
    assert!(mark("fine", MarkState::Begin).is_ok());
    assert!(mark("another", MarkState::End).is_err());
    assert!(mark("fine", MarkState::End).is_ok());
    assert_eq!(daemon.stop().marks().len(), 2);
}

#[test]
fn stats_tell_the_state() {
    let daemon = Daemon::start(&["--window", "hold"]);
    assert!(!daemon.stats().connected);
    let mut guest = daemon.guest();
    crate::kit::eventually("a connection", || daemon.stats().connected.then_some(()));
    daemon.mark("here");
    let sent = guest.start_write(0, &pattern(1, 512));
    daemon.await_held(1);
    let stats = daemon.stats();
    assert_eq!((stats.held, stats.label.as_deref()), (1, Some("here")));
    assert_eq!(stats.window.to_string(), "hold");
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    crate::kit::eventually("the count", || (daemon.stats().counters.writes == 1).then_some(()));
    assert!(daemon.stats().t_us > stats.t_us);
    drop(guest);
    crate::kit::eventually("the end of the connection", || {
        (!daemon.stats().connected).then_some(())
    });
}

#[test]
fn the_window_can_be_changed_while_running() {
    let daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.guest();
    let held = guest.start_write(0, &pattern(1, 512));
    daemon.await_held(1);
    daemon.ask(Request::Window { spec: "20ms".parse().unwrap() });
    assert_eq!(daemon.stats().window.to_string(), "20ms");
    let timed = guest.start_write(8, &pattern(2, 512));
    assert_eq!(guest.finish(&timed), OK, "writes to come have the new window");
    assert_eq!(daemon.stats().held, 1, "the write that is held stays held");
    daemon.release();
    assert_eq!(guest.finish(&held), OK);
    assert_eq!(daemon.release(), 0, "nothing is left to release");
    let records = daemon.stop();
    assert!(records.stop().window_us.unwrap().max >= 20_000.0);
    let changed: Vec<String> = records
        .0
        .iter()
        .filter_map(|r| if let Record::Window(change) = r { Some(change.spec) } else { None })
        .map(|spec| spec.to_string())
        .collect();
    assert_eq!(changed, ["20ms"], "the change is on record");
}

#[test]
fn several_clients_ask_at_once() {
    let daemon = Daemon::start(&["--window", "200us"]);
    let mut guest = daemon.guest();
    let mut silent = raw_client(&daemon);
    let path = daemon.control_path();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = dixtrap::control::Client::connect(&path).unwrap();
                for _ in 0..50 {
                    assert!(client.ask(&Request::Stats).unwrap().stats.is_some());
                }
            });
        }
        for sector in 0..100 {
            assert_eq!(guest.write(sector, &pattern(sector, 512)), OK);
        }
    });
    assert!(raw(&mut silent, br#"{"cmd":"stats"}"#).ok, "a client that was idle is not forgotten");
}

#[test]
fn malformed_lines_are_answered_and_the_connection_lives() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut client = raw_client(&daemon);
    let bad: [&[u8]; 9] = [
        b"hello",
        b"{}",
        b"[]",
        br#"{"cmd":"explode"}"#,
        br#"{"cmd":"window","spec":"soon"}"#,
        br#"{"cmd":"window"}"#,
        br#"{"cmd":"mark","label":"x","more":1}"#,
        b"\xff\xfe\x00garbage",
        br#"{"cmd":"mark","label":7}"#,
    ];
    for line in bad {
        let reply = raw(&mut client, line);
        assert!(!reply.ok && reply.error.is_some_and(|why| !why.is_empty()), "{line:?}");
    }
    assert!(raw(&mut client, br#"{"cmd":"stats"}"#).ok);
}

#[test]
fn a_client_that_never_ends_its_line_does_not_hurt() {
    let mut daemon = Daemon::start(&["--window", "0"]);
    let mut endless = UnixStream::connect(daemon.control_path()).unwrap();
    endless.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    for _ in 0..256 {
        // The daemon may cut the connection off, or stop reading.
        if endless.write_all(&[b'x'; 64 * 1024]).is_err() {
            break;
        }
    }
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    assert!(daemon.stats().connected);
    assert!(daemon.lives());
}

#[test]
fn quit_drains_and_ends_like_sigterm() {
    let mut daemon = Daemon::start(&["--window", "hold"]);
    let mut guest = daemon.guest();
    let data = pattern(1, 512);
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    daemon.ask(Request::Quit);
    assert!(daemon.wait().success());
    assert_eq!(guest.finish(&sent), OK);
    assert_eq!(daemon.disk_bytes()[..512], data);
    assert_eq!(daemon.records().stop().writes, 1);
    assert!(!daemon.socket().exists() && !daemon.control_path().exists());
}
