//! Injected faults over SCSI: what blk cannot carry.

use dixtrap::pi::{PiType, Tuple, generate};
use dixtrap::units::Lba;

use crate::kit::scsi::{Load, ScsiGuest, ten};
use crate::kit::{Daemon, pattern};

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;
const VERIFY: u8 = 0x2F;
const WRITE_SAME: u8 = 0x41;
const TEST_UNIT_READY: [u8; 6] = [0; 6];
const BUSY: u8 = 0x08;

/// A SCSI disk without windows and with these faults, and a guest with T10 PI.
fn faulty(specs: &[&str]) -> (Daemon, ScsiGuest) {
    let mut args = vec!["--device", "scsi", "--num-queues", "2", "--window", "0"];
    args.extend(specs.iter().flat_map(|spec| ["--inject", spec]));
    let daemon = Daemon::start(&args);
    let guest = ScsiGuest::plug(&daemon, true);
    (daemon, guest)
}

fn tuples(lba: u64, data: &[u8]) -> Vec<Tuple> {
    let blocks = (lba..).zip(data.chunks(512));
    blocks.map(|(lba, block)| generate(PiType::Type1, block, Lba(lba))).collect()
}

/// Writes four blocks at 8 with their tuples.
fn write(guest: &mut ScsiGuest, data: &[u8]) -> crate::kit::scsi::Reply {
    let sent = tuples(8, data);
    guest.run(&ten(WRITE, 1, 8, 4), &Load { out: data, pi_out: &sent, ..Load::default() })
}

fn read(guest: &mut ScsiGuest) -> crate::kit::scsi::Reply {
    guest.run(&ten(READ, 1, 8, 4), &Load { room: 2048, pi_room: 4, ..Load::default() })
}

fn only_injected(daemon: Daemon, guest: ScsiGuest, count: usize) {
    drop(guest);
    let records = daemon.stop();
    let counters = records.stop();
    assert_eq!((records.injections().len(), counters.injected), (count, count as u64));
    assert_eq!((counters.all_races(), counters.medium_faults, counters.errors), (0, 0, 0));
}

#[test]
fn each_tag_has_its_sense_and_its_block() {
    for (fault, on_write, code) in [
        ("flip=data,at=in", true, 1),
        ("flip=guard,at=in", true, 1),
        ("flip=ref,at=in", true, 3),
        ("flip=guard,at=medium", false, 1),
        ("flip=ref,at=medium,op=read", false, 3),
    ] {
        let (daemon, mut guest) = faulty(&[&format!("{fault},lba=10")]);
        let data = pattern(1, 2048);
        let written = write(&mut guest, &data);
        let hit = if on_write { written } else { read(&mut guest) };
        assert_eq!((hit.codes(), hit.information()), ((0xB, 0x10, code), 10), "{fault}");
        assert!(write(&mut guest, &data).is_good());
        assert!(read(&mut guest).is_good());
        only_injected(daemon, guest, 1);
    }
}

#[test]
fn a_tag_flipped_on_the_way_out_is_for_the_guest_to_find() {
    let (daemon, mut guest) = faulty(&["flip=guard,at=out,lba=9"]);
    let data = pattern(2, 2048);
    assert!(write(&mut guest, &data).is_good());
    let (hit, clean) = (read(&mut guest), read(&mut guest));
    assert!(hit.is_good() && hit.data == data && clean.tuples == tuples(8, &data));
    let differ: Vec<usize> = (0..4).filter(|i| hit.tuples[*i] != clean.tuples[*i]).collect();
    assert_eq!(differ, [1]);
    only_injected(daemon, guest, 1);
}

#[test]
fn sense_busy_and_silence() {
    let faults = [
        "sense=4/44/00,op=read",
        "medium-error,op=verify,lba=9",
        "busy,op=other,nth=2",
        "no-answer,op=write",
    ];
    let (daemon, mut guest) = faulty(&faults);
    assert_eq!(read(&mut guest).codes(), (0x4, 0x44, 0x00));
    let verify = guest.run(&ten(VERIFY, 0, 8, 4), &Load::default());
    assert_eq!((verify.codes(), verify.information()), ((0x3, 0x11, 0x00), 9));
    let ready = [0; 3].map(|_| guest.run(&TEST_UNIT_READY, &Load::default()).status);
    assert_eq!(ready.iter().filter(|status| **status == BUSY).count(), 1, "{ready:?}");
    let data = pattern(3, 2048);
    let sent = tuples(8, &data);
    let load = Load { out: &data, pi_out: &sent, ..Load::default() };
    let lost = guest.call(crate::kit::scsi::lun(0), &ten(WRITE, 1, 8, 4), &load);
    guest.send(crate::kit::scsi::REQUEST, &lost);
    assert!(read(&mut guest).is_good(), "the ring goes on");
    assert_ne!(read(&mut guest).data, data);
    only_injected(daemon, guest, 4);
}

#[test]
fn write_same_keeps_the_tag_that_was_sent() {
    let (daemon, mut guest) = faulty(&["torn=3,lba=8"]);
    let data = pattern(4, 512);
    let sent = tuples(8, &data);
    let load = Load { out: &data, pi_out: &sent, ..Load::default() };
    assert!(guest.run(&ten(WRITE_SAME, 1, 8, 4), &load).is_good());
    let reply = read(&mut guest);
    assert_eq!(reply.data[..3 * 512], data.repeat(3));
    assert_eq!(reply.data[3 * 512..], [0; 512]);
    assert_eq!(reply.tuples[..3], tuples(8, &data.repeat(3)));
    only_injected(daemon, guest, 1);
}
