//! Injected faults over virtio-blk: each one happens as it is spelled, has its record, and is never
//! counted as found.

use dixtrap::control::Request;
use dixtrap::units::Lba;

use crate::kit::daemon::{Refusal, image_is_sound};
use crate::kit::records::Records;
use crate::kit::{Daemon, Draft, Guest, IOERR, OK, eventually, pattern};

const SECTOR: usize = 512;

/// A daemon without windows and with these faults, and a guest.
fn faulty(specs: &[&str]) -> (Daemon, Guest) {
    faulty_with(specs, &[])
}

fn faulty_with(specs: &[&str], more: &[&str]) -> (Daemon, Guest) {
    let mut args = vec!["--window", "0"];
    args.extend(specs.iter().flat_map(|spec| ["--inject", spec]));
    args.extend(more);
    let daemon = Daemon::start(&args);
    let guest = daemon.guest();
    (daemon, guest)
}

/// The end: so many injections, all recorded, and nothing else found.
fn only_injected(daemon: Daemon, guest: Guest, count: u64) -> Records {
    drop(guest);
    let records = daemon.stop();
    let counters = records.stop();
    assert_eq!(records.injections().len() as u64, count);
    assert_eq!((counters.injected, counters.all_races()), (count, 0));
    assert_eq!((counters.medium_faults, counters.errors), (0, 0), "injected is not found");
    assert!(records.medium_faults().iter().all(|fault| fault.injected));
    records
}

#[test]
fn a_guard_flipped_on_the_medium_fails_reads_until_the_block_is_written_again() {
    let (daemon, mut guest) = faulty(&["flip=guard,at=medium,op=write,lba=100..200,count=1"]);
    assert_eq!(guest.write(96, &pattern(1, 8 * SECTOR)), OK);
    assert_eq!(guest.must_read(96, 4 * SECTOR), pattern(1, 8 * SECTOR)[..4 * SECTOR]);
    assert_eq!(guest.read(96, 8 * SECTOR).0, IOERR);
    assert_eq!(guest.read(100, SECTOR).0, IOERR);
    assert_eq!(guest.write(100, &pattern(2, SECTOR)), OK);
    assert_eq!(guest.must_read(100, SECTOR), pattern(2, SECTOR));
    let (disk, _alive) = (daemon.disk(), daemon.dir());
    let records = only_injected(daemon, guest, 1);
    let inject = records.injections()[0];
    assert_eq!((inject.lba, inject.op.as_str()), (Lba(100), "write"));
    assert_eq!(inject.spec, "flip=guard,at=medium,lba=100..200");
    let faults = records.medium_faults();
    assert_eq!((faults.len(), faults[0].lba, faults[0].check.as_str()), (2, Lba(100), "guard"));
    image_is_sound(&disk);
}

#[test]
fn every_part_can_be_flipped_as_it_is_read() {
    for (part, check) in [
        ("data,byte=7", Some("guard")),
        ("guard", Some("guard")),
        ("ref", Some("ref")),
        ("app", None),
    ] {
        let spec = format!("flip={part},at=medium,op=read,nth=2");
        let (daemon, mut guest) = faulty(&[&spec]);
        assert_eq!(guest.write(8, &pattern(1, SECTOR)), OK);
        guest.must_read(8, SECTOR);
        let (status, _) = guest.read(8, SECTOR);
        assert_eq!(status, if check.is_some() { IOERR } else { OK }, "{part}");
        let records = only_injected(daemon, guest, 1);
        let found = records.medium_faults().first().map(|fault| fault.check.clone());
        assert_eq!(found.as_deref(), check, "{part}");
    }
}

#[test]
fn a_fault_of_the_medium_that_nobody_injected_is_still_found() {
    let (daemon, mut guest) = faulty(&["flip=guard,lba=3"]);
    assert_eq!(guest.write(0, &pattern(1, 8 * SECTOR)), OK);
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::File::options().write(true).open(daemon.disk()).unwrap(),
        &[0xEE],
        5 * SECTOR as u64,
    )
    .unwrap();
    assert_eq!(guest.read(3, SECTOR).0, IOERR);
    assert_eq!(guest.read(5, SECTOR).0, IOERR);
    drop(guest);
    let records = daemon.stop();
    let faults: Vec<_> =
        records.medium_faults().iter().map(|fault| (fault.lba, fault.injected)).collect();
    assert_eq!(faults, [(Lba(3), true), (Lba(5), false)]);
    assert_eq!((records.stop().medium_faults, records.stop().errors), (1, 1));
}

