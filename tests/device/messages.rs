//! Standard error and the daemon: it waits for no reader, and no guest fills it.

use std::io::{PipeReader, PipeWriter, Read, Write};

use dixtrap::control::Request;
use nix::sys::signal::Signal;

use crate::kit::request::{readable, writable};
use crate::kit::*;

/// A pipe without room for a single byte, and who could read it.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe holds, unless somebody changes it (pipe(7)).
    writer.write_all(&[b'x'; 65536]).unwrap();
    (reader, writer)
}

/// Requests that ask for memory that is not there: each is worth a warning.
fn storm(guest: &mut Guest, requests: u64) {
    for number in 0..requests {
        let draft = Draft::write(&guest.memory, number % 8, &[]);
        let nowhere = readable(0xFFFF_0000_0000 + number * 4096, 512);
        let pieces = [readable(draft.header, 16), nowhere, writable(draft.status, 1)];
        assert_eq!(guest.run_pieces(&draft, &pieces), IOERR);
    }
}

#[test]
fn a_storm_of_bad_requests_with_nobody_to_read_of_it_stops_nothing() {
    for end in [Signal::SIGTERM, Signal::SIGINT] {
        let (reader, writer) = full_pipe();
        let mut daemon = Daemon::start_saying(writer, "info", &["--window", "0"]);
        let mut guest = daemon.guest();
        storm(&mut guest, 3000);
        guest.proves_it_works(0, 8);
        assert_eq!(daemon.stats().counters.errors, 3000);
        drop(guest);
        daemon.guest().proves_it_works(0, 16);
        daemon.signal(end);
        assert!(daemon.wait().success());
        assert!(daemon.records().stop().writes > 0, "the last record is there");
        drop(reader);
    }
}

#[test]
fn the_control_socket_ends_a_daemon_that_nobody_listens_to() {
    let (reader, writer) = full_pipe();
    let mut daemon = Daemon::start_saying(writer, "info", &["--window", "0"]);
    storm(&mut daemon.guest(), 3000);
    daemon.ask(Request::Quit);
    assert!(daemon.wait().success());
    drop(reader);
}

#[test]
fn a_storm_is_told_by_its_first_messages_and_their_number() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    storm(&mut guest, 3000);
    drop(guest);
    let (dir, _) = (daemon.dir(), daemon.stop());
    let text = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
    let warnings = text.lines().filter(|line| line.contains("the request fails")).count();
    let told: u64 = text
        .lines()
        .filter_map(|line| line.split_once(" more like this: ")?.0.split(' ').next_back())
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    assert!((1..100).contains(&warnings), "{warnings} lines:\n{text}");
    // Those that are told as "like this" contain the words of the warning too.
    let in_full = warnings as u64 - text.matches(" more like this: ").count() as u64;
    assert_eq!(in_full + told, 3000, "{text}");
}

/// Everything that is said at `level` of so many bad requests, read when the daemon is told to end.
fn read_late(level: &str, requests: u64) -> String {
    let (mut reader, writer) = full_pipe();
    let mut daemon = Daemon::start_saying(writer, level, &["--window", "0"]);
    storm(&mut daemon.guest(), requests);
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    read.join().unwrap().unwrap()
}

#[test]
fn what_nobody_read_waits_and_what_had_no_room_is_counted() {
    let text = read_late("info", 20);
    assert!(text.contains("the request fails") && text.contains(" more like this: "), "{text}");
    assert!(!text.contains("messages were lost"), "{text}");
    // Every one of these is said, as long as there is room.
    let text = read_late("debug", 3000);
    let lost = text.lines().find_map(|line| {
        line.strip_prefix("dixtrapd: ")?
            .strip_suffix(" messages were lost: nobody read this in time")
    });
    assert!(lost.unwrap().parse::<u64>().unwrap() > 1000, "{lost:?}");
}
