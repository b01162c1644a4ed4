//! WRITE AND VERIFY with BYTCHK and COMPARE AND WRITE by their rings: what is compared is what was
//! fetched, faults are found, and both halves of a swap go through the window.

use dixtrap::pi::{PiType, Tuple, generate};
use dixtrap::record::Phase;
use dixtrap::units::Lba;

use crate::kit::scsi::{Call, Load, REQUEST, Reply, ScsiGuest, lun, ten};
use crate::kit::{Daemon, pattern};

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;
const WRITE_AND_VERIFY: u8 = 0x2E;
const BYTCHK: u8 = 0x02;
const MISCOMPARE: (u8, u8, u8) = (0xE, 0x1D, 0x00);
const GUARD_FAILED: (u8, u8, u8) = (0xB, 0x10, 0x01);

fn start(args: &[&str]) -> (Daemon, ScsiGuest) {
    let usual = ["--device", "scsi", "--num-queues", "2"];
    let daemon = Daemon::start(&[&usual, args].concat());
    let guest = ScsiGuest::plug(&daemon, true);
    (daemon, guest)
}

fn tuples(lba: u64, data: &[u8]) -> Vec<Tuple> {
    let blocks = (lba..).zip(data.chunks(512));
    blocks.map(|(lba, block)| generate(PiType::Type1, block, Lba(lba))).collect()
}

/// WRITE AND VERIFY(10) of four blocks at 8 with their tuples.
fn write_and_verify(guest: &mut ScsiGuest, flags: u8, data: &[u8]) -> Reply {
    let sent = tuples(8, data);
    let mut cdb = ten(WRITE_AND_VERIFY, 1, 8, 4);
    cdb[1] |= flags;
    guest.run(&cdb, &Load { out: data, pi_out: &sent, ..Load::default() })
}

fn read(guest: &mut ScsiGuest, lba: u8, count: u8) -> Vec<u8> {
    guest.ask(&ten(READ, 0, lba, count), usize::from(count) * 512).data
}

#[test]
fn what_was_written_and_is_not_there_is_found_by_reading_it_back() {
    let old = pattern(1, 2048);
    let new = pattern(2, 2048);
    for (fault, at, sense) in [
        ("lost,nth=2", 8, MISCOMPARE),
        ("torn=2,nth=2", 10, MISCOMPARE),
        ("misdirect=+16,nth=2", 8, MISCOMPARE),
        ("flip=data,at=medium,lba=9,nth=2", 9, MISCOMPARE),
        // LOGICAL BLOCK GUARD, APPLICATION TAG and REFERENCE TAG CHECK FAILED.
        ("flip=guard,at=medium,lba=11,nth=2", 11, (0xE, 0x10, 0x01)),
        ("flip=app,at=medium,lba=10,nth=2", 10, (0xE, 0x10, 0x02)),
        ("flip=ref,at=medium,lba=8,nth=2", 8, (0xE, 0x10, 0x03)),
    ] {
        let (daemon, mut guest) = start(&["--window", "0", "--inject", fault]);
        let first = guest.tell(&ten(WRITE, 0, 8, 4), &old);
        assert!(first.is_good(), "{fault}: {first:?}");
        let reply = write_and_verify(&mut guest, BYTCHK, &new);
        assert_eq!((reply.codes(), reply.information()), (sense, at), "{fault}");
        assert!(write_and_verify(&mut guest, BYTCHK, &new).is_good(), "{fault}: only once");
        assert_eq!(read(&mut guest, 8, 4), new, "{fault}");
        drop(guest);
        let records = daemon.stop();
        let counters = records.stop();
        assert_eq!((counters.injected, counters.medium_faults, counters.errors), (1, 0, 0));
        let faults = records.medium_faults();
        assert!(faults.iter().all(|fault| fault.injected) && faults.len() == 1, "{faults:?}");
    }
}

/// Without BYTCHK a lost write hides behind the old blocks, which are whole.
#[test]
fn without_bytchk_only_the_tuples_speak() {
    let faults = ["lost,op=write,lba=8..12,nth=2", "flip=data,at=medium,lba=9,nth=3"];
    let (daemon, mut guest) =
        start(&["--window", "0", "--inject", faults[0], "--inject", faults[1]]);
    let (old, new) = (pattern(1, 2048), pattern(2, 2048));
    assert!(guest.tell(&ten(WRITE, 0, 8, 4), &old).is_good());
    assert!(write_and_verify(&mut guest, 0, &new).is_good(), "lost, and nobody noticed");
    let reply = write_and_verify(&mut guest, 0, &new);
    assert_eq!((reply.codes(), reply.information()), (GUARD_FAILED, 9));
    drop(guest);
    assert_eq!(daemon.stop().stop().injected, 2);
}

