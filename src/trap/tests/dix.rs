//! Writes whose protection information the guest made: submit, doorbell, fetch.

use super::rig::{BLOCKS, LBA, Rig, TUPLES, every_format};
use crate::pi::{AppTag, Check, GuardTag, PiType, RefTag, Source, Tuple, guard};
use crate::record::{OnRace, Outcome, Phase};
use crate::trap::{Cause, TrapError, WriteProtection, read};
use crate::units::{BlockSize, Lba, QueueIndex};

/// A write with WRPROTECT 001b: `before` the doorbell and in the `window` something happens.
fn write(rig: &Rig, before: impl FnOnce(&Rig), window: impl FnOnce(&Rig)) -> Result<(), TrapError> {
    rig.prepare(1);
    before(rig);
    let held = rig.submit(1);
    window(rig);
    rig.fetch(held)
}

fn nothing(_: &Rig) {}

/// The check that refused a write, where, and whose doing it was.
fn refusal(result: Result<(), TrapError>) -> (Check, Lba, Cause) {
    match result {
        Err(TrapError::Protection { lba, mismatch, cause }) => (mismatch.check, lba, cause),
        other => panic!("not refused by a check: {other:?}"),
    }
}

fn type_1(on_race: OnRace) -> Rig {
    Rig::new(PiType::Type1, BlockSize::B512, on_race)
}

#[test]
fn a_clean_write_keeps_the_guests_tuples_in_every_format() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        rig.prepare(1);
        for block in 0..BLOCKS {
            let own = if kind == PiType::Type3 { RefTag(77) } else { rig.tuple(block).reference };
            rig.set_tuple(block, Tuple { app: AppTag(0xABCD), reference: own, ..rig.tuple(block) });
        }
        let held = rig.submit(1);
        rig.fetch(held).unwrap();
        for block in 0..BLOCKS {
            assert_eq!(rig.stored(block), (rig.block(block), rig.tuple(block)), "{kind} {size}");
        }
        rig.reads_clean();
        assert_eq!(rig.races(), []);
        let counters = rig.counters();
        assert_eq!((counters.writes, counters.blocks_checked, counters.errors), (1, BLOCKS, 0));
    }
}

#[test]
fn a_change_before_the_doorbell_is_told_by_its_guards() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        let result = write(&rig, |rig| rig.flip(rig.data(2, 9)), nothing);
        assert_eq!(refusal(result), (Check::Guard, Lba(LBA.0 + 2), Cause::Race));
        let races = rig.races();
        let [race] = races.as_slice() else { panic!("{races:?}") };
        assert_eq!((race.phase, race.outcome), (Phase::BeforeDoorbell, Outcome::Failed));
        assert_eq!((race.lba, race.gpa), (LBA.offset(2), rig.data(2, 0)));
        assert_eq!((race.device.as_str(), race.queue), ("scsi", QueueIndex(1)));
        assert_eq!(race.submit_guard, Some(rig.tuple(2).guard.0));
        let now = guard(&rig.block(2)).0;
        assert_eq!((race.doorbell_guard, race.fetch_guard), (Some(now), Some(now)));
        assert!(race.changed.is_empty() && race.changed_bytes == 0 && !race.guard_blind);
        assert_eq!((race.pi_changed.as_ref(), race.window_us), (None, 0.0));
        let counters = rig.counters();
        assert_eq!((counters.races.before_doorbell, counters.all_races()), (1, 1));
    }
}

#[test]
fn a_change_in_the_window_is_told_by_its_bytes() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        let result = write(&rig, nothing, |rig| rig.flip(rig.data(1, 7)));
        assert_eq!(refusal(result), (Check::Guard, LBA.offset(1), Cause::Race));
        let races = rig.races();
        let [race] = races.as_slice() else { panic!("{races:?}") };
        assert_eq!((race.phase, race.changed_bytes), (Phase::InWindow, 1));
        assert_eq!(race.submit_guard, race.doorbell_guard);
        assert_eq!(race.fetch_guard, Some(guard(&rig.block(1)).0));
        assert_eq!((race.changed[0].offset, race.window_us), (7, 250.0));
        assert_eq!(rig.stored(0).1, Tuple::ESCAPE, "nothing of a refused write is stored");
    }
}

