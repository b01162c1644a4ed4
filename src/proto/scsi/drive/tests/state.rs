//! Attentions, modes, what a unit says of itself.

use super::rig::{DISK_BYTES, Rig, sixteen};
use crate::pi::PiType;
use crate::proto::scsi::drive::UnitAttention;
use crate::record::OnRace;
use crate::units::BlockSize;

const TEST_UNIT_READY: [u8; 6] = [0; 6];

#[test]
fn an_attention_is_told_once_and_inquiry_does_not_take_it() {
    let rig = Rig::new(PiType::Type1);
    let unit = rig.target.unit(0).unwrap();
    unit.attend(UnitAttention::Capacity);
    assert!(rig.ask(&[0x12, 0, 0, 0, 36]).is_good());
    assert_eq!(rig.ask(&TEST_UNIT_READY).sense(), Some((6, 0x2A, 0x09)));
    assert!(rig.ask(&TEST_UNIT_READY).is_good());
    unit.attend(UnitAttention::Reset);
    let told = rig.ask(&[0x03, 0, 0, 0, 18]).data;
    assert_eq!((told[2], told[12], told[13]), (6, 0x29, 0x03));
    assert!(rig.ask(&TEST_UNIT_READY).is_good());
}

#[test]
fn a_reset_hides_what_was_noted_before_it() {
    let rig = Rig::new(PiType::Type1);
    let unit = rig.target.unit(0).unwrap();
    unit.attend(UnitAttention::Capacity);
    unit.reset(UnitAttention::Reset);
    assert_eq!(rig.ask(&TEST_UNIT_READY).sense(), Some((6, 0x29, 0x03)));
    assert!(rig.ask(&TEST_UNIT_READY).is_good());
}

#[test]
fn a_stopped_unit_answers_and_does_not_read() {
    let rig = Rig::new(PiType::Type1);
    assert!(rig.ask(&[0x1B, 0, 0, 0, 0]).is_good());
    assert_eq!(rig.ask(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]).sense(), Some((2, 0x04, 0x02)));
    assert!(rig.ask(&[0x12, 0, 0, 0, 36]).is_good());
    assert!(rig.ask(&[0x1B, 0, 0, 0, 1]).is_good());
    assert_eq!(rig.read(0, 1), [0; 512]);
}

#[test]
fn capacity_tells_size_and_protection() {
    for (pi_type, expected) in
        [(PiType::None, 0x00), (PiType::Type1, 0x01), (PiType::Type2, 0x03), (PiType::Type3, 0x05)]
    {
        let rig = Rig::with(pi_type, BlockSize::B4096, OnRace::Fail);
        let last = DISK_BYTES / 4096 - 1;
        let short = rig.ask(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0]).data;
        assert_eq!(short, [&(last as u32).to_be_bytes()[..], &[0, 0, 0x10, 0]].concat());
        let long = rig.ask(&sixteen(0x9E, 0x10, 0, 32)).data;
        assert_eq!(long[..8], last.to_be_bytes());
        assert_eq!((long.len(), long[12], long[14] & 0xC0), (32, expected, 0xC0));
        let inquiry = rig.ask(&[0x12, 0, 0, 0, 74]).data;
        assert_eq!(inquiry[5] & 1 != 0, pi_type.is_protected());
        let extended = rig.ask(&[0x12, 1, 0x86, 0, 64]).data;
        assert_eq!(extended[4] & 0x07 != 0, pi_type.is_protected());
    }
}

#[test]
fn every_page_that_is_listed_exists_and_no_other() {
    let rig = Rig::new(PiType::Type1);
    let listed = rig.ask(&[0x12, 1, 0x00, 0, 255]).data[4..].to_vec();
    assert_eq!(listed, [0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2]);
    for page in 0..=0xFF {
        let outcome = rig.ask(&[0x12, 1, page, 0, 255]);
        assert_eq!(outcome.is_good(), listed.contains(&page), "{page:#x}");
        if outcome.is_good() {
            let length = u16::from_be_bytes([outcome.data[2], outcome.data[3]]);
            assert_eq!(usize::from(length) + 4, outcome.data.len(), "{page:#x}");
        }
    }
}

#[test]
fn an_allocation_length_cuts_and_is_no_error() {
    let rig = Rig::new(PiType::Type1);
    assert_eq!(rig.ask(&[0x12, 0, 0, 0, 5]).data.len(), 5);
    assert_eq!(rig.ask(&[0x12, 0, 0, 0, 0]).data.len(), 0);
}

#[test]
fn modes_are_sensed_selected_and_sensed_again() {
    let rig = Rig::new(PiType::Type1);
    let all = rig.ask(&[0x1A, 0, 0x3F, 0, 255]).data;
    assert_eq!((usize::from(all[0]) + 1, all[2], all[3]), (all.len(), 0x10, 8));
    assert_eq!(all[4..12], [0, 0, 2, 0, 0, 0, 2, 0], "the block descriptor");
    let mut control = rig.ask(&[0x5A, 0x08, 0x0A, 0, 0, 0, 0, 0, 255]).data[8..].to_vec();
    assert_eq!((control.len(), control[5] & 0x80), (12, 0x80), "ATO");
    control[2] |= 0x04;
    let list = [&[0; 8], &control[..]].concat();
    assert!(rig.tell(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8], &list).is_good());
    // D_SENSE: descriptor format from here on.
    let outcome = rig.ask(&sixteen(0x88, 0, u64::MAX, 1));
    assert_eq!((outcome.answer.sense[0], outcome.sense()), (0x72, Some((5, 0x21, 0))));
    assert_eq!(rig.ask(&[0x1A, 0, 0xCA, 0, 255]).sense(), Some((5, 0x39, 0)));
    assert_eq!(rig.ask(&[0x1A, 0, 0x01, 0, 255]).sense(), Some((5, 0x24, 0)));
}

#[test]
fn software_write_protect_protects() {
    let rig = Rig::new(PiType::Type1);
    let mut control = rig.ask(&[0x1A, 0x08, 0x0A, 0, 255]).data[4..].to_vec();
    control[4] |= 0x08;
    let list = [&[0; 4], &control[..]].concat();
    assert!(rig.tell(&[0x15, 0x10, 0, 0, list.len() as u8], &list).is_good());
    let data = rig.block(1);
    for cdb in [sixteen(0x8A, 0, 0, 1), sixteen(0x93, 0, 0, 1), sixteen(0x8E, 0, 0, 1)] {
        assert_eq!(rig.tell(&cdb, &data).sense(), Some((7, 0x27, 0)), "{cdb:x?}");
    }
    let unmap = [&[0, 22, 0, 16, 0, 0, 0, 0][..], &[0; 11], &[1, 0, 0, 0, 0]].concat();
    assert_eq!(rig.tell(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24], &unmap).sense(), Some((7, 0x27, 0)));
    assert_eq!(rig.ask(&[0x1A, 0x08, 0x0A, 0, 255]).data[2] & 0x80, 0x80);
}

#[test]
fn units_that_do_not_exist_say_so() {
    let rig = Rig::new(PiType::Type1);
    let luns = rig.ask(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64]).data;
    assert_eq!(luns, [&[0, 0, 0, 8][..], &[0; 12]].concat());
}