/// A page that changes while the write is under way is no miscompare: the fetch is what counts.
#[test]
fn the_comparison_is_with_the_fetch_and_not_with_memory() {
    let (daemon, mut guest) = start(&["--window", "hold", "--on-race", "report"]);
    let data = pattern(3, 2048);
    let mut cdb = ten(WRITE_AND_VERIFY, 0, 8, 4);
    cdb[1] |= BYTCHK;
    let call = guest.call(lun(0), &cdb, &Load { out: &data, ..Load::default() });
    let head = guest.send(REQUEST, &call);
    daemon.await_held(1);
    guest.guest.memory.flip(call.out + 700);
    daemon.release();
    guest.guest.rings[REQUEST].wait(head);
    assert!(call.reply().is_good(), "{:?}", call.reply());
    let stored = read(&mut guest, 8, 4);
    assert_eq!(stored, guest.guest.memory.read(call.out, 2048));
    drop(guest);
    let records = daemon.stop();
    assert_eq!((records.race().lba, records.race().phase), (Lba(9), Phase::InWindow));
    assert_eq!((records.stop().medium_faults, records.stop().errors), (0, 0));
}

/// COMPARE AND WRITE of two blocks at 4.
fn swap(guest: &mut ScsiGuest, compared: &[u8], written: &[u8]) -> Call {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[9], cdb[13]) = (0x89, 0x20, 4, 2);
    let sent = [tuples(4, compared), tuples(4, written)].concat();
    let out = [compared, written].concat();
    guest.call(lun(0), &cdb, &Load { out: &out, pi_out: &sent, ..Load::default() })
}

/// Sends it on a queue and lets it stand in its window.
fn hold(daemon: &Daemon, guest: &mut ScsiGuest, queue: usize, call: &Call, held: u64) -> u16 {
    let head = guest.send(queue, call);
    daemon.await_held(held);
    head
}

#[test]
fn a_swap_waits_in_its_window_and_compares_what_is_stored_then() {
    let (daemon, mut guest) = start(&["--window", "hold"]);
    let (a, b) = (pattern(4, 1024), pattern(5, 1024));
    let call = swap(&mut guest, &a, &b);
    let head = hold(&daemon, &mut guest, REQUEST, &call, 1);
    assert!(call.is_untouched());
    // Nothing is stored yet: the comparison is with zeros, and fails at the first byte that is none.
    daemon.release();
    guest.guest.rings[REQUEST].wait(head);
    let first = u32::try_from(a.iter().position(|byte| *byte != 0).unwrap()).unwrap();
    assert_eq!((call.reply().codes(), call.reply().information()), (MISCOMPARE, first));
    assert_eq!(read(&mut guest, 4, 2), [0; 1024]);

    // The write that is due first makes the swap behind it true.
    let write = guest.call(lun(0), &ten(WRITE, 0, 4, 2), &Load { out: &a, ..Load::default() });
    let first = hold(&daemon, &mut guest, REQUEST, &write, 1);
    let call = swap(&mut guest, &a, &b);
    let second = hold(&daemon, &mut guest, REQUEST, &call, 2);
    daemon.release();
    guest.guest.rings[REQUEST].wait(first);
    guest.guest.rings[REQUEST].wait(second);
    assert!(call.reply().is_good(), "{:?}", call.reply());
    assert_eq!(read(&mut guest, 4, 2), b);
    drop(guest);
    let records = daemon.stop();
    let counters = records.stop();
    assert_eq!((counters.errors, counters.medium_faults, counters.all_races()), (0, 0, 0));
}

#[test]
fn a_race_in_either_half_of_a_swap_is_a_race_of_its_block() {
    let (a, b) = (pattern(4, 1024), pattern(5, 1024));
    // The byte that changes, and its block: the compared half is 0 to 1023.
    for (at, lba, op) in [(512 + 9, 5, "compare"), (1024 + 9, 4, "write")] {
        for policy in ["fail", "report"] {
            let (daemon, mut guest) = start(&["--window", "hold", "--on-race", policy]);
            let what = format!("{op} {policy}");
            let write =
                guest.call(lun(0), &ten(WRITE, 0, 4, 2), &Load { out: &a, ..Load::default() });
            let head = hold(&daemon, &mut guest, REQUEST, &write, 1);
            daemon.release();
            guest.guest.rings[REQUEST].wait(head);
            let call = swap(&mut guest, &a, &b);
            let head = hold(&daemon, &mut guest, REQUEST, &call, 1);
            guest.guest.memory.flip(call.out + at);
            daemon.release();
            guest.guest.rings[REQUEST].wait(head);
            let (reply, stored) = (call.reply(), read(&mut guest, 4, 2));
            match (policy, op) {
                ("fail", _) => {
                    let lba = u32::try_from(lba).unwrap();
                    assert_eq!((reply.codes(), reply.information()), (GUARD_FAILED, lba), "{what}");
                    assert_eq!(stored, a, "{what}");
                }
                // What was fetched is what is compared: it is not what is stored.
                (_, "compare") => {
                    assert_eq!((reply.codes(), reply.information()), (MISCOMPARE, 521), "{what}");
                    assert_eq!(stored, a, "{what}");
                }
                _ => {
                    assert!(reply.is_good(), "{what}: {reply:?}");
                    assert_eq!(stored, guest.guest.memory.read(call.out + 1024, 1024), "{what}");
                    let verify = guest.ask(&ten(0x2F, 0, 4, 2), 0);
                    assert!(verify.is_good(), "{what}: {verify:?}");
                }
            }
            drop(guest);
            let records = daemon.stop();
            let race = records.race();
            assert_eq!((race.lba, race.phase), (Lba(lba), Phase::InWindow), "{what}");
            assert_eq!((race.request.op.as_str(), race.changed[0].offset), (op, 9), "{what}");
            assert_eq!((records.stop().errors, records.stop().writes), (0, 2), "{what}");
            assert_eq!(records.stop().blocks_checked, 6, "{what}");
        }
    }
}