#[test]
fn a_flip_on_the_way_in_is_refused_by_the_drive_and_no_race() {
    for part in ["data", "guard", "ref"] {
        let (daemon, mut guest) = faulty(&[&format!("flip={part},at=in,lba=10")]);
        assert_eq!(guest.write(8, &pattern(1, 4 * SECTOR)), IOERR, "{part}");
        assert_eq!(guest.must_read(8, 4 * SECTOR), [0; 4 * SECTOR], "nothing was stored");
        assert_eq!(guest.write(8, &pattern(1, 4 * SECTOR)), OK);
        only_injected(daemon, guest, 1);
    }
}

#[test]
fn without_protection_nobody_notices_a_flip() {
    let (daemon, mut guest) = faulty_with(&["flip=data,at=in,byte=5"], &["--pi-type", "0"]);
    let data = pattern(1, SECTOR);
    assert_eq!(guest.write(0, &data), OK);
    let read = guest.must_read(0, SECTOR);
    let differ: Vec<usize> = (0..SECTOR).filter(|i| read[*i] != data[*i]).collect();
    assert_eq!(differ, [5]);
    only_injected(daemon, guest, 1);
}

#[test]
fn a_flip_on_the_way_out_reaches_only_the_guest() {
    let (daemon, mut guest) = faulty(&["flip=data,at=out,byte=300,lba=1"]);
    let data = pattern(1, 2 * SECTOR);
    assert_eq!(guest.write(0, &data), OK);
    let mut expected = data.clone();
    expected[SECTOR + 300] ^= 1;
    assert_eq!(guest.must_read(0, 2 * SECTOR), expected);
    assert_eq!(guest.must_read(0, 2 * SECTOR), data);
    only_injected(daemon, guest, 1);
}

#[test]
fn a_lost_write_leaves_the_old_data() {
    let (daemon, mut guest) = faulty(&["lost,nth=2"]);
    assert_eq!(guest.write(0, &pattern(1, SECTOR)), OK);
    assert_eq!(guest.write(0, &pattern(2, SECTOR)), OK);
    assert_eq!(guest.must_read(0, SECTOR), pattern(1, SECTOR));
    only_injected(daemon, guest, 1);
}

#[test]
fn a_torn_write_stores_its_first_blocks() {
    let (daemon, mut guest) = faulty(&["torn=3"]);
    assert_eq!(guest.write(0, &pattern(1, 3 * SECTOR)), OK);
    let data = pattern(2, 8 * SECTOR);
    assert_eq!(guest.write(0, &data), OK);
    let read = guest.must_read(0, 8 * SECTOR);
    assert_eq!(read[..3 * SECTOR], data[..3 * SECTOR]);
    assert_eq!(read[3 * SECTOR..], [0; 5 * SECTOR]);
    only_injected(daemon, guest, 1);
}

#[test]
fn a_misdirected_write_hits_another_place_that_fails_its_reference_tag() {
    let (daemon, mut guest) = faulty(&["misdirect=+16,lba=8"]);
    assert_eq!(guest.write(24, &pattern(1, 2 * SECTOR)), OK);
    assert_eq!(guest.write(8, &pattern(2, 2 * SECTOR)), OK);
    assert_eq!(guest.must_read(8, 2 * SECTOR), [0; 2 * SECTOR], "the right place is as it was");
    assert_eq!(guest.read(24, SECTOR).0, IOERR);
    assert_eq!(guest.read(25, SECTOR).0, IOERR);
    let records = only_injected(daemon, guest, 1);
    assert_eq!(records.injections()[0].lba, Lba(8));
    assert!(records.medium_faults().iter().all(|fault| fault.check == "ref"));
}

#[test]
fn answers_are_io_errors_for_the_class_that_is_named() {
    for fault in ["sense=4/44/00", "medium-error", "busy"] {
        let (daemon, mut guest) = faulty(&[&format!("{fault},op=read+flush,count=2")]);
        assert_eq!(guest.write(0, &pattern(1, SECTOR)), OK);
        assert_eq!(guest.read(0, SECTOR).0, IOERR);
        assert_eq!(guest.flush(), IOERR);
        assert_eq!(guest.flush(), OK);
        assert_eq!(guest.must_read(0, SECTOR), pattern(1, SECTOR));
        only_injected(daemon, guest, 2);
    }
}

