//! Reads whose buffers are not what was delivered.

use std::time::Duration;

use super::rig::{BLOCKS, DATA, LBA, Rig, TUPLES};
use crate::inject::Op;
use crate::memory::{Segment, Segments};
use crate::pi::{Checks, PiType, Tuple, guard};
use crate::record::{OnRace, Outcome, Phase};
use crate::trap::delivered::{Delivery, look};
use crate::trap::read::let_in;
use crate::trap::read_into::{self, deliver};
use crate::trap::{Delivered, Write, look_at_delivered, write};
use crate::units::{BlockCount, BlockRange, BlockSize, Lba, QueueIndex};

const QUEUE: QueueIndex = QueueIndex(3);

/// A rig with something on its medium.
fn rig() -> Rig {
    let rig = Rig::new(PiType::Type1, BlockSize::B512, OnRace::Fail);
    rig.prepare(7);
    let held = rig.submit(1);
    rig.fetch(held).unwrap();
    rig
}

fn room(rig: &Rig) -> Segments {
    rig.segments(DATA, BLOCKS * rig.size() as u64)
}

/// Delivers, lets something happen, and looks after 40 us.
fn read_while(rig: &Rig, into: &Segments, happens: impl FnOnce()) {
    let blocks = BlockCount(into.len() / rig.size() as u64);
    let (range, checks) = (BlockRange::new(LBA, blocks), Checks::of_address(rig.kind(), LBA));
    let read = let_in(&rig.trap, Op::Read, range, &checks).unwrap();
    let guards = deliver(&rig.trap, &read, into).unwrap();
    let since = rig.trap.ledger().now();
    happens();
    rig.clock.advance(Duration::from_micros(40));
    let (queue, lba) = (QUEUE, LBA);
    let delivery = Delivery { queue, lba, into, guards: &guards, bytes: None, tuples: None };
    look(&rig.trap, &read.span, &delivery, since);
}

#[test]
fn a_quiet_read_is_looked_at_and_nothing_is_told() {
    let rig = rig();
    assert_eq!(rig.counters().races.after_delivery, None, "nobody looked yet");
    read_into::begin(&rig.trap, QUEUE, LBA, &room(&rig)).unwrap();
    let counters = rig.counters();
    assert_eq!((counters.blocks_delivered, counters.races.after_delivery), (BLOCKS, Some(0)));
    assert_eq!(rig.races(), []);
}

#[test]
fn what_changed_is_told_by_byte_and_counts_as_no_race_of_a_write() {
    let rig = rig();
    read_while(&rig, &room(&rig), || {
        rig.flip(rig.data(2, 100));
        rig.flip(rig.data(3, 511));
    });
    let counters = rig.counters();
    assert_eq!((counters.races.after_delivery, counters.all_races()), (Some(2), 0));
    assert_eq!((counters.standing, counters.medium_faults, counters.errors), (0, 0, 0));
    rig.reads_clean();
    let seen = rig.block(2);
    let races = rig.races();
    let lbas: Vec<Lba> = races.iter().map(|race| race.lba).collect();
    assert_eq!(lbas, [LBA.offset(2), LBA.offset(3)]);
    let race = &races[0];
    assert_eq!((race.phase, race.outcome), (Phase::AfterDelivery, Outcome::Delivered));
    assert_eq!((race.request.op.as_str(), race.request.lba, race.queue), ("read", LBA, QUEUE));
    assert_eq!(race.request.id, races[1].request.id);
    assert_eq!((race.gpa, race.window_us), (rig.data(2, 0), 40.0));
    let run = &race.changed[0];
    assert_eq!((race.changed.len(), race.changed_bytes), (1, 1));
    let old: u8 = 7 + 2 * 17;
    assert_eq!(
        (run.offset, &run.old, &run.new),
        (100, &format!("{old:02x}"), &format!("{:02x}", !old))
    );
    assert_eq!(race.delivered_guard, Some(guard(&rig.stored(2).0).0));
    assert_eq!(race.look_guard, Some(guard(&seen).0));
    assert_eq!((race.doorbell_guard, race.fetch_guard, race.submit_guard), (None, None, None));
    assert!(!race.overlap && !race.guard_blind && race.pi_changed.is_none());
}

#[test]
fn a_page_that_stands_twice_is_told_every_time() {
    let rig = rig();
    let mut into = rig.segments(DATA, 2 * 512);
    into.push(Segment { addr: DATA, len: 2 * 512 }).unwrap();
    read_into::begin(&rig.trap, QUEUE, LBA, &into).unwrap();
    let races = rig.races();
    let told: Vec<_> = races.iter().map(|race| (race.lba, race.gpa, race.overlap)).collect();
    assert_eq!(told, [(LBA, DATA, true), (LBA.offset(1), DATA + 512, true)]);
    assert_eq!(races[0].changed_bytes, 512);
}

#[test]
fn bytes_that_nobody_knows_any_more_are_not_made_up() {
    let rig = rig();
    read_while(&rig, &room(&rig), || {
        rig.flip(rig.data(0, 9));
        // Another queue writes to the block before anybody looks.
        rig.poke(0x4_0000, &[0xEE; 512]);
        let data = rig.segments(0x4_0000, 512);
        let write = Write {
            arrival: QUEUE.into(),
            lba: LBA,
            blocks: BlockCount(1),
            data,
            protection: None,
        };
        rig.fetch(write::sample(&rig.trap, write).unwrap()).unwrap();
    });
    let races = rig.races();
    assert_eq!((races.len(), races[0].changed_bytes), (1, 0));
    assert!(races[0].changed.is_empty());
    assert_ne!(races[0].delivered_guard, races[0].look_guard);
}

#[test]
fn tuples_are_looked_at_too() {
    let rig = rig();
    let bytes = vec![9; 512 * BLOCKS as usize];
    let tuples: Vec<Tuple> = (0..BLOCKS).map(|block| rig.tuple(block)).collect();
    rig.poke(DATA, &bytes);
    let areas = (room(&rig), rig.segments(TUPLES, 8 * BLOCKS));
    let look = || {
        let tuples = Delivered { into: &areas.1, items: &tuples };
        let data = Delivered { into: &areas.0, items: &bytes };
        look_at_delivered(&rig.trap, QUEUE, LBA, data, Some(tuples));
    };
    look();
    rig.flip(TUPLES + 8 + 5);
    rig.flip(rig.data(2, 3));
    rig.flip(TUPLES + 16);
    look();
    let races = rig.races();
    // By data first, then those of which the tuple alone is another.
    let told: Vec<_> = races
        .iter()
        .map(|race| (race.lba, race.changed_bytes, race.pi_changed.as_ref().map(|pi| pi.gpa)))
        .collect();
    assert_eq!(told, [(LBA.offset(2), 1, Some(TUPLES + 16)), (LBA.offset(1), 0, Some(TUPLES + 8))]);
    assert_eq!(races[1].delivered_guard, races[1].look_guard);
    let change = races[1].pi_changed.as_ref().unwrap();
    assert_ne!(change.old, change.new);
}
