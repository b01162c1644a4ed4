//! Commands on blocks.

use super::rig::{DISK_BYTES, Rig, long, sixteen};
use crate::pi::PiType;
use crate::record::OnRace;
use crate::units::BlockSize;

const OUT_OF_RANGE: Option<(u8, u8, u8)> = Some((5, 0x21, 0));
const INVALID_FIELD: Option<(u8, u8, u8)> = Some((5, 0x24, 0));
const MISCOMPARE: Option<(u8, u8, u8)> = Some((0xE, 0x1D, 0));

#[test]
fn every_length_of_read_and_write_reaches_the_same_block() {
    let rig = Rig::new(PiType::Type2);
    let none = (7, 0, 0);
    let writes: [&[u8]; 9] = [
        &[0x0A, 0, 0, 7, 1],
        &[0x2A, 0, 0, 0, 0, 7, 0, 0, 1],
        &[0xAA, 0, 0, 0, 0, 7, 0, 0, 0, 1],
        &sixteen(0x8A, 0, 7, 1),
        &long(0x0B, 0, 7, none, 1),
        &[0x2E, 0, 0, 0, 0, 7, 0, 0, 1],
        &[0xAE, 0, 0, 0, 0, 7, 0, 0, 0, 1],
        &sixteen(0x8E, 0, 7, 1),
        &long(0x0C, 0, 7, none, 1),
    ];
    let reads: [&[u8]; 5] = [
        &[0x08, 0, 0, 7, 1],
        &[0x28, 0, 0, 0, 0, 7, 0, 0, 1],
        &[0xA8, 0, 0, 0, 0, 7, 0, 0, 0, 1],
        &sixteen(0x88, 0, 7, 1),
        &long(0x09, 0, 7, none, 1),
    ];
    for (salt, write) in (1..).zip(writes) {
        let data = rig.block(salt);
        let outcome = rig.tell(write, &data);
        assert!(outcome.is_good() && outcome.answer.moved == 512, "{write:x?}: {outcome:?}");
        for read in reads {
            assert_eq!(rig.ask(read).data, data, "{write:x?} {read:x?}");
        }
    }
}

#[test]
fn transfers_past_the_end_or_longer_than_their_buffers_fail() {
    let rig = Rig::new(PiType::Type1);
    let last = (DISK_BYTES / 512 - 1) as u32;
    assert!(rig.ask(&sixteen(0x88, 0, last.into(), 1)).is_good());
    assert_eq!(rig.ask(&sixteen(0x88, 0, last.into(), 2)).sense(), OUT_OF_RANGE);
    assert_eq!(rig.ask(&sixteen(0x88, 0, u64::MAX, 2)).sense(), OUT_OF_RANGE);
    assert_eq!(rig.tell(&sixteen(0x8A, 0, last.into(), 2), &[0; 1024]).sense(), OUT_OF_RANGE);
    assert!(rig.run(&sixteen(0x88, 0, 0, 2), &[], 1023, None, 0).is_overrun());
    assert!(rig.tell(&sixteen(0x8A, 0, 0, 2), &[0; 1023]).is_overrun());
    assert!(rig.ask(&sixteen(0x88, 0, 0, 0)).is_good());
}

#[test]
fn transfers_past_the_limit_are_refused() {
    let spec = Rig::with(PiType::None, BlockSize::B512, OnRace::Fail);
    // 32 MiB is more than the disk: the range is checked first.
    assert_eq!(spec.ask(&sixteen(0x88, 0, 0, u32::MAX)).sense(), OUT_OF_RANGE);
}

#[test]
fn compare_and_write_tells_where_it_differs() {
    let rig = Rig::new(PiType::Type1);
    let (old, new) = (rig.block(1), rig.block(2));
    rig.write(3, &old);
    let mut cdb = sixteen(0x89, 0, 3, 0);
    cdb[13] = 1;
    let outcome = rig.tell(&cdb, &[old.clone(), new.clone()].concat());
    assert!(outcome.is_good() && outcome.answer.moved == 1024, "{outcome:?}");
    assert_eq!(rig.read(3, 1), new);
    let mut wrong = new.clone();
    wrong[100] ^= 1;
    let outcome = rig.tell(&cdb, &[wrong, old].concat());
    assert_eq!((outcome.sense(), outcome.information()), (MISCOMPARE, Some(100)));
    assert_eq!(rig.read(3, 1), new);
}

#[test]
fn verify_compares_all_blocks_one_block_or_none() {
    let rig = Rig::new(PiType::Type1);
    let (a, b) = (rig.block(1), rig.block(2));
    rig.write(8, &[a.clone(), a.clone(), b.clone()].concat());
    let verify = |bytchk: u8, count: u8| [0x2F, bytchk << 1, 0, 0, 0, 8, 0, 0, count];
    assert!(rig.ask(&verify(0, 3)).is_good());
    assert!(rig.tell(&verify(1, 2), &[a.clone(), a.clone()].concat()).is_good());
    assert!(rig.tell(&verify(3, 2), &a).is_good());
    for (cdb, data) in [(verify(1, 3), [&a[..]; 3].concat()), (verify(3, 3), a)] {
        let outcome = rig.tell(&cdb, &data);
        assert_eq!((outcome.sense(), outcome.information()), (MISCOMPARE, Some(10)));
    }
    assert_eq!(rig.ask(&verify(2, 1)).sense(), INVALID_FIELD);
}

#[test]
fn write_same_fills_and_clears() {
    let rig = Rig::new(PiType::Type1);
    let data = rig.block(9);
    assert!(rig.tell(&sixteen(0x93, 0, 4, 3), &data).is_good());
    assert_eq!(rig.read(4, 3), [&data[..]; 3].concat());
    assert!(rig.tell(&[0x41, 0, 0, 0, 0, 5, 0, 0, 1], &[0; 512]).is_good());
    assert_eq!(rig.read(4, 3), [&data[..], &[0; 512], &data].concat());
    // NDOB, then UNMAP.
    assert!(rig.tell(&sixteen(0x93, 0x01, 4, 1), &[]).is_good());
    assert!(rig.tell(&sixteen(0x93, 0x08, 6, 1), &[0; 512]).is_good());
    assert_eq!(rig.read(4, 3), [0; 1536]);
    assert_eq!(rig.tell(&sixteen(0x93, 0, 4, 0), &data).sense(), INVALID_FIELD, "WSNZ");
    assert_eq!(rig.tell(&sixteen(0x93, 0x18, 4, 1), &data).sense(), INVALID_FIELD, "ANCHOR");
}

#[test]
fn unmapped_blocks_are_deallocated_zeros_that_verify() {
    let rig = Rig::with(PiType::Type1, BlockSize::B4096, OnRace::Fail);
    rig.write(0, &[rig.block(1), rig.block(2), rig.block(3)].concat());
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8];
    assert!(rig.tell(&unmap, &list).is_good());
    assert_eq!(rig.read(1, 1), [0; 4096]);
    let mut status = sixteen(0x9E, 0x12, 0, 0);
    status[13] = 8 + 16 * 3;
    let map = rig.ask(&status).data;
    let runs: Vec<_> = map[8..].chunks(16).map(|run| (run[7], run[11], run[12])).collect();
    assert_eq!(runs, [(0, 1, 0), (1, 1, 1), (2, 1, 0)]);
    list[15] = 64;
    assert_eq!(rig.tell(&unmap, &list).sense(), OUT_OF_RANGE);
    assert_eq!(rig.tell(&[0x42, 0, 0, 0, 0, 0, 0, 0, 7], &[0; 7]).sense(), Some((5, 0x1A, 0)));
}
