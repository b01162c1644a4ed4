//! With `--audit` reads are looked at once more after their completion: what the guest does with its
//! buffer by then is its own right, so it is told and never counted as a race.

use dixtrap::control::Request;
use dixtrap::pi::guard;
use dixtrap::record::{Counters, Outcome, Phase};
use dixtrap::units::Lba;

use crate::kit::direct::folder;
use crate::kit::records::Records;
use crate::kit::scsi::{Load, ScsiGuest, lun, ten};
use crate::kit::*;

/// Which look after a completion finds the change.
#[derive(Clone, Copy)]
enum Ends {
    /// The look is due for ever, until the windows are ended.
    Release,
    /// The ring stops.
    RingStop,
    /// Its own time comes.
    Time,
}

const ALL: [Ends; 3] = [Ends::Release, Ends::RingStop, Ends::Time];

fn counters(daemon: &Daemon) -> Counters {
    daemon.stats().counters
}

/// A guest writes into its buffer after its read was answered.
fn buffer_is_used_again(daemon: Daemon, ends: Ends) {
    let mut guest = daemon.guest();
    let data = pattern(7, 2048);
    assert_eq!(guest.write(8, &data), OK);
    let window = if matches!(ends, Ends::Time) { "200ms" } else { "hold" };
    daemon.ask(Request::Window { spec: window.parse().unwrap() });
    let draft = Draft::read(&guest.memory, 8, data.len());
    let pieces = draft.pieces();
    assert_eq!(guest.run_pieces(&draft, &pieces), OK, "an answer waits for no look");
    assert_eq!(draft.bytes(), data);
    guest.memory.flip(draft.data + 2 * 512 + 9);
    match ends {
        Ends::Release => assert_eq!(daemon.release(), 0, "reads are never held"),
        Ends::RingStop => drop(guest.stop_ring(0)),
        Ends::Time => {}
    }
    eventually("the look", || (counters(&daemon).blocks_audited == 4).then_some(()));
    drop(guest);
    let records = daemon.stop();
    let race = records.race();
    assert_eq!((race.phase, race.outcome), (Phase::AfterDelivery, Outcome::Delivered));
    assert!(race.after_completion && !race.overlap && race.window_us > 0.0);
    assert_eq!((race.lba, race.gpa), (Lba(10), draft.data + 1024));
    let block = &data[1024..1536];
    assert_eq!(race.delivered_guard, Some(guard(block).0));
    assert_ne!(race.delivered_guard, race.look_guard);
    let run = &race.changed[0];
    assert_eq!((race.changed_bytes, run.offset, run.len), (1, 9, 1));
    assert_eq!(run.old, format!("{:02x}", block[9]));
    is_no_race(records.stop(), 1);
}

/// The look found so many, and no figure of races or failures moved.
fn is_no_race(counters: &Counters, found: u64) {
    assert_eq!(counters.races.after_completion, Some(found));
    assert_eq!(counters.races.after_delivery, Some(0));
    assert_eq!((counters.all_races(), counters.standing, counters.guard_blind), (0, 0, 0));
    assert_eq!((counters.errors, counters.medium_faults), (0, 0));
}

#[test]
fn a_buffer_used_again_is_told_of_a_memory_disk() {
    for ends in ALL {
        buffer_is_used_again(Daemon::start(&["--memory", "--audit", "--window", "0"]), ends);
    }
}

#[test]
fn a_buffer_used_again_is_told_of_a_file() {
    buffer_is_used_again(Daemon::start(&["--audit", "--window", "0"]), Ends::Release);
}

#[test]
fn a_buffer_used_again_is_told_past_the_page_cache() {
    let Some(folder) = folder() else { return };
    let args = ["--window", "0", "--direct", "--audit"];
    buffer_is_used_again(Daemon::start_in(folder, &args), Ends::Release);
}

/// Without the flag nobody looks, and a buffer that is left alone is not accused.
#[test]
fn a_quiet_buffer_is_not_told_and_without_the_flag_nobody_looks() {
    for (args, looked) in [(&["--audit"][..], 16), (&[][..], 0)] {
        let args = [&["--window", "0"], args].concat();
        let daemon = Daemon::start(&args);
        let mut guest = daemon.guest();
        for sector in 0..4 {
            guest.must_read(sector * 4, 2048);
        }
        // Whatever is to come comes at the latest when the ring stops.
        guest.stop_ring(0);
        drop(guest);
        let records = daemon.stop();
        assert!(records.races().is_empty());
        let counters = records.stop();
        assert_eq!((counters.blocks_delivered, counters.blocks_audited), (16, looked));
        assert_eq!(counters.races.after_completion, (looked > 0).then_some(0));
    }
}

