//! Reads are looked at once more after their delivery: what the guest's memory did to them is told, and
//! no disk is blamed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dixtrap::pi::guard;
use dixtrap::record::{Outcome, Phase, Race};
use dixtrap::units::Lba;

use crate::kit::direct::folder;
use crate::kit::records::Records;
use crate::kit::request::{readable, writable};
use crate::kit::scsi::{EVENT, Load, REQUEST, ScsiGuest, lun, ten};
use crate::kit::*;

fn report_of(daemon: &Daemon) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dixtrap"))
        .args(["report", "races.jsonl"])
        .current_dir(daemon.dir().path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Blocks 0 and 1 go to one place, so that the second one stands there when both are delivered.
fn one_page_twice(mut daemon: Daemon) {
    let mut guest = daemon.guest();
    let data = pattern(1, 1024);
    assert_eq!(guest.write(0, &data), OK);
    let draft = Draft::read(&guest.memory, 0, 512);
    let pieces = [
        readable(draft.header, 16),
        writable(draft.data, 512),
        writable(draft.data, 512),
        writable(draft.status, 1),
    ];
    assert_eq!(guest.run_pieces(&draft, &pieces), OK, "no read fails for it");
    assert_eq!(draft.bytes(), data[512..]);
    drop(guest);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.wait().success());

    let records = daemon.records();
    let race = records.race();
    assert_eq!((race.phase, race.outcome), (Phase::AfterDelivery, Outcome::Delivered));
    assert_eq!((race.lba, race.gpa, race.overlap), (Lba(0), draft.data, true));
    assert_eq!(race.request.op, "read");
    assert_eq!(race.delivered_guard, Some(guard(&data[..512]).0));
    assert_eq!(race.look_guard, Some(guard(&data[512..]).0));
    assert_eq!(
        race.changed_bytes,
        data[..512].iter().zip(&data[512..]).filter(|(a, b)| a != b).count()
    );
    let counters = records.stop();
    assert_eq!((counters.races.after_delivery, counters.blocks_delivered), (Some(1), 2));
    assert_eq!((counters.all_races(), counters.standing, counters.medium_faults), (0, 0, 0));
    let report = report_of(&daemon);
    assert!(
        report.contains("1 blocks of reads changed in the guest's memory after their delivery")
            && report.contains("1 in reads that have a page twice; the first is block 0"),
        "{report}"
    );
}

#[test]
fn one_page_twice_in_a_read_of_a_memory_disk() {
    one_page_twice(Daemon::start(&["--memory", "--size", "1M", "--window", "0"]));
}

#[test]
fn one_page_twice_in_a_read_of_a_file() {
    one_page_twice(Daemon::start(&["--window", "0"]));
}

#[test]
fn one_page_twice_in_a_read_past_the_page_cache() {
    if let Some(folder) = folder() {
        one_page_twice(Daemon::start_in(folder, &["--window", "0", "--direct"]));
    }
}

/// A buffer to which somebody else writes all the time.
#[test]
fn a_buffer_that_changes_is_told_by_its_bytes_and_a_quiet_one_is_not() {
    let daemon = Daemon::start(&["--memory", "--size", "1M", "--window", "0"]);
    let mut guest = daemon.guest();
    let data = pattern(2, 128 << 10);
    assert_eq!(guest.write(0, &data), OK);
    assert_eq!(guest.must_read(0, data.len()), data);
    let draft = Draft::read(&guest.memory, 0, data.len());
    let (memory, ended) = (Arc::clone(&guest.memory), AtomicBool::new(false));
    let place = draft.data + 5 * 512 + 17;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0u8;
            while !ended.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                memory.write(place, &[byte]);
            }
        });
        eventually("a change after the delivery", || {
            let pieces = draft.pieces();
            assert_eq!(guest.run_pieces(&draft, &pieces), OK);
            daemon.stats().counters.races.after_delivery.filter(|count| *count > 0)
        });
        ended.store(true, Ordering::Relaxed);
    });
    drop(guest);
    let records = daemon.stop();
    let races: Vec<&Race> = records.races();
    for race in races {
        assert_eq!((race.phase, race.lba, race.gpa), (Phase::AfterDelivery, Lba(5), place - 17));
        let run = &race.changed[0];
        assert_eq!((race.changed.len(), run.offset, run.len), (1, 17, 1));
        assert_eq!(run.old, format!("{:02x}", data[5 * 512 + 17]));
        assert!(race.window_us > 0.0 && !race.overlap);
    }
}

/// Two blocks' tuples go to one place: the first is not what was delivered.
#[test]
fn over_dix_tuples_are_looked_at_too() {
    let args = ["--device", "scsi", "--num-queues", "2", "--window", "0"];
    let daemon = Daemon::start(&args);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(3, 1024);
    assert!(guest.tell(&ten(0x2A, 0, 4, 2), &data).is_good());
    let load = Load { room: 1024, pi_room: 2, ..Load::default() };
    assert!(guest.run(&ten(0x28, 1, 4, 2), &load).is_good());
    assert_eq!(daemon.stats().counters.races.after_delivery, Some(0));

    let mut call = guest.call(lun(0), &ten(0x28, 1, 4, 2), &load);
    let tuples = call.pieces.iter().position(|piece| piece.len == 16).unwrap();
    let half = crate::kit::Piece { len: 8, ..call.pieces[tuples] };
    call.pieces.splice(tuples..=tuples, [half, half]);
    let reply = guest.run_call(&call);
    assert!(reply.is_good() && reply.data == data, "{reply:?}");
    assert_eq!(guest.guest.rings[EVENT].harvest(), []);
    assert_eq!(guest.guest.rings[REQUEST].harvest(), []);
    drop(guest);
    let records: Records = daemon.stop();
    let race = records.race();
    assert_eq!((race.lba, race.phase, race.changed_bytes), (Lba(4), Phase::AfterDelivery, 0));
    let change = race.pi_changed.as_ref().unwrap();
    assert_eq!(change.gpa, half.addr);
    let spelt = |block: &[u8], lba: u32| format!("{:04x}0000{lba:08x}", guard(block).0);
    assert_eq!(change.old, spelt(&data[..512], 4));
    assert_eq!(change.new, spelt(&data[512..], 5));
    assert!(race.overlap && race.device == "scsi");
}