#[test]
fn one_block_can_race_in_both_phases() {
    let rig = type_1(OnRace::Fail);
    let result = write(&rig, |rig| rig.flip(rig.data(0, 0)), |rig| rig.flip(rig.data(0, 0)));
    // Changed and changed back: hardware would see nothing, and the bytes were unstable all the same.
    assert!(matches!(result, Err(TrapError::Raced { first: LBA, races: 2 })), "{result:?}");
    let races = rig.races();
    let phases: Vec<Phase> = races.iter().map(|race| race.phase).collect();
    assert_eq!(phases, [Phase::BeforeDoorbell, Phase::InWindow]);
    assert_eq!(races[1].submit_guard, races[1].fetch_guard);
    assert_ne!(races[1].doorbell_guard, races[1].fetch_guard);
    assert_eq!(rig.counters().standing, 2);
}

#[test]
fn protection_information_that_changes_in_flight_is_a_finding() {
    let rig = type_1(OnRace::Fail);
    let result = write(&rig, nothing, |rig| rig.flip(TUPLES + 8 + 3));
    assert!(matches!(result, Err(TrapError::Raced { .. })), "{result:?}");
    let races = rig.races();
    let [race] = races.as_slice() else { panic!("{races:?}") };
    assert_eq!((race.lba, race.phase), (LBA.offset(1), Phase::InWindow));
    assert!(race.changed.is_empty() && !race.guard_blind);
    let change = race.pi_changed.as_ref().unwrap();
    assert_eq!(change.gpa, TUPLES + 8);
    assert_eq!((&change.old[4..8], &change.new[4..8]), ("0000", "00ff"));
    assert_eq!((&change.old[..4], &change.old[8..]), (&change.new[..4], &change.new[8..]));
}

#[test]
fn report_stores_what_was_fetched_with_tuples_that_verify() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Report);
        let result = write(
            &rig,
            |rig| rig.flip(rig.data(0, 3)),
            |rig| {
                rig.flip(rig.data(1, 3));
                rig.flip(TUPLES + 2 * 8 + 7);
                rig.flip(TUPLES + 3 * 8);
            },
        );
        result.unwrap();
        for block in 0..BLOCKS {
            assert_eq!(rig.stored(block).0, rig.block(block));
            assert_eq!(rig.stored(block).1.guard, guard(&rig.block(block)));
        }
        rig.reads_clean();
        let counters = rig.counters();
        assert_eq!((counters.races.before_doorbell, counters.races.in_window), (1, 3));
        assert_eq!((counters.standing, counters.healed, counters.medium_faults), (4, 0, 0));
        let held = rig.submit(3);
        rig.prepare(2);
        // Unchecked is not unwatched.
        rig.fetch(held).unwrap();
        assert_eq!(rig.counters().races.in_window, 7);
        write(&rig, nothing, nothing).unwrap();
        let counters = rig.counters();
        assert_eq!((counters.standing, counters.healed), (0, 8), "a clean write heals");
        assert!(rig.races().iter().all(|race| race.outcome == Outcome::Stored));
    }
}

#[test]
fn a_wrong_tag_is_refused_whatever_on_race_says_and_is_no_race() {
    for on_race in [OnRace::Fail, OnRace::Report] {
        let rig = type_1(on_race);
        let misplace = |rig: &Rig| {
            rig.set_tuple(3, Tuple { reference: RefTag(0), ..rig.tuple(3) });
        };
        let result = write(&rig, misplace, nothing);
        assert_eq!(refusal(result), (Check::Reference, LBA.offset(3), Cause::Found));
        assert_eq!(rig.stored(0).1, Tuple::ESCAPE);
        assert_eq!(rig.races(), []);
    }
}

#[test]
fn the_first_failing_block_is_named() {
    let rig = type_1(OnRace::Fail);
    let result = write(
        &rig,
        |rig| rig.set_tuple(1, Tuple { reference: RefTag(0), ..rig.tuple(1) }),
        |rig| rig.flip(rig.data(2, 0)),
    );
    assert_eq!(refusal(result), (Check::Reference, LBA.offset(1), Cause::Found));
}

#[test]
fn an_expected_application_tag_is_checked_under_its_mask() {
    use crate::pi::{Expected, Protect};
    let rig = Rig::new(PiType::Type2, BlockSize::B512, OnRace::Fail);
    let expected = Expected::new(LBA.0 as u32, 0x1200, 0xFF00);
    let protect =
        Protect { field: 1, kind: PiType::Type2, ato: true, lba: LBA, expected: Some(expected) };
    let attempt = |app| {
        rig.prepare(1);
        (0..BLOCKS).for_each(|i| rig.set_tuple(i, Tuple { app: AppTag(app), ..rig.tuple(i) }));
        let checks = protect.transfer(Source::Write).unwrap().checks;
        let tuples = Some(rig.segments(TUPLES, 8 * BLOCKS));
        rig.fetch(rig.doorbell(Some(WriteProtection { tuples, checks })).unwrap())
    };
    attempt(0x12FF).unwrap();
    assert_eq!(rig.stored(0).1.app, AppTag(0x12FF));
    assert_eq!(refusal(attempt(0x13FF)), (Check::App, LBA, Cause::Found));
}

