//! Faults injected into writes and reads that carry protection information, and WRITE SAME.

use super::rig::{BLOCKS, LBA, Rig, TUPLES, every_format};
use crate::inject::{Op, Sense, Status};
use crate::pi::{AppTag, Check, PiType, RefTag, Source, Tuple};
use crate::record::OnRace;
use crate::trap::{Cause, TrapError, Write, WriteProtection, read, write};
use crate::units::{BlockCount, BlockSize, Lba, QueueIndex};

/// A rig with one fault waiting.
fn faulty(kind: PiType, spec: &str) -> Rig {
    let rig = Rig::new(kind, BlockSize::B512, OnRace::Report);
    rig.inject(spec);
    rig
}

fn write(rig: &Rig, wrprotect: u8) -> Result<(), TrapError> {
    rig.prepare(1);
    let held = rig.submit(wrprotect);
    rig.fetch(held)
}

fn read(rig: &Rig) -> Result<Vec<Tuple>, TrapError> {
    let mut data = vec![0; rig.size() * BLOCKS as usize];
    let mut tuples = vec![Tuple::ESCAPE; BLOCKS as usize];
    let checks = rig.checks(Source::Read, 1);
    read::protected(&rig.trap, LBA, &mut data, &mut tuples, &checks).map(|()| tuples)
}

/// The check that failed, its block, and whose doing it was.
fn failed<T: std::fmt::Debug>(result: Result<T, TrapError>) -> (Check, Lba, Cause) {
    match result {
        Err(
            TrapError::Protection { lba, mismatch, cause }
            | TrapError::Corrupt { lba, mismatch, cause },
        ) => (mismatch.check, lba, cause),
        other => panic!("no check failed: {other:?}"),
    }
}

/// Nothing but the injection is counted, and it has its record.
fn only_injected(rig: &Rig) {
    let counters = rig.counters();
    assert_eq!((counters.injected, counters.all_races(), counters.medium_faults), (1, 0, 0));
    let injections = rig.injections();
    assert_eq!(injections.len(), 1);
    assert!(injections[0].spec.parse::<crate::inject::Spec>().is_ok());
}

#[test]
fn what_is_hit_on_the_way_in_fails_the_check_that_the_command_asks_for() {
    for kind in [PiType::Type1, PiType::Type2] {
        for (part, check) in
            [("data", Check::Guard), ("guard", Check::Guard), ("ref", Check::Reference)]
        {
            let rig = faulty(kind, &format!("flip={part},at=in,lba=10"));
            assert_eq!(failed(write(&rig, 1)), (check, Lba(10), Cause::Injected));
            assert_eq!(rig.stored(0).1, Tuple::ESCAPE, "nothing is stored");
            write(&rig, 1).unwrap();
            only_injected(&rig);
        }
    }
}

#[test]
fn what_nobody_checks_is_stored_and_known_as_spoiled() {
    let rig = faulty(PiType::Type1, "flip=guard,at=in,lba=9");
    write(&rig, 3).unwrap();
    assert_eq!(failed(read(&rig)), (Check::Guard, Lba(9), Cause::Injected));
    assert!(rig.read(LBA, &mut [0; 512]).is_ok());
    only_injected(&rig);
    assert!(rig.medium_faults()[0].injected);
}

#[test]
fn a_tag_flipped_on_the_way_out_reaches_the_guest() {
    for (part, block) in [("guard", 0), ("app", 1), ("ref", 3)] {
        let rig = faulty(PiType::Type1, &format!("flip={part},at=out,lba={}", LBA.0 + block));
        write(&rig, 1).unwrap();
        let hit = read(&rig).unwrap()[block as usize];
        let own = rig.tuple(block);
        let differ = [hit.guard != own.guard, hit.app != own.app, hit.reference != own.reference];
        assert_eq!(differ, [part == "guard", part == "app", part == "ref"]);
        assert_eq!(read(&rig).unwrap()[block as usize], own);
        only_injected(&rig);
    }
}

#[test]
fn verify_finds_what_was_spoiled_and_overwriting_mends_it() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        rig.inject("flip=data,at=medium,lba=11,byte=3");
        write(&rig, 1).unwrap();
        let verify = || {
            let checks = rig.checks(Source::VerifyMedium, 1);
            read::verify(&rig.trap, LBA, BlockCount(BLOCKS), &checks)
        };
        assert_eq!(failed(verify()), (Check::Guard, Lba(11), Cause::Injected));
        rig.trap.discard(Lba(11), BlockCount(1)).unwrap();
        verify().unwrap();
        write(&rig, 1).unwrap();
        verify().unwrap();
        only_injected(&rig);
    }
}

#[test]
fn a_block_is_innocent_again_once_it_is_overwritten() {
    let rig = faulty(PiType::Type1, "flip=guard,lba=8");
    write(&rig, 1).unwrap();
    write(&rig, 1).unwrap();
    rig.prepare(2);
    rig.set_tuple(0, Tuple { reference: RefTag(99), ..rig.tuple(0) });
    let held = rig.submit(3);
    rig.fetch(held).unwrap();
    assert_eq!(failed(read(&rig)), (Check::Reference, LBA, Cause::Found));
    assert_eq!(rig.counters().medium_faults, 1);
}