#[test]
fn a_request_without_answer_leaves_the_ring_usable_until_it_stops() {
    let (daemon, mut guest) = faulty(&["no-answer,op=write,lba=5"]);
    let lost = guest.start_write(5, &pattern(1, SECTOR));
    for sector in 0..200 {
        assert_eq!(guest.write(1000 + sector, &pattern(sector, SECTOR)), OK);
    }
    assert_eq!(lost.draft.status(), crate::kit::request::UNTOUCHED);
    assert_eq!(guest.must_read(5, SECTOR), [0; SECTOR]);
    assert_eq!(daemon.release(), 0);
    guest.restart_ring(0);
    guest.proves_it_works(0, 16);
    assert_eq!(lost.draft.status(), crate::kit::request::UNTOUCHED);
    only_injected(daemon, guest, 1);
}

#[test]
fn faults_are_added_while_running_and_carry_the_label() {
    let (daemon, mut guest) = faulty(&[]);
    assert_eq!(guest.write(0, &pattern(1, SECTOR)), OK);
    daemon.mark("trial");
    daemon.ask(Request::Inject { spec: "medium-error,op=read".to_owned() });
    assert_eq!(guest.read(0, SECTOR).0, IOERR);
    guest.must_read(0, SECTOR);
    let counters = daemon.unmark("trial").counters.unwrap();
    assert_eq!(counters.injected, 1);
    for (spec, words) in [
        ("flip=crc", "data, guard, app or ref"),
        ("busy,lba=99999", "2048 blocks"),
        ("flip=data,byte=512", "512 bytes"),
        ("busy,lun=0", "--device scsi"),
    ] {
        let refused = daemon.control().ask(&Request::Inject { spec: spec.to_owned() });
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(words), "{spec}: {message}");
    }
    let records = only_injected(daemon, guest, 1);
    assert_eq!(records.injections()[0].label.as_deref(), Some("trial"));
}

#[test]
fn a_race_is_a_race_even_where_a_fault_is_waiting() {
    let daemon = Daemon::start(&["--window", "hold", "--inject", "flip=data,at=in,count=all"]);
    let mut guest = daemon.guest();
    let sent = guest.start_write(0, &pattern(1, SECTOR));
    daemon.await_held(1);
    guest.memory.flip(sent.draft.data + 9);
    daemon.release();
    assert_eq!(guest.finish(&sent), IOERR);
    drop(guest);
    let records = daemon.stop();
    assert_eq!(records.race().changed_bytes, 1);
    assert_eq!((records.stop().injected, records.stop().errors), (0, 0));
}

#[test]
fn probability_is_drawn_from_the_seed() {
    let which = |seed: &str| -> Vec<u64> {
        let (daemon, mut guest) =
            faulty_with(&["busy,op=write,p=0.2,count=all"], &["--seed", seed]);
        let hit = (0..60).filter(|i| guest.write(*i, &pattern(*i, SECTOR)) == IOERR).collect();
        only_injected(daemon, guest, Vec::len(&hit) as u64);
        hit
    };
    let first = which("7");
    assert!((2..30).contains(&first.len()), "{first:?}");
    assert_eq!(first, which("7"));
    assert_ne!(first, which("8"));
}

#[test]
fn impossible_faults_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (spec, words) in [
        ("flip=data,byte=600", "byte=600 is past the end of a block of 512 bytes"),
        (
            "busy,lba=4096..5000",
            "lba=4096..5000 is past the end of the disk, which has 2048 blocks",
        ),
        ("lost,op=read", "lost cannot happen to op=read"),
    ] {
        Refusal::of(dir.path(), &["--inject", spec]).says(&[words]);
    }
}

#[test]
fn other_classes_are_classes_too() {
    let (daemon, mut guest) = faulty(&["busy,op=discard", "busy,op=zeroes", "busy,op=other"]);
    let range = [crate::kit::request::Range { sector: 0, count: 8, flags: 0 }];
    for draft in [Draft::discard, Draft::write_zeroes] {
        let attempt = draft(&guest.memory, &range);
        assert_eq!(guest.run(attempt), IOERR);
        let attempt = draft(&guest.memory, &range);
        assert_eq!(guest.run(attempt), OK);
    }
    let id = Draft::get_id(&guest.memory);
    assert_eq!(guest.run(id), IOERR);
    let id = Draft::get_id(&guest.memory);
    assert_eq!(guest.run(id), OK);
    eventually("the counter", || (daemon.stats().counters.injected == 3).then_some(()));
    only_injected(daemon, guest, 3);
}
