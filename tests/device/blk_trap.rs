//! The trap's semantics: what is a race, what is none, and what a race does to the disk.

use std::time::{Duration, Instant};

use dixtrap::pi::guard;
use dixtrap::record::{OnRace, Outcome, Phase};
use dixtrap::units::{BlockCount, Lba, QueueIndex};

use crate::kit::daemon::image_is_sound;
use crate::kit::request::{readable, writable};
use crate::kit::{Daemon, Draft, Guest, IOERR, OK, eventually, pattern};

/// The CRC's own polynomial: a difference of exactly these bytes, anywhere in a block, leaves the
/// guard as it was, because the guard is linear and this is a multiple of the polynomial.
const INVISIBLE: [u8; 3] = [0x01, 0x8B, 0xB7];

/// A daemon that holds every write, with a guest.
fn holding(args: &[&str]) -> (Daemon, Guest) {
    let mut all = vec!["--window", "hold"];
    all.extend(args);
    let daemon = Daemon::start(&all);
    let guest = daemon.guest();
    (daemon, guest)
}

/// A write of `data` at `sector`, changed by `change` while it is in its window; its status.
fn race(daemon: &Daemon, guest: &mut Guest, sector: u64, data: &[u8], at: &[u64]) -> u8 {
    let sent = guest.start_write(sector, data);
    daemon.await_held(1);
    for offset in at {
        guest.memory.flip(sent.draft.data + offset);
    }
    assert_eq!(daemon.release(), 1);
    guest.finish(&sent)
}

/// A write that nobody touches while it is held; its status.
fn hold_and_release(daemon: &Daemon, guest: &mut Guest, sector: u64, data: &[u8]) -> u8 {
    race(daemon, guest, sector, data, &[])
}

#[test]
fn a_page_that_stays_still_is_no_race() {
    let daemon = Daemon::start(&["--window", "1ms"]);
    let mut guest = daemon.guest();
    let data = pattern(1, 8192);
    assert_eq!(guest.write(8, &data), OK);
    assert_eq!(guest.must_read(8, 8192), data);
    drop(guest);
    let records = daemon.stop();
    assert!(records.races().is_empty());
    let counters = records.stop();
    assert_eq!((counters.writes, counters.blocks_checked, counters.reads), (1, 16, 1));
    assert!(counters.window_us.unwrap().max >= 1000.0);
}

#[test]
fn a_change_before_the_doorbell_is_no_race() {
    let (daemon, mut guest) = holding(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(2, 4096));
    let head = guest.rings[0].place(&draft.pieces());
    guest.rings[0].expose(head);
    guest.memory.flip(draft.data + 100);
    let last_word = draft.bytes();
    guest.rings[0].kick();
    daemon.await_held(1);
    daemon.release();
    guest.rings[0].wait(head);
    assert_eq!(draft.status(), OK);
    assert_eq!(guest.must_read(0, 4096), last_word);
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn a_change_after_completion_is_no_race() {
    let (daemon, mut guest) = holding(&[]);
    let data = pattern(3, 4096);
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    guest.memory.flip(sent.draft.data + 100);
    assert_eq!(guest.must_read(0, 4096), data);
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn a_change_in_the_window_is_a_race_with_every_fact_about_it() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    let data = pattern(4, 4096);
    let sent = guest.start_write(40, &data);
    daemon.await_held(1);
    std::thread::sleep(Duration::from_millis(20));
    let (old, new) = guest.memory.flip(sent.draft.data + 3 * 512 + 7);
    assert_eq!(daemon.release(), 1);
    assert_eq!(guest.finish(&sent), OK);
    let fetched = sent.draft.bytes();

    let records = daemon.stop();
    let race = records.race();
    assert_eq!((race.lba, race.queue, race.device.as_str()), (Lba(43), QueueIndex(0), "blk"));
    assert_eq!((race.request.lba, race.request.blocks), (Lba(40), BlockCount(8)));
    assert_eq!((race.request.op.as_str(), race.request.id), ("write", 1));
    assert_eq!(race.gpa, sent.draft.data + 3 * 512);
    assert_eq!((race.phase, race.outcome), (Phase::InWindow, Outcome::Stored));
    assert_eq!(race.doorbell_guard, Some(guard(&data[1536..2048]).0));
    assert_eq!(race.fetch_guard, Some(guard(&fetched[1536..2048]).0));
    assert!(!race.guard_blind && !race.overlap && race.submit_guard.is_none());
    assert_eq!((race.changed.len(), race.changed_bytes), (1, 1));
    let change = &race.changed[0];
    assert_eq!((change.offset, change.len), (7, 1));
    assert_eq!((&change.old, &change.new), (&format!("{old:02x}"), &format!("{new:02x}")));
    assert!((20_000.0..20_000_000.0).contains(&race.window_us), "{}", race.window_us);
    assert_eq!(race.label, None);
    let counters = records.stop();
    assert_eq!((counters.races.in_window, counters.all_races(), counters.standing), (1, 1, 1));
}

#[test]
fn on_race_fail_leaves_the_old_bytes_of_the_whole_request() {
    let (daemon, mut guest) = holding(&["--on-race", "fail"]);
    let old = pattern(5, 4096);
    assert_eq!(hold_and_release(&daemon, &mut guest, 16, &old), OK);
    assert_eq!(race(&daemon, &mut guest, 16, &pattern(6, 4096), &[1000]), IOERR);
    assert_eq!(guest.must_read(16, 4096), old, "the medium keeps what it had");
    drop(guest);
    let disk = daemon.disk();
    let dir = daemon.dir();
    let records = daemon.stop();
    assert_eq!(records.race().outcome, Outcome::Failed);
    assert_eq!(records.race().lba, Lba(17));
    assert_eq!(std::fs::read(&disk).unwrap()[16 * 512..24 * 512], old);
    image_is_sound(&disk);
    drop(dir);
}

#[test]
fn on_race_report_stores_what_was_fetched_and_the_disk_verifies() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    let sent = guest.start_write(16, &pattern(7, 4096));
    daemon.await_held(1);
    guest.memory.flip(sent.draft.data + 1000);
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    let fetched = sent.draft.bytes();
    assert_eq!(guest.must_read(16, 4096), fetched);
    for sector in (0..2048).step_by(128) {
        guest.must_read(sector, 65536);
    }
    assert_eq!(guest.flush(), OK);
    drop(guest);
    let disk = daemon.disk();
    let _dir = daemon.dir();
    let records = daemon.stop();
    assert_eq!(records.race().outcome, Outcome::Stored);
    assert!(records.medium_faults().is_empty());
    image_is_sound(&disk);
}

