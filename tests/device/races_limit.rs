//! `--races-limit`: beyond it races are counted and not written, and everything that counts says so.

use dixtrap::record::{Counters, Record};

use crate::kit::records::Records;
use crate::kit::scsi::{Load, REQUEST, ScsiGuest, lun, ten};
use crate::kit::*;

/// Room for some records.
const LIMIT: u64 = 20_000;

/// What the daemon with these flags wrote, and how large that is; `race` has so many blocks race.
fn noted(flags: &[&str], race: impl Fn(&Daemon)) -> (Records, u64, String) {
    let limit = LIMIT.to_string();
    let usual = ["--window", "hold", "--on-race", "report", "--races-limit", &limit];
    let daemon = Daemon::start(&[&usual, flags].concat());
    race(&daemon);
    let dir = daemon.dir();
    let records = daemon.stop();
    let path = dir.path().join("races.jsonl");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .arg("report")
        .arg(&path)
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    (records, std::fs::metadata(path).unwrap().len(), report)
}

/// A write of a guest in which so many blocks race.
fn race_once(daemon: &Daemon, guest: &mut Guest, blocks: u64) {
    let data = pattern(1, usize::try_from(blocks * 512).unwrap());
    let sent = guest.start_write(0, &data);
    daemon.await_held(1);
    for block in 0..blocks {
        guest.memory.flip(sent.draft.data + block * 512 + 5);
    }
    daemon.release();
    assert_eq!(guest.finish(&sent), OK);
}

/// So many were counted, and those that are not listed are told.
fn says_so(records: &Records, listed: u64, counters: &Counters, all: u64) {
    assert_eq!((counters.all_races(), counters.records_lost), (all, 0));
    assert!(listed < all, "{listed} of {all} listed");
    let limits = records.0.iter().filter(|record| matches!(record, Record::Limit(_))).count();
    assert_eq!(limits, 1, "one record says so");
}

#[test]
fn beyond_the_limit_races_are_counted_and_told_and_not_written() {
    let (records, bytes, report) = noted(&[], |daemon| {
        let mut guest = daemon.guest();
        for _ in 0..4 {
            race_once(daemon, &mut guest, 128);
        }
        assert_eq!(daemon.stats().counters.races.in_window, 512, "counted at once");
    });
    let (listed, counters) = (records.races().len() as u64, records.stop());
    assert!(listed > 0 && bytes < 2 * LIMIT, "{bytes} bytes");
    says_so(&records, listed, counters, 512);
    assert_eq!(counters.records_withheld + listed, 512 + counters.healed);
    assert!(report.contains("the file reached its limit (20000)"), "{report}");
    assert!(
        report.contains("records were only counted: the file had reached its limit"),
        "{report}"
    );
    let all = report.lines().find(|line| line.trim_start().starts_with("(all)")).unwrap();
    assert!(all.split_whitespace().any(|word| word == "512"), "{report}");
}

/// A label that raced a great deal takes nothing from the next: its count is whole, its first races are there.
#[test]
fn every_label_has_its_count_and_its_first_races() {
    let (records, bytes, report) = noted(&[], |daemon| {
        let mut guest = daemon.guest();
        for label in ["first", "second", "third"] {
            daemon.mark(label);
            race_once(daemon, &mut guest, 256);
            daemon.unmark(label);
        }
    });
    assert!(bytes < 300_000, "{bytes} bytes");
    for label in ["first", "second", "third"] {
        let races = records.races();
        let listed = races.iter().filter(|race| race.label.as_deref() == Some(label)).count();
        assert!((1..256).contains(&listed), "{listed} of {label}");
        let line = report.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
        assert!(line.split_whitespace().any(|word| word == "256"), "{line}");
    }
    let ends = records.marks().into_iter().filter_map(|mark| mark.counters.clone());
    let counted: Vec<_> = ends.map(|all| (all.all_races(), all.writes, all.raced_writes)).collect();
    assert_eq!(counted, [(256, 1, Some(1)); 3]);
    says_so(&records, records.races().len() as u64, records.stop(), 768);
}

#[test]
fn scsi_records_have_the_same_limit() {
    let args = ["--device", "scsi", "--num-queues", "2"];
    let (records, bytes, report) = noted(&args, |daemon| {
        let mut guest = ScsiGuest::plug(daemon, true);
        for _ in 0..4 {
            let data = pattern(1, 64 * 512);
            let load = Load { out: &data, ..Load::default() };
            let call = guest.call(lun(0), &ten(0x2A, 0, 0, 64), &load);
            let place = call.pieces.iter().find(|piece| piece.len == 64 * 512).unwrap().addr;
            guest.send(REQUEST, &call);
            daemon.await_held(1);
            for block in 0..64 {
                guest.guest.memory.flip(place + block * 512 + 5);
            }
            daemon.release();
            eventually("an answer", || {
                (!guest.guest.rings[REQUEST].harvest().is_empty()).then_some(())
            });
        }
    });
    assert!(bytes < 2 * LIMIT, "{bytes} bytes");
    says_so(&records, records.races().len() as u64, records.stop(), 256);
    assert!(report.contains("the file reached its limit"), "{report}");
}