/// What changed before the completion is a record of that look, and not told twice.
#[test]
fn what_was_told_before_the_completion_is_not_told_again() {
    let daemon = Daemon::start(&["--window", "0", "--audit"]);
    let mut guest = daemon.guest();
    assert_eq!(guest.write(0, &pattern(1, 1024)), OK);
    daemon.ask(Request::Window { spec: "hold".parse().unwrap() });
    let draft = Draft::read(&guest.memory, 0, 512);
    let mut pieces = draft.pieces();
    pieces.insert(1, pieces[1]);
    assert_eq!(guest.run_pieces(&draft, &pieces), OK);
    // Both blocks are here, and both change again: only the second one stood here as it was delivered.
    guest.memory.flip(draft.data);
    guest.stop_ring(0);
    drop(guest);
    let records = daemon.stop();
    let races = records.races();
    let told: Vec<_> = races.iter().map(|race| (race.lba, race.after_completion)).collect();
    assert_eq!(told, [(Lba(0), false), (Lba(1), true)]);
    assert!(races.iter().all(|race| race.overlap && race.request.id == races[0].request.id));
    let counters = records.stop();
    assert_eq!((counters.blocks_audited, counters.races.after_completion), (2, Some(1)));
    assert_eq!(counters.races.after_delivery, Some(1));
}

/// A guest cannot fill the daemon's memory with reads that wait for a look: the first are looked at early.
#[test]
fn no_more_reads_than_fit_wait_for_their_look() {
    let daemon = Daemon::start(&["--memory", "--window", "hold", "--audit"]);
    let mut guest = daemon.guest();
    for _ in 0..40 {
        guest.must_read(0, 512 << 10);
    }
    eventually("looks at 4 MiB: 20 were read, and 16 may wait", || {
        (counters(&daemon).blocks_audited >= 8 << 10).then_some(())
    });
    daemon.release();
    eventually("all looks", || (counters(&daemon).blocks_audited == 40 << 10).then_some(()));
    drop(guest);
    is_no_race(daemon.stop().stop(), 0);
}

#[test]
fn over_dix_data_and_tuples_are_looked_at_after_the_completion() {
    let args = ["--device", "scsi", "--num-queues", "2", "--window", "0", "--audit"];
    let daemon = Daemon::start(&args);
    let mut guest = ScsiGuest::plug(&daemon, true);
    let data = pattern(3, 1024);
    assert!(guest.tell(&ten(0x2A, 0, 4, 2), &data).is_good());
    daemon.ask(Request::Window { spec: "hold".parse().unwrap() });
    let load = Load { room: 1024, pi_room: 2, ..Load::default() };
    let call = guest.call(lun(0), &ten(0x28, 1, 4, 2), &load);
    let place = |len| call.pieces.iter().find(|piece| piece.len == len).unwrap().addr;
    let (tuples, room) = (place(16), place(1024));
    let reply = guest.run_call(&call);
    assert!(reply.is_good() && reply.data == data, "{reply:?}");
    guest.guest.memory.flip(tuples + 2);
    guest.guest.memory.flip(room + 512 + 3);
    daemon.release();
    drop(guest);
    let records: Records = daemon.stop();
    let races = records.races();
    assert_eq!(races.len(), 2);
    for race in &races {
        assert!(race.after_completion && race.phase == Phase::AfterDelivery);
    }
    assert_eq!((races[0].lba, races[0].changed_bytes), (Lba(4), 0));
    let change = races[0].pi_changed.as_ref().unwrap();
    assert_eq!(
        (change.gpa, &change.old[..4]),
        (tuples, &*format!("{:04x}", guard(&data[..512]).0))
    );
    assert_ne!(change.old, change.new);
    assert_eq!((races[1].lba, races[1].changed_bytes), (Lba(5), 1));
    assert!(races[1].pi_changed.is_none());
    is_no_race(records.stop(), 2);
}
