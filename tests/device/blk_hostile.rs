//! The hostile guest: every way to get a request wrong has an answer, and none of them is a panic,
//! a hang or a wrong write.

use crate::kit::hostile::{Verdict, doorbell, verdict, verdict_on};
use crate::kit::memory::{HIGH, HIGH_BYTES, LOW, LOW_BYTES};
use crate::kit::request::{readable, writable};
use crate::kit::ring::{Desc, INDIRECT, NEXT, WRITE};
use crate::kit::*;

/// An address between the two regions of memory.
const HOLE: u64 = 0x8000_0000;

/// A daemon whose disk is full of known bytes, its guest, and those bytes.
fn stage(args: &[&str]) -> (Daemon, Guest, Vec<u8>) {
    let mut all = vec!["--window", "0", "--num-queues", "2"];
    all.extend(args);
    let daemon = Daemon::start(&all);
    let mut guest = daemon.plug(Plug { queues: 2, ..Plug::default() });
    let disk = pattern(99, 1 << 20);
    assert_eq!(guest.write(0, &disk), OK);
    (daemon, guest, disk)
}

/// Both rings still work, and the disk has not changed.
fn unharmed(daemon: Daemon, mut guest: Guest, disk: &[u8]) {
    assert_eq!(guest.must_read(0, 1 << 20), disk, "a refused request changed the disk");
    guest.proves_it_works(0, 8);
    guest.proves_it_works(1, 64);
    drop(guest);
    let records = daemon.stop();
    assert!(records.medium_faults().is_empty());
    assert!(records.races().is_empty());
}

