//! However a request is laid out, it means the same (VIRTIO 1.2 §2.7.4: no framing is to be assumed).

use crate::kit::{Daemon, Draft, OK, Random, pattern};

#[test]
fn shredded_equals_contiguous() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let mut random = Random::new(0x5EED);
    for case in 0..150 {
        let sector = random.below(2048 - 20);
        let data = pattern(case, 512 * (1 + usize::try_from(random.below(20)).unwrap()));
        let draft = Draft::write(&guest.memory, sector, &data);
        let cuts = random.below(40);
        let pieces = draft.shredded(&mut random, cuts);
        assert_eq!(guest.run_pieces(&draft, &pieces), OK, "case {case}: {pieces:?}");
        assert_eq!(guest.must_read(sector, data.len()), data, "case {case}: {pieces:?}");

        let draft = Draft::read(&guest.memory, sector, data.len());
        let pieces = draft.shredded(&mut random, cuts);
        assert_eq!(guest.run_pieces(&draft, &pieces), OK, "case {case}: {pieces:?}");
        assert_eq!(draft.bytes(), data, "case {case}: {pieces:?}");
    }
    assert!(daemon.stop().races().is_empty());
}

#[test]
fn shredded_races_are_the_same_races() {
    let daemon = Daemon::start(&["--window", "hold", "--on-race", "report"]);
    let mut guest = daemon.guest();
    let mut random = Random::new(0xACE);
    for case in 0..12 {
        let draft = Draft::write(&guest.memory, 8 * case, &pattern(case, 4096));
        let pieces = draft.shredded(&mut random, 3 * case);
        let head = guest.rings[0].place(&pieces);
        guest.ring_bell(0, head);
        daemon.await_held(1);
        guest.memory.flip(draft.data + 5 * 512 + 3);
        guest.memory.flip(draft.data + 5 * 512 + 4);
        daemon.release();
        guest.rings[0].wait(head);
        assert_eq!(draft.status(), OK, "case {case}: {pieces:?}");
        assert_eq!(guest.must_read(8 * case, 4096), draft.bytes());
    }
    let records = daemon.stop();
    let lbas: Vec<u64> = records.races().iter().map(|race| race.lba.0).collect();
    assert_eq!(lbas, (0..12).map(|case| 8 * case + 5).collect::<Vec<_>>());
    for race in records.races() {
        assert_eq!((race.changed.len(), race.changed[0].offset, race.changed[0].len), (1, 3, 2));
    }
}

#[test]
fn indirect_tables_carry_the_same_requests() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let mut random = Random::new(7);
    let data = pattern(1, 16384);
    let draft = Draft::write(&guest.memory, 100, &data);
    let pieces = draft.shredded(&mut random, 90);
    let head = guest.rings[0].place_indirect(&pieces);
    guest.ring_bell(0, head);
    let used = guest.rings[0].wait(head);
    assert_eq!((draft.status(), used.len), (OK, 1), "only the status byte was written");

    let draft = Draft::read(&guest.memory, 100, data.len());
    let head = guest.rings[0].place_indirect(&draft.shredded(&mut random, 90));
    guest.ring_bell(0, head);
    let used = guest.rings[0].wait(head);
    assert_eq!((draft.status(), used.len), (OK, 16385), "data and status byte were written");
    assert_eq!(draft.bytes(), data);
}

#[test]
fn a_chain_may_go_on_in_an_indirect_table() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let data = pattern(2, 4096);
    let draft = Draft::write(&guest.memory, 0, &data);
    let pieces = draft.pieces();
    // §2.7.5.3.1 allows NEXT to lead to a descriptor with INDIRECT, as the last of the chain.
    let inner = guest.rings[0].place_indirect(&pieces[1..]);
    let head = guest.rings[0].place(&pieces[..1]);
    let header = crate::kit::ring::Desc {
        addr: draft.header,
        len: 16,
        flags: crate::kit::ring::NEXT,
        next: inner,
    };
    guest.rings[0].set_desc(head, header);
    guest.ring_bell(0, head);
    guest.rings[0].wait(head);
    assert_eq!(draft.status(), OK);
    assert_eq!(guest.must_read(0, 4096), data);
}

#[test]
fn a_used_entry_counts_what_the_device_wrote() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    let sent = guest.start_write(0, &pattern(3, 512));
    assert_eq!(guest.rings[0].wait(sent.head).len, 1);
    let read = Draft::read(&guest.memory, 0, 1024);
    let sent = guest.send(0, read);
    assert_eq!(guest.rings[0].wait(sent.head).len, 1025);
}