#[test]
fn races_on_blocks_that_are_not_stored_do_not_heal() {
    let rig = Rig::new(PiType::Type1, BlockSize::B512, OnRace::Report);
    rig.prepare(1);
    let held = rig.submit(1);
    (0..BLOCKS).for_each(|block| rig.flip(rig.data(block, 0)));
    rig.fetch(held).unwrap();
    assert_eq!(rig.counters().standing, 4);
    for (spec, standing) in [("lost", 4), ("misdirect=+20", 4), ("torn=1", 3)] {
        rig.inject(spec);
        write(&rig, 1).unwrap();
        assert_eq!(rig.counters().standing, standing, "{spec}");
    }
}

#[test]
fn answers_carry_the_block_and_the_sense_of_their_class() {
    let rig = Rig::new(PiType::Type1, BlockSize::B512, OnRace::Fail);
    let status = |result: Result<(), TrapError>| match result {
        Err(TrapError::Injected { status, lba }) => (status, lba),
        other => panic!("{other:?}"),
    };
    for spec in
        ["medium-error,lba=10", "medium-error,op=read", "busy,op=flush", "no-answer,op=other"]
    {
        rig.inject(spec);
    }
    rig.prepare(1);
    let refused = rig.doorbell(None).map(drop);
    assert_eq!(status(refused), (Status::Sense(Sense::WRITE_ERROR), Some(Lba(10))));
    assert_eq!(status(read(&rig).map(drop)), (Status::Sense(Sense::READ_ERROR), Some(LBA)));
    assert_eq!(status(rig.trap.flush()), (Status::Busy, None));
    rig.inject("busy,op=verify");
    let (mut data, mut tuples) = (vec![0; 512], [Tuple::ESCAPE]);
    let checks = rig.checks(Source::CompareMedium, 0);
    let compared = read::to_compare(&rig.trap, LBA, &mut data, &mut tuples, &checks);
    assert_eq!(status(compared), (Status::Busy, Some(LBA)));
    let other = rig.trap.admit(Op::Other, Lba(0), BlockCount(0));
    assert_eq!(status(other), (Status::NoAnswer, None));
    rig.trap.flush().unwrap();
    assert_eq!(rig.counters().injected, 5);
}

#[test]
fn write_same_stores_copies_whose_reference_tags_count_on() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        rig.prepare(1);
        let own = if kind == PiType::Type3 { RefTag(5) } else { rig.tuple(0).reference };
        rig.set_tuple(0, Tuple { app: AppTag(0x77), reference: own, ..rig.tuple(0) });
        let held = |protect: bool| {
            let tuples = protect.then(|| rig.segments(TUPLES, 8));
            let checks = rig.checks(Source::Write, u8::from(protect));
            let request = Write {
                arrival: QueueIndex(0).into(),
                lba: LBA,
                blocks: BlockCount(1),
                data: rig.segments(rig.data(0, 0), rig.size() as u64),
                protection: Some(WriteProtection { tuples, checks }),
            };
            write::sample(&rig.trap, request).unwrap()
        };
        rig.fetch_same(held(true), BlockCount(5)).unwrap();
        for block in 0..5 {
            let (data, tuple) = rig.stored(block);
            assert_eq!(data, rig.block(0));
            let counted = if kind == PiType::Type3 { 5 } else { (LBA.0 + block) as u32 };
            assert_eq!((tuple.app, tuple.reference), (AppTag(0x77), RefTag(counted)));
        }
        assert_eq!(rig.stored(5).1, Tuple::ESCAPE);
        rig.fetch_same(held(false), BlockCount(3)).unwrap();
        assert_eq!(rig.stored(2).1.app, AppTag(0));
        rig.reads_clean();
        let window = held(true);
        rig.flip(rig.data(0, 1));
        assert!(rig.fetch_same(window, BlockCount(9)).is_err());
        let races = rig.races();
        assert_eq!((races.len(), races[0].lba, races[0].overlap), (1, LBA, false));
    }
}

/// Each request looks at every fault that waits.
#[test]
fn faults_without_end_are_refused_until_some_are_taken_away() {
    let rig = faulty(PiType::Type1, "busy,op=read,count=1");
    for _ in 1..10_000 {
        rig.inject("busy,op=read,count=1");
    }
    let spec = || "busy,op=read,count=1".parse().unwrap();
    let all = std::slice::from_ref(&rig.trap);
    let refused = crate::trap::inject(all, spec()).unwrap_err().to_string();
    assert!(refused.contains("inject none"), "{refused}");
    assert_eq!(crate::trap::disarm(&rig.trap).len(), 10_000);
    crate::trap::inject(all, spec()).unwrap();
}