/// SBC-4 §5.6: of the compared half's protection information nothing is used, and that of the other
/// half is checked after the comparison.
#[test]
fn tuples_of_the_written_half_are_checked_once_the_comparison_holds() {
    let (daemon, mut guest) = start(&["--window", "0"]);
    let (a, b) = (vec![0; 1024], pattern(5, 1024));
    let mut run = |compared: &[u8], wrong: Option<usize>| {
        let mut sent = [tuples(4, compared), tuples(4, &b)].concat();
        wrong.into_iter().for_each(|at| sent[at].reference.0 ^= 1);
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[9], cdb[13]) = (0x89, 0x20, 4, 2);
        let out = [compared, &b].concat();
        guest.run(&cdb, &Load { out: &out, pi_out: &sent, ..Load::default() })
    };
    assert_eq!(run(&b, Some(2)).codes(), MISCOMPARE);
    let reply = run(&a, Some(3));
    assert_eq!((reply.codes(), reply.information()), ((0xB, 0x10, 0x03), 5));
    assert!(run(&a, Some(1)).is_good());
    assert_eq!(read(&mut guest, 4, 2), b);
    drop(guest);
    daemon.stop();
}

#[test]
fn faults_reach_both_parts_of_a_swap() {
    let faults =
        ["medium-error,op=verify,lba=5", "lost,op=write,lba=4", "busy,op=write,lba=4,nth=3"];
    let specs = faults.iter().flat_map(|fault| ["--inject", fault]);
    let (daemon, mut guest) =
        start(&["--window", "0"].into_iter().chain(specs).collect::<Vec<_>>());
    let (zeros, a) = ([0; 1024], pattern(6, 1024));
    let run = |guest: &mut ScsiGuest| {
        let call = swap(guest, &zeros, &a);
        guest.run_call(&call)
    };
    // Comparing what is stored is a verification; the write does not happen.
    let reply = run(&mut guest);
    assert_eq!((reply.codes(), reply.information()), ((0x3, 0x11, 0x00), 5));
    assert!(run(&mut guest).is_good(), "acknowledged and lost");
    assert_eq!(read(&mut guest, 4, 2), zeros);
    assert_eq!(run(&mut guest).status, 0x08, "BUSY");
    assert!(run(&mut guest).is_good());
    assert_eq!(read(&mut guest, 4, 2), a);
    drop(guest);
    let records = daemon.stop();
    let counters = records.stop();
    assert_eq!((counters.injected, counters.errors, counters.medium_faults), (3, 0, 0));
}

/// Two queues that count up the same block by swaps: no increment is lost.
#[test]
fn swaps_of_two_queues_are_atomic() {
    let (daemon, mut guest) = start(&["--window", "uniform:0..200us"]);
    let block = |count: u32| [&count.to_be_bytes()[..], &[0; 508]].concat();
    let cdb = |count: u8| {
        let mut cdb = [0; 16];
        (cdb[0], cdb[9], cdb[13]) = (0x89, 4, count);
        cdb
    };
    let (mut done, mut refused) = (0, 0);
    for _ in 0..200 {
        let now = u32::from_be_bytes(read(&mut guest, 4, 1)[..4].try_into().unwrap());
        let out = [block(now), block(now + 1)].concat();
        let calls = [REQUEST, REQUEST + 1].map(|queue| {
            let call = guest.call(lun(0), &cdb(1), &Load { out: &out, ..Load::default() });
            (queue, guest.send(queue, &call), call)
        });
        for (queue, head, call) in calls {
            guest.guest.rings[queue].wait(head);
            let reply = call.reply();
            if reply.is_good() {
                done += 1;
            } else {
                assert_eq!(reply.codes(), MISCOMPARE);
                refused += 1;
            }
        }
    }
    assert_eq!((done, refused), (200, 200), "of two at once exactly one wins");
    assert_eq!(read(&mut guest, 4, 1), block(200));
    drop(guest);
    assert_eq!(daemon.stop().stop().all_races(), 0);
}