#[test]
fn a_later_clean_write_heals_and_what_none_covers_stands() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    assert_eq!(race(&daemon, &mut guest, 0, &pattern(8, 1024), &[0, 512]), OK);
    assert_eq!(hold_and_release(&daemon, &mut guest, 0, &pattern(9, 512)), OK);
    drop(guest);
    let records = daemon.stop();
    let races = records.races();
    assert_eq!(races.iter().map(|race| race.lba).collect::<Vec<_>>(), [Lba(0), Lba(1)]);
    let healed = records.healed();
    assert_eq!(healed.len(), 1);
    assert_eq!(healed[0].race, races[0].id);
    assert!(healed[0].after_us > 0);
    assert_eq!((records.stop().healed, records.stop().standing), (1, 1));
}

#[test]
fn a_second_race_does_not_heal_the_first() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    assert_eq!(race(&daemon, &mut guest, 0, &pattern(10, 512), &[0]), OK);
    assert_eq!(race(&daemon, &mut guest, 0, &pattern(11, 512), &[0]), OK);
    drop(guest);
    let records = daemon.stop();
    assert!(records.healed().is_empty());
    assert_eq!(records.stop().healed, 0);
    assert!(records.stop().standing >= 1);
}

#[test]
fn blocks_of_4096_bytes_race_as_a_whole() {
    let (daemon, mut guest) = holding(&["--block-size", "4096"]);
    let data = pattern(12, 3 * 4096);
    assert_eq!(race(&daemon, &mut guest, 80, &data, &[4096, 4096 + 4095]), IOERR);
    drop(guest);
    let records = daemon.stop();
    let race = records.race();
    assert_eq!((race.lba, race.request.lba), (Lba(11), Lba(10)));
    assert_eq!(race.request.blocks, BlockCount(3));
    assert_eq!(race.doorbell_guard, Some(guard(&data[4096..8192]).0));
    let offsets: Vec<usize> = race.changed.iter().map(|change| change.offset).collect();
    assert_eq!((offsets, race.changed_bytes), (vec![0, 4095], 2));
    assert_eq!(records.stop().blocks_checked, 3);
}

#[test]
fn a_collision_of_the_guard_is_seen_by_its_bytes() {
    let (daemon, mut guest) = holding(&["--on-race", "fail"]);
    let mut data = pattern(13, 512);
    data[100..103].fill(0);
    let sent = guest.start_write(5, &data);
    daemon.await_held(1);
    guest.memory.write(sent.draft.data + 100, &INVISIBLE);
    daemon.release();
    let status = guest.finish(&sent);
    drop(guest);
    let records = daemon.stop();
    let race = records.race();
    assert!(race.guard_blind);
    assert_eq!(race.doorbell_guard, race.fetch_guard);
    assert_eq!((race.changed[0].offset, race.changed[0].new.as_str()), (100, "018bb7"));
    assert_eq!(records.stop().guard_blind, 1);
    // Outcome and status have to tell one story.
    assert_eq!(status == OK, race.outcome == Outcome::Stored);
}

#[test]
fn one_page_twice_in_a_chain_is_an_overlap() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    let draft = Draft::write(&guest.memory, 0, &pattern(14, 512));
    let pieces = [
        readable(draft.header, 16),
        readable(draft.data, 512),
        readable(draft.data, 512),
        writable(draft.status, 1),
    ];
    let head = guest.rings[0].place(&pieces);
    guest.ring_bell(0, head);
    daemon.await_held(1);
    guest.memory.flip(draft.data);
    daemon.release();
    guest.rings[0].wait(head);
    assert_eq!(draft.status(), OK);
    assert_eq!(guest.must_read(0, 1024), [draft.bytes(), draft.bytes()].concat());
    let records = daemon.stop();
    assert_eq!(records.races().len(), 2);
    assert!(records.races().iter().all(|race| race.overlap && race.gpa == draft.data));
}

