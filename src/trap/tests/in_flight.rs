//! Writes that are on their way to a direct disk: faults change what is written, and not how.

use super::rig::{BLOCKS, LBA, Rig};
use crate::media::Started;
use crate::pi::Tuple;
use crate::record::{OnRace, Outcome};
use crate::trap::{Cause, Held, TrapError, WriteInFlight, write};
use crate::units::{BlockCount, Lba};

/// Starts a write that has to be in flight afterwards.
fn start(rig: &Rig, held: Held, copies: u64) -> Result<WriteInFlight, TrapError> {
    match write::start(&rig.trap, write::judge(&rig.trap, held)?, BlockCount(copies))? {
        Started::Pending(_, in_flight) => Ok(in_flight),
        Started::Done(_) => panic!("it is done already"),
    }
}

fn conclude(rig: &Rig, in_flight: WriteInFlight) -> Result<(), TrapError> {
    let mut landed = Vec::new();
    while landed.is_empty() {
        rig.io.collect(true, &mut landed);
    }
    let (_, completion) = landed.pop().unwrap();
    write::conclude(&rig.trap, in_flight, completion).map(drop)
}

fn store(rig: &Rig, salt: u8) {
    rig.prepare(salt);
    conclude(rig, start(rig, rig.submit(1), 1).unwrap()).unwrap();
}

fn verify(rig: &Rig, lba: Lba) -> Result<(), TrapError> {
    rig.read(lba, &mut vec![0; rig.size()])
}

#[test]
fn every_fault_leaves_a_write_in_flight_like_any_other() {
    let Some(rig) = Rig::direct(OnRace::Report) else { return };
    store(&rig, 1);
    let old = rig.stored(3);
    for (spec, clean, stored) in [
        ("flip=data,at=medium,lba=9", [true, false, true, true], 4),
        ("flip=guard,at=in,lba=10", [true, true, true, true], 0),
        ("torn=3", [true, true, true, true], 3),
        ("lost", [true, true, true, true], 0),
        ("misdirect=+2", [true, true, false, false], 0),
    ] {
        store(&rig, 1);
        rig.inject(spec);
        rig.prepare(2);
        let held = rig.submit(1);
        let started = start(&rig, held, 1);
        if spec.contains("at=in") {
            assert!(matches!(started, Err(TrapError::Protection { cause: Cause::Injected, .. })));
        } else {
            conclude(&rig, started.unwrap()).unwrap();
        }
        for block in 0..BLOCKS {
            let is_clean = verify(&rig, LBA.offset(block)).is_ok();
            assert_eq!(is_clean, clean[block as usize], "{spec}, block {block}");
            let is_new = rig.stored(block).0 == rig.block(block);
            assert_eq!(is_new, block < stored && is_clean, "{spec}, block {block}");
        }
    }
    store(&rig, 1);
    assert_eq!(rig.stored(3), old);
    let counters = rig.counters();
    assert_eq!((counters.injected, counters.medium_faults), (5, 0));
}

#[test]
fn a_block_that_is_being_spoiled_is_never_a_find() {
    let Some(rig) = Rig::direct(OnRace::Fail) else { return };
    rig.inject("flip=data,at=medium,lba=8");
    rig.prepare(1);
    let in_flight = start(&rig, rig.submit(1), 1).unwrap();
    // The reader makes it land, and sees it before its own queue concludes it.
    let seen = verify(&rig, LBA);
    assert!(matches!(seen, Err(TrapError::Corrupt { cause: Cause::Injected, .. })), "{seen:?}");
    conclude(&rig, in_flight).unwrap();
    let seen = verify(&rig, LBA);
    assert!(matches!(seen, Err(TrapError::Corrupt { cause: Cause::Injected, .. })), "{seen:?}");
    assert_eq!(rig.counters().medium_faults, 0);
}

#[test]
fn copies_are_one_transfer_and_races_are_told_when_it_has_landed() {
    let Some(rig) = Rig::direct(OnRace::Report) else { return };
    rig.prepare(1);
    let held = rig.submit(1);
    rig.flip(rig.data(0, 5));
    let in_flight = start(&rig, held, 3).unwrap();
    assert_eq!(rig.counters().all_races(), 0);
    conclude(&rig, in_flight).unwrap();
    for copy in 0..3 {
        for block in 0..BLOCKS {
            let (data, tuple) = rig.stored(copy * BLOCKS + block);
            assert_eq!(data, rig.block(block));
            assert_ne!(tuple, Tuple::ESCAPE);
            verify(&rig, LBA.offset(copy * BLOCKS + block)).unwrap();
        }
    }
    let races = rig.races();
    assert_eq!((races.len(), races[0].lba, races[0].outcome), (1, LBA, Outcome::Stored));
}
