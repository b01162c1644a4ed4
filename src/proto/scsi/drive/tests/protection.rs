//! Protection information with commands.

use super::rig::{Rig, long};
use crate::pi::{AppTag, GuardTag, PiType, RefTag, Tuple, generate};
use crate::units::Lba;

const READ: u8 = 0x28;
const WRITE: u8 = 0x2A;

fn ten(opcode: u8, protect: u8, lba: u8, count: u8) -> [u8; 10] {
    [opcode, protect << 5, 0, 0, 0, lba, 0, 0, count, 0]
}

fn tuples_of(rig: &Rig, kind: PiType, lba: u64, salts: &[u8]) -> Vec<Tuple> {
    let blocks = (lba..).zip(salts);
    blocks.map(|(lba, salt)| generate(kind, &rig.block(*salt), Lba(lba))).collect()
}

#[test]
fn tuples_come_back_as_they_were_sent() {
    let rig = Rig::new(PiType::Type1);
    let mut sent = tuples_of(&rig, PiType::Type1, 20, &[1, 2]);
    sent[1].app = AppTag(0xBEEF);
    let data = [rig.block(1), rig.block(2)].concat();
    assert!(rig.tell_protected(&ten(WRITE, 1, 20, 2), &data, &sent).is_good());
    let outcome = rig.ask_protected(&ten(READ, 1, 20, 2), 2);
    assert_eq!((outcome.data, outcome.tuples), (data, sent));
}

#[test]
fn each_wrong_tag_has_its_sense_and_names_its_block() {
    let rig = Rig::new(PiType::Type1);
    let good = tuples_of(&rig, PiType::Type1, 20, &[1, 2]);
    let data = [rig.block(1), rig.block(2)].concat();
    let guard = Tuple { guard: GuardTag(good[1].guard.0 ^ 1), ..good[1] };
    let reference = Tuple { reference: RefTag(77), ..good[1] };
    for (wrong, ascq) in [(guard, 0x01), (reference, 0x03)] {
        let outcome = rig.tell_protected(&ten(WRITE, 1, 20, 2), &data, &[good[0], wrong]);
        assert_eq!(outcome.sense(), Some((0xB, 0x10, ascq)));
        assert_eq!(outcome.information(), Some(21));
    }
    assert_eq!(rig.read(20, 2), [0; 1024], "nothing was stored");
}

#[test]
fn what_a_write_does_not_bring_is_generated() {
    let rig = Rig::new(PiType::Type1);
    let data = rig.block(5);
    assert!(rig.tell(&ten(WRITE, 1, 9, 1), &data).is_good(), "WRPROTECT 1 without tuples");
    let outcome = rig.ask_protected(&ten(READ, 1, 9, 1), 1);
    assert_eq!(outcome.tuples, tuples_of(&rig, PiType::Type1, 9, &[5]));
}

#[test]
fn tuples_that_are_too_few_are_an_overrun() {
    let rig = Rig::new(PiType::Type1);
    let one = tuples_of(&rig, PiType::Type1, 9, &[5]);
    let data = [rig.block(5), rig.block(5)].concat();
    assert!(rig.tell_protected(&ten(WRITE, 1, 9, 2), &data, &one).is_overrun());
    assert!(rig.ask_protected(&ten(READ, 1, 9, 2), 1).is_overrun());
}

#[test]
fn protect_fields_that_the_type_does_not_have_are_refused() {
    for (kind, sense) in [(PiType::None, (5, 0x24, 0)), (PiType::Type2, (5, 0x20, 0))] {
        let rig = Rig::new(kind);
        assert_eq!(rig.ask(&ten(READ, 1, 0, 1)).sense(), Some(sense), "{kind:?}");
        assert_eq!(rig.tell(&ten(WRITE, 1, 0, 1), &rig.block(1)).sense(), Some(sense));
    }
    let rig = Rig::new(PiType::Type1);
    assert_eq!(rig.ask(&ten(READ, 6, 0, 1)).sense(), Some((5, 0x24, 0)));
    assert_eq!(rig.ask(&long(0x09, 0x20, 0, (0, 0, 0), 1)).sense(), Some((5, 0x20, 0)));
}

