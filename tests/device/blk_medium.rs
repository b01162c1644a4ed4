//! What lies on the medium is checked when it is read, and a fault there is not a race.

use std::os::unix::fs::FileExt;
use std::path::Path;

use dixtrap::pi::guard;
use dixtrap::units::Lba;

use crate::kit::*;

/// Where the tuples begin in a PI file; they are stored inverted, so that holes are escape tags.
const TUPLES: usize = 4096;

/// Inverts one byte of a file behind the daemon's back.
fn corrupt(image: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[test]
fn corrupted_data_is_an_error_and_a_record_of_its_own() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let data = pattern(1, 8192);
    assert_eq!(guest.write(8, &data), OK);
    corrupt(&daemon.disk(), 11 * 512 + 5);
    assert_eq!(guest.read(8, 8192).0, IOERR);
    assert_eq!(guest.read(11, 512).0, IOERR);
    assert_eq!(guest.must_read(8, 3 * 512), data[..3 * 512], "its neighbours can be read");
    assert_eq!(guest.must_read(12, 512), data[4 * 512..5 * 512]);
    assert_eq!(guest.write(11, &data[..512]), OK, "a write makes it good");
    assert_eq!(guest.must_read(11, 512), data[..512]);
    drop(guest);

    let records = daemon.stop();
    let faults = records.medium_faults();
    assert_eq!(faults.len(), 2);
    assert_eq!((faults[0].lba, faults[0].check.as_str()), (Lba(11), "guard"));
    assert_eq!(faults[0].stored, u32::from(guard(&data[3 * 512..4 * 512]).0));
    assert_ne!(faults[0].stored, faults[0].computed);
    assert_eq!(records.stop().medium_faults, 2);
    assert!(records.races().is_empty() && records.stop().all_races() == 0);
}

#[test]
fn unprotected_blocks_are_not_checked() {
    // Never written: escape tags, whatever the data is.
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    corrupt(&daemon.disk(), 77 * 512);
    guest.must_read(77, 512);
    // Discarded: escape tags again.
    assert_eq!(guest.write(80, &pattern(1, 512)), OK);
    let range = request::Range { sector: 80, count: 1, flags: 0 };
    let draft = Draft::discard(&guest.memory, &[range]);
    assert_eq!(guest.run(draft), OK);
    corrupt(&daemon.disk(), 80 * 512);
    guest.must_read(80, 512);
    // Written with zeroes: protected.
    let draft = Draft::write_zeroes(&guest.memory, &[request::Range { sector: 90, ..range }]);
    assert_eq!(guest.run(draft), OK);
    corrupt(&daemon.disk(), 90 * 512);
    assert_eq!(guest.read(90, 512).0, IOERR);
    // Not formatted with protection at all.
    let daemon = Daemon::start(&["--window", "0", "--pi-type", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 512)), OK);
    corrupt(&daemon.disk(), 3);
    guest.must_read(0, 512);
}

#[test]
fn every_type_protects() {
    for kind in ["1", "2", "3"] {
        for block_size in ["512", "4096"] {
            let args = ["--window", "0", "--pi-type", kind, "--block-size", block_size];
            let daemon = Daemon::start(&args);
            let dir = daemon.dir();
            let data = pattern(2, 8192);
            assert_eq!(daemon.guest().write(800, &data), OK);
            daemon.stop();
            let daemon = Daemon::start_in(dir, &args);
            let mut guest = daemon.guest();
            assert_eq!(guest.must_read(800, 8192), data);
            corrupt(&daemon.disk(), 800 * 512);
            assert_eq!(guest.read(800, 4096).0, IOERR, "type {kind}");
        }
    }
}

#[test]
fn the_tuples_lie_where_the_format_says() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let data = pattern(3, 512);
    assert_eq!(guest.write(9, &data), OK);
    assert_eq!(guest.flush(), OK);
    let pi = std::fs::read(daemon.file("disk.img.pi")).unwrap();
    let tuple: Vec<u8> = pi.iter().skip(TUPLES + 8 * 9).take(8).map(|byte| !byte).collect();
    let tags = [&guard(&data).0.to_be_bytes()[..], &[0, 0], &[0, 0, 0, 9]].concat();
    assert_eq!(tuple, tags, "guard, application and reference tag, big-endian");
}

#[test]
fn a_wrong_reference_tag_is_found_and_named() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(9, &pattern(4, 512)), OK);
    corrupt(&daemon.file("disk.img.pi"), TUPLES as u64 + 8 * 9 + 7);
    assert_eq!(guest.read(9, 512).0, IOERR);
    let records = daemon.stop();
    let faults = records.medium_faults();
    assert_eq!((faults[0].lba, faults[0].check.as_str()), (Lba(9), "ref"));
    assert_eq!((faults[0].stored, faults[0].computed), (9 ^ 0xFF, 9));
}