#[test]
fn a_block_in_pieces_has_the_address_of_its_first_byte() {
    let (daemon, mut guest) = holding(&["--on-race", "report"]);
    let draft = Draft::write(&guest.memory, 0, &pattern(15, 1024));
    let pieces = [
        readable(draft.header, 5),
        readable(draft.header + 5, 11),
        readable(draft.data, 700),
        readable(draft.data + 700, 324),
        writable(draft.status, 1),
    ];
    let head = guest.rings[0].place(&pieces);
    guest.ring_bell(0, head);
    daemon.await_held(1);
    guest.memory.flip(draft.data + 1023);
    daemon.release();
    guest.rings[0].wait(head);
    let records = daemon.stop();
    assert_eq!((records.race().lba, records.race().gpa), (Lba(1), draft.data + 512));
    assert_eq!(records.race().changed[0].offset, 511);
}

#[test]
fn a_long_change_is_told_with_its_true_length() {
    let (daemon, mut guest) = holding(&["--on-race", "report", "--block-size", "4096"]);
    let sent = guest.start_write(0, &[0x11; 4096]);
    daemon.await_held(1);
    guest.memory.write(sent.draft.data, &[0x22; 4096]);
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    let records = daemon.stop();
    let race = records.race();
    assert_eq!((race.changed[0].len, race.changed_bytes), (4096, 4096));
    assert_eq!(race.changed[0].old.len(), race.changed[0].new.len());
    assert!(race.changed[0].old.len() < 2 * 4096, "long runs are cut");
    assert!(race.changed[0].new.starts_with("2222"));
}

#[test]
fn the_measured_window_is_the_real_one() {
    let daemon = Daemon::start(&["--window", "30ms", "--on-race", "report"]);
    let mut guest = daemon.guest();
    let sent = guest.start_write(0, &pattern(16, 512));
    daemon.await_held(1);
    guest.memory.flip(sent.draft.data);
    assert_eq!(guest.finish(&sent), OK);
    let records = daemon.stop();
    assert!(records.race().window_us >= 30_000.0);
    assert!(records.stop().window_us.unwrap().median >= 30_000.0);
}

#[test]
fn without_protection_a_race_is_still_a_race() {
    let (daemon, mut guest) = holding(&["--pi-type", "0", "--on-race", "report"]);
    assert_eq!(race(&daemon, &mut guest, 3, &pattern(17, 512), &[9]), OK);
    assert_eq!(daemon.stop().race().lba, Lba(3));
}

#[test]
fn reads_are_not_held() {
    let (daemon, mut guest) = holding(&[]);
    let sent = guest.start_write(0, &pattern(18, 512));
    daemon.await_held(1);
    assert_eq!(guest.must_read(8, 512), [0; 512]);
    guest.rings[0].stays_silent();
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
    eventually("nothing held", || (daemon.stats().held == 0).then_some(()));
}

#[test]
fn the_first_record_says_what_disk_under_what_rules() {
    let args = ["--window", "exp:200us", "--seed", "7", "--pi-type", "2", "--block-size", "4096"];
    let daemon = Daemon::start(&[&args[..], &["--on-race", "report", "--races", "-"]].concat());
    let stdout = daemon.file("stdout");
    let records = eventually("the first record", || {
        let records = crate::kit::records::Records::read(&stdout);
        (!records.0.is_empty()).then_some(records)
    });
    let start = records.start();
    assert_eq!((start.device.as_str(), start.disk.as_str()), ("blk", "disk.img"));
    assert_eq!((start.pi_type, start.seed), (2, 7));
    assert_eq!((u32::from(start.block_size), start.window.to_string()), (4096, "exp:200us".into()));
    assert_eq!(start.on_race, OnRace::Report);
    assert!(start.features.iter().any(|name| name == "EVENT_IDX"));
    assert!(!start.version.is_empty() && start.unix_ms > 1_700_000_000_000);
}

#[test]
fn a_link_makes_long_writes_wait_longer() {
    let daemon = Daemon::start(&["--window", "bandwidth:1ms+10MB/s"]);
    let mut guest = daemon.guest();
    // 200,000 bytes at 10 MB/s take 20 ms; two of them one after the other, 40 ms.
    let data = pattern(18, 200 * 1024);
    let begun = Instant::now();
    let first = guest.start_write(0, &data);
    let second = guest.start_write(512, &data);
    assert_eq!((guest.finish(&first), guest.finish(&second)), (OK, OK));
    // A busy machine makes this longer and never shorter.
    assert!(begun.elapsed() >= Duration::from_millis(41), "{:?}", begun.elapsed());
    assert_eq!(guest.write(1024, &data[..512]), OK);
    let windows = daemon.stop().stop().window_us.unwrap();
    assert!(windows.median >= 20_000.0, "{windows:?}");
}