#[test]
fn type_2_holds_the_tags_of_the_command() {
    let rig = Rig::new(PiType::Type2);
    let data = rig.block(3);
    let mut tuple = tuples_of(&rig, PiType::Type2, 6, &[3])[0];
    tuple.reference = RefTag(1000);
    tuple.app = AppTag(0x00A5);
    let write = |tags| rig.tell_protected(&long(0x0B, 0x20, 6, tags, 1), &data, &[tuple]);
    assert_eq!(write((999, 0, 0)).sense(), Some((0xB, 0x10, 0x03)));
    assert_eq!(write((1000, 0x0001, 0x000F)).sense(), Some((0xB, 0x10, 0x02)));
    assert!(write((1000, 0x0005, 0x000F)).is_good());
    let read = |tags| rig.ask_protected(&long(0x09, 0x20, 6, tags, 1), 1);
    assert_eq!(read((1000, 0x00A5, 0xFFFF)).tuples, [tuple]);
    assert_eq!(read((1001, 0, 0)).sense(), Some((0xB, 0x10, 0x03)));
}

#[test]
fn unmapped_blocks_have_escape_tags() {
    let rig = Rig::new(PiType::Type1);
    rig.write(2, &rig.block(1));
    assert!(rig.tell(&[0x41, 0x08, 0, 0, 0, 2, 0, 0, 1], &[0; 512]).is_good());
    let outcome = rig.ask_protected(&ten(READ, 1, 2, 1), 1);
    assert_eq!((outcome.data, outcome.tuples), (vec![0; 512], vec![Tuple::ESCAPE]));
}

#[test]
fn a_verification_compares_tuples_too() {
    let rig = Rig::new(PiType::Type1);
    let (data, mut sent) = (rig.block(4), tuples_of(&rig, PiType::Type1, 3, &[4]));
    assert!(rig.tell_protected(&ten(WRITE, 1, 3, 1), &data, &sent).is_good());
    let verify = [0x2F, 0x22, 0, 0, 0, 3, 0, 0, 1];
    assert!(rig.tell_protected(&verify, &data, &sent).is_good());
    sent[0].app = AppTag(1);
    let differs = rig.tell_protected(&verify, &data, &sent);
    assert_eq!((differs.sense(), differs.information()), (Some((0xE, 0x10, 0x02)), Some(3)));
    let other = rig.block(5);
    let sent = tuples_of(&rig, PiType::Type1, 3, &[5]);
    let differs = rig.tell_protected(&verify, &other, &sent);
    assert_eq!(differs.sense(), Some((0xE, 0x1D, 0)), "the data comes first");
}

#[test]
fn one_block_is_verified_against_many_with_a_reference_tag_that_counts() {
    for kind in [PiType::Type1, PiType::Type3] {
        let rig = Rig::new(kind);
        let (data, sent) = (rig.block(4), tuples_of(&rig, kind, 3, &[4]));
        let same = [0x41, 0x20, 0, 0, 0, 3, 0, 0, 3];
        assert!(rig.tell_protected(&same, &data, &sent).is_good());
        let verify = [0x2F, 0x26, 0, 0, 0, 3, 0, 0, 3];
        assert!(rig.tell_protected(&verify, &data, &sent).is_good(), "{kind:?}");
    }
}

#[test]
fn write_same_stores_the_tuple_that_came_with_its_block() {
    let rig = Rig::new(PiType::Type1);
    let same = |flags: u8| [0x41, 0x20 | flags, 0, 0, 0, 5, 0, 0, 2];
    let stored = || rig.ask_protected(&ten(READ, 1, 5, 2), 2).tuples;
    // Data, zeros, and zeros with UNMAP, which would not read back with this tuple.
    for (salt, flags) in [(Some(7), 0), (None, 0), (None, 0x08)] {
        let data = salt.map_or(vec![0; 512], |salt| rig.block(salt));
        let mut sent = generate(PiType::Type1, &data, Lba(5));
        sent.app = AppTag(0x1234);
        assert!(rig.tell_protected(&same(flags), &data, &[sent]).is_good());
        assert_eq!(stored(), [sent, sent.counted_on(PiType::Type1, 1)]);
        sent.guard.0 ^= 1;
        assert_eq!(rig.tell_protected(&same(flags), &data, &[sent]).sense(), Some((0xB, 0x10, 1)));
    }
    // All FFh goes with any data, and with UNMAP it frees zeros.
    assert!(rig.tell_protected(&same(0), &rig.block(9), &[Tuple::ESCAPE]).is_good());
    assert_eq!((rig.read(5, 2), stored()), (rig.block(9).repeat(2), vec![Tuple::ESCAPE; 2]));
    assert!(rig.tell_protected(&same(0x08), &[0; 512], &[Tuple::ESCAPE]).is_good());
    assert_eq!((rig.read(5, 2), stored()), (vec![0; 1024], vec![Tuple::ESCAPE; 2]));
}