#[test]
fn requests_beyond_the_end_are_errors() {
    let (daemon, mut guest, disk) = stage(&[]);
    let far = [2048, 2049, 1 << 32, 1 << 55, (1 << 55) - 1, u64::MAX / 512, u64::MAX - 1, u64::MAX];
    for sector in far {
        assert_eq!(guest.write(sector, &pattern(1, 512)), IOERR, "write at {sector}");
        assert_eq!(guest.read(sector, 512).0, IOERR, "read at {sector}");
        assert_eq!(guest.write(sector, &pattern(1, 1024)), IOERR, "write at {sector}");
    }
    for sector in [2047, 2041] {
        assert_eq!(guest.write(sector, &pattern(1, 4096)), IOERR, "a part is beyond the end");
        assert_eq!(guest.read(sector, 4096).0, IOERR, "a part is beyond the end");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn parts_of_a_block_are_errors() {
    let (daemon, mut guest, disk) = stage(&[]);
    for len in [1, 100, 511, 513, 1023, 4095] {
        assert_eq!(guest.write(0, &pattern(2, len)), IOERR, "write of {len} bytes");
        assert_eq!(guest.read(0, len).0, IOERR, "read of {len} bytes");
    }
    unharmed(daemon, guest, &disk);

    let (daemon, mut guest, disk) = stage(&["--block-size", "4096"]);
    for (sector, len) in [(0, 512), (0, 2048), (0, 4608), (1, 4096), (7, 8192), (2040, 8192)] {
        assert_eq!(guest.write(sector, &pattern(2, len)), IOERR, "write {sector}+{len}");
        assert_eq!(guest.read(sector, len).0, IOERR, "read {sector}+{len}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn short_headers_are_errors() {
    let (daemon, mut guest, disk) = stage(&[]);
    for len in [0, 1, 8, 15] {
        let draft = Draft::write(&guest.memory, 0, &pattern(3, 512));
        let status = writable(draft.status, 1);
        let pieces =
            if len == 0 { vec![status] } else { vec![readable(draft.header, len), status] };
        let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
        assert_eq!(verdict, Verdict::Status(IOERR), "a header of {len} bytes");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn wrong_directions_are_errors() {
    let (daemon, mut guest, disk) = stage(&[]);
    let memory = guest.memory.clone();
    let write = || Draft::write(&memory, 0, &pattern(4, 512));
    let read = || Draft::read(&memory, 0, 512);

    let draft = write();
    let pieces = [readable(draft.header, 16), writable(draft.data, 512), writable(draft.status, 1)];
    assert_eq!(verdict_on(&daemon, &mut guest, &draft, &pieces), Verdict::Status(IOERR));

    let draft = read();
    let pieces = [readable(draft.header, 16), readable(draft.data, 512), writable(draft.status, 1)];
    assert_eq!(verdict_on(&daemon, &mut guest, &draft, &pieces), Verdict::Status(IOERR));

    // A readable piece after a writable one (§2.7.4.2), the status byte last or not.
    let draft = write();
    let scratch = memory.alloc(512, 512);
    let pieces = [
        readable(draft.header, 16),
        writable(scratch, 512),
        readable(draft.data, 512),
        writable(draft.status, 1),
    ];
    assert_eq!(verdict_on(&daemon, &mut guest, &draft, &pieces), Verdict::Status(IOERR));
    let draft = write();
    let pieces = [readable(draft.header, 16), writable(draft.status, 1), readable(draft.data, 512)];
    let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
    assert!(verdict.is_refusal(), "{verdict:?}");

    let draft = write();
    let pieces = [writable(draft.header, 16), readable(draft.data, 512), writable(draft.status, 1)];
    let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
    assert!(verdict.is_refusal(), "{verdict:?}");
    unharmed(daemon, guest, &disk);
}

#[test]
fn a_request_without_a_status_byte_breaks_its_ring() {
    let (daemon, mut guest, disk) = stage(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(5, 512));
    let header_only = [readable(draft.header, 16)];
    let no_status = [readable(draft.header, 16), readable(draft.data, 512)];
    for pieces in [&header_only[..], &no_status] {
        let verdict = verdict_on(&daemon, &mut guest, &draft, pieces);
        assert!(matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn a_broken_ring_leaves_the_others_alone() {
    let (daemon, mut guest, _) = stage(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(6, 512));
    let head = guest.rings[1].place(&[readable(draft.header, 16)]);
    guest.ring_bell(1, head);
    eventually("the broken ring", || daemon.records().broken().first().map(|_| ()));
    guest.proves_it_works(0, 8);

    let waiting = Draft::write(&guest.memory, 0, &pattern(6, 512));
    let sent = guest.send(1, waiting);
    guest.rings[1].stays_silent();
    assert_eq!(sent.draft.status(), request::UNTOUCHED);
    guest.restart_ring(1);
    guest.proves_it_works(1, 16);
    guest.proves_it_works(0, 24);
}

#[test]
fn buffers_outside_memory_are_refused() {
    let (daemon, mut guest, disk) = stage(&[]);
    let bad = [
        (0, 512),
        (HOLE, 512),
        (LOW + LOW_BYTES - 256, 512),
        (HIGH + HIGH_BYTES - 1, 512),
        (HIGH - 256, 512),
        (u64::MAX, 512),
        (u64::MAX - 511, 512),
        (u64::MAX - 255, 512),
        (1 << 63, 512),
        (HIGH, 0xFFFF_FE00),
    ];
    for (addr, len) in bad {
        for (direction, draft) in [
            (false, Draft::write(&guest.memory, 0, &pattern(7, 512))),
            (true, Draft::read(&guest.memory, 0, 512)),
        ] {
            let data = Piece { addr, len, writable: direction };
            let pieces = [readable(draft.header, 16), data, writable(draft.status, 1)];
            let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
            assert_eq!(verdict, Verdict::Status(IOERR), "{addr:#x}+{len}, writable {direction}");
        }
        let draft = Draft::write(&guest.memory, 0, &pattern(7, 512));
        let header = Piece { addr, len: 16.max(len), writable: false };
        let pieces = [header, readable(draft.data, 512), writable(draft.status, 1)];
        let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
        assert_eq!(verdict, Verdict::Status(IOERR), "header at {addr:#x}");

        let status = Piece { addr, len, writable: true };
        let pieces = [readable(draft.header, 16), readable(draft.data, 512), status];
        let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
        assert!(verdict.is_refusal(), "status at {addr:#x}: {verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn lengths_that_overflow_are_refused() {
    let (daemon, mut guest, disk) = stage(&[]);
    for (count, len) in [(2, u32::MAX), (3, 0x8000_0000), (40, u32::MAX), (60, 32 << 20)] {
        for direction in [false, true] {
            let kind = if direction { VIRTIO_BLK_T_IN } else { VIRTIO_BLK_T_OUT };
            let draft = Draft::with_data(&guest.memory, kind, 0, &[]);
            let mut pieces = vec![readable(draft.header, 16)];
            pieces.extend((0..count).map(|_| Piece { addr: HIGH, len, writable: direction }));
            pieces.push(writable(draft.status, 1));
            let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
            assert_eq!(verdict, Verdict::Status(IOERR), "{count} times {len}, {direction}");
        }
    }
    // 200 times all of the upper memory: more than 2^32 bytes, every one of them real.
    let draft = Draft::write(&guest.memory, 0, &[]);
    let mut pieces = vec![readable(draft.header, 16)];
    pieces.extend((0..200).map(|_| readable(HIGH, 32 << 20)));
    pieces.push(writable(draft.status, 1));
    let head = guest.rings[0].place_indirect(&pieces);
    let verdict = verdict(&daemon, &mut guest, 0, head, &draft);
    assert_eq!(verdict, Verdict::Status(IOERR));
    unharmed(daemon, guest, &disk);
}

#[test]
fn empty_descriptors_neither_hang_nor_harm() {
    let (daemon, mut guest, mut disk) = stage(&[]);
    let data = pattern(8, 512);
    for at in 0..4 {
        let draft = Draft::write(&guest.memory, 3, &data);
        let mut pieces = draft.pieces();
        let empty = Piece { addr: draft.data, len: 0, writable: at == 3 };
        pieces.insert(at, empty);
        match verdict_on(&daemon, &mut guest, &draft, &pieces) {
            Verdict::Status(OK) => disk[3 * 512..4 * 512].copy_from_slice(&data),
            verdict => assert!(verdict.is_refusal(), "empty at {at}: {verdict:?}"),
        }
    }
    // Nothing to write, nothing to read.
    for draft in [Draft::write(&guest.memory, 0, &[]), Draft::read(&guest.memory, 0, 0)] {
        let pieces = draft.pieces();
        let verdict = verdict_on(&daemon, &mut guest, &draft, &pieces);
        assert!(matches!(verdict, Verdict::Status(OK | IOERR)), "{verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn chains_that_cannot_be_followed_break_the_ring() {
    let (daemon, mut guest, disk) = stage(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(9, 512));
    let (header, data, size) = (draft.header, draft.data, guest.rings[0].size);
    let to_itself = |head| Desc { addr: data, len: 512, flags: NEXT, next: head };
    let past_the_end = Desc { addr: header, len: 16, flags: NEXT, next: size };
    let far_past = Desc { next: u16::MAX, ..past_the_end };
    let head = guest.rings[0].place_raw(past_the_end);
    guest.rings[0].set_desc(head, to_itself(head));
    let verdict_of = verdict(&daemon, &mut guest, 0, head, &draft);
    assert!(matches!(verdict_of, Verdict::Broken(_)), "a loop: {verdict_of:?}");
    for desc in [past_the_end, far_past] {
        let head = guest.rings[0].place_raw(desc);
        let verdict = verdict(&daemon, &mut guest, 0, head, &draft);
        assert!(matches!(verdict, Verdict::Broken(_)), "{desc:?}: {verdict:?}");
    }
    for head in [size, size + 1, u16::MAX] {
        let verdict = verdict(&daemon, &mut guest, 0, head, &draft);
        assert!(matches!(verdict, Verdict::Broken(_)), "head {head}: {verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn loops_of_writable_descriptors_break_the_ring_and_write_nothing() {
    let (daemon, mut guest, disk) = stage(&[]);
    let draft = Draft::read(&guest.memory, 0, 512);
    guest.memory.write(draft.data, &[0xEE; 512]);
    let second = guest.rings[0].place_raw(Desc { addr: 0, len: 0, flags: 0, next: 0 });
    let head =
        guest.rings[0].place_raw(Desc { addr: draft.header, len: 16, flags: NEXT, next: second });
    let loops = Desc { addr: draft.data, len: 512, flags: NEXT | WRITE, next: second };
    guest.rings[0].set_desc(second, loops);
    let verdict = verdict(&daemon, &mut guest, 0, head, &draft);
    assert!(matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
    assert_eq!(draft.bytes(), [0xEE; 512]);
    unharmed(daemon, guest, &disk);
}

#[test]
fn bad_indirect_tables_break_the_ring() {
    let (daemon, mut guest, disk) = stage(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(10, 512));
    let table = guest.memory.alloc(64, 16);
    let inner = Desc { addr: table, len: 16, flags: INDIRECT, next: 0 };
    guest.memory.write(table, &inner.bytes());
    let next_outside = Desc { addr: draft.header, len: 16, flags: NEXT, next: 4 };
    guest.memory.write(table + 16, &next_outside.bytes());
    let cases = [
        ("no length", table, 0, INDIRECT),
        ("not a multiple of 16", table, 24, INDIRECT),
        ("shorter than a descriptor", table, 15, INDIRECT),
        ("nested", table, 16, INDIRECT),
        ("next past the table", table + 16, 48, INDIRECT),
        ("outside memory", HOLE, 64, INDIRECT),
        ("half outside memory", HIGH + HIGH_BYTES - 8, 64, INDIRECT),
        ("wrapping", u64::MAX - 15, 64, INDIRECT),
        ("as long as can be", HOLE, 0xFFFF_FFF0, INDIRECT),
        ("with a successor", table, 64, INDIRECT | NEXT),
    ];
    for (name, addr, len, flags) in cases {
        let head = guest.rings[0].place_raw(Desc { addr, len, flags, next: 0 });
        let verdict = verdict(&daemon, &mut guest, 0, head, &draft);
        assert!(matches!(verdict, Verdict::Broken(_)), "{name}: {verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn an_available_index_that_jumps_breaks_the_ring() {
    let (daemon, mut guest, disk) = stage(&[]);
    let draft = Draft::write(&guest.memory, 0, &pattern(11, 512));
    for jump in [65, 1000, 0x8000, u16::MAX] {
        let idx = guest.rings[0].avail_idx().wrapping_add(jump);
        guest.rings[0].set_avail_idx(idx);
        let verdict = doorbell(&daemon, &mut guest, 0, &draft);
        assert!(matches!(verdict, Verdict::Broken(_)), "a jump of {jump}: {verdict:?}");
    }
    unharmed(daemon, guest, &disk);
}

#[test]
fn a_chain_exposed_twice_neither_hangs_nor_harms() {
    let (daemon, mut guest, _) = stage(&[]);
    let data = pattern(12, 512);
    let draft = Draft::write(&guest.memory, 3, &data);
    let head = guest.rings[1].place(&draft.pieces());
    guest.rings[1].expose(head);
    guest.rings[1].expose(head);
    guest.rings[1].kick();
    eventually("two completions or a broken ring", || {
        (guest.rings[1].used_idx() == 2 || !daemon.records().broken().is_empty()).then_some(())
    });
    guest.restart_ring(1);
    guest.proves_it_works(1, 8);
    assert_eq!(guest.must_read(3, 512), data);
}