#[test]
fn wrprotect_says_what_is_checked() {
    let rig = type_1(OnRace::Fail);
    let attempt = |field, tuple: Tuple| {
        rig.prepare(1);
        rig.set_tuple(0, tuple);
        let held = rig.submit(field);
        rig.fetch(held).map_err(|error| match error {
            TrapError::Protection { mismatch, .. } => mismatch.check,
            other => panic!("{other:?}"),
        })
    };
    rig.prepare(1);
    let right = rig.tuple(0);
    let no_guard = Tuple { guard: GuardTag(!right.guard.0), ..right };
    let no_reference = Tuple { reference: RefTag(0), ..right };
    for (field, guard, reference) in [
        (1, Err(Check::Guard), Err(Check::Reference)),
        (2, Ok(()), Err(Check::Reference)),
        (3, Ok(()), Ok(())),
        (4, Err(Check::Guard), Ok(())),
        (5, Err(Check::Guard), Err(Check::Reference)),
    ] {
        assert_eq!(attempt(field, no_guard), guard, "{field:03b}");
        assert_eq!(attempt(field, no_reference), reference, "{field:03b}");
    }
    // A write's tuples are checked even where they are escapes.
    let escaped = Tuple { app: AppTag::ESCAPE, ..no_guard };
    assert_eq!(attempt(1, escaped), Err(Check::Guard));
}

#[test]
fn without_tuples_the_drive_generates() {
    for (kind, size) in every_format() {
        let rig = Rig::new(kind, size, OnRace::Fail);
        rig.prepare(1);
        let held = rig.submit(0);
        rig.fetch(held).unwrap();
        rig.reads_clean();
        assert_eq!(rig.stored(1).1.guard, guard(&rig.block(1)));
        let held = rig.submit(0);
        rig.flip(rig.data(0, 0));
        assert!(matches!(rig.fetch(held), Err(TrapError::Raced { races: 1, .. })));
        let races = rig.races();
        assert_eq!((races[0].phase, races[0].submit_guard), (Phase::InWindow, None));
    }
}

#[test]
fn tuples_that_do_not_fit_the_blocks_are_an_error() {
    let rig = type_1(OnRace::Fail);
    let checks = rig.checks(Source::Write, 1);
    let tuples = Some(rig.segments(TUPLES, 8 * BLOCKS - 8));
    let result = rig.doorbell(Some(WriteProtection { tuples, checks }));
    assert!(matches!(result, Err(TrapError::TupleCount { bytes: 24, .. })), "{result:?}");
}

#[test]
fn reads_check_what_rdprotect_asks_for() {
    let rig = type_1(OnRace::Fail);
    rig.prepare(1);
    rig.set_tuple(2, Tuple { guard: GuardTag(1), reference: RefTag(0), ..rig.tuple(2) });
    let held = rig.submit(3);
    rig.fetch(held).unwrap();
    let read = |field| {
        let mut data = vec![0; rig.size() * BLOCKS as usize];
        let mut tuples = vec![Tuple::ESCAPE; BLOCKS as usize];
        let checks = rig.checks(Source::Read, field);
        let result = read::protected(&rig.trap, LBA, &mut data, &mut tuples, &checks);
        assert_eq!(tuples[2].guard, GuardTag(1), "stored tuples are returned");
        result.map_err(|error| match error {
            TrapError::Corrupt { lba, mismatch, .. } => (mismatch.check, lba),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(0), Err((Check::Guard, LBA.offset(2))));
    assert_eq!(read(1), Err((Check::Guard, LBA.offset(2))));
    assert_eq!(read(2), Err((Check::Reference, LBA.offset(2))));
    assert_eq!(read(3), Ok(()));
    assert_eq!(read(4), Err((Check::Guard, LBA.offset(2))));
    let blocks = crate::units::BlockCount(BLOCKS);
    assert!(read::verify(&rig.trap, LBA, blocks, &rig.checks(Source::VerifyMedium, 1)).is_err());
    read::verify(&rig.trap, LBA, blocks, &rig.checks(Source::VerifyMedium, 3)).unwrap();
    assert_eq!(rig.medium_faults().len(), 5);
}
