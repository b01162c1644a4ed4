//! What is written is read; what is not written is not touched.

use proptest::prelude::*;

use super::{NONE, fill, memory, mismatches, read, tuples_for};
use crate::media::{Disk, DiskSpec, MediaError};
use crate::pi::{AppTag, PiType, Tuple};
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

fn memory_disk() -> Disk {
    Disk::open(&memory()).unwrap()
}

#[test]
fn a_new_disk_reads_zeros_with_escape_tags() {
    let (data, tuples) = read(&memory_disk(), 0, 2048);
    assert!(data.iter().all(|byte| *byte == 0));
    assert!(tuples.iter().all(|tuple| *tuple == Tuple::ESCAPE));
}

#[test]
fn blocks_of_every_size_and_type_come_back_with_their_tuples() {
    for block_size in [BlockSize::B512, BlockSize::B4096] {
        for pi_type in [PiType::Type1, PiType::Type2, PiType::Type3] {
            let disk = Disk::open(&DiskSpec { block_size, pi_type, ..memory() }).unwrap();
            let data: Vec<u8> = (0..3 * block_size.bytes()).map(|i| (i % 251) as u8).collect();
            let tuples = tuples_for(&disk, 5, &data);
            disk.write(Lba(5), &data, &tuples).unwrap();
            assert_eq!(read(&disk, 5, 3), (data, tuples));
            assert_eq!(read(&disk, 4, 1).1, [Tuple::ESCAPE]);
            assert_eq!(read(&disk, 8, 1).1, [Tuple::ESCAPE]);
        }
    }
}

#[test]
fn tuples_are_stored_as_given_and_not_verified() {
    let disk = memory_disk();
    let tuple = Tuple { app: AppTag(0x1234), ..Tuple::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]) };
    disk.write(Lba(9), &[0xAB; 512], &[tuple]).unwrap();
    assert_eq!(read(&disk, 9, 1).1, [tuple]);
    assert_eq!(mismatches(&disk, 8, 3), [9]);
}

#[test]
fn without_protection_tuples_are_escapes_whatever_was_written() {
    let disk = Disk::open(&DiskSpec { pi_type: PiType::None, ..memory() }).unwrap();
    disk.write(Lba(0), &[1; 512], &[Tuple::from_bytes([7; 8])]).unwrap();
    assert_eq!(read(&disk, 0, 1), (vec![1; 512], vec![Tuple::ESCAPE]));
    disk.discard(Lba(0), BlockCount(1)).unwrap();
    disk.write_zeroes(Lba(1), BlockCount(1), false).unwrap();
    disk.flush().unwrap();
    assert_eq!(read(&disk, 0, 1).0, [0; 512]);
}

#[test]
fn a_discard_leaves_zeros_and_escape_tags_in_its_range_only() {
    for block_size in [BlockSize::B512, BlockSize::B4096] {
        let disk = Disk::open(&DiskSpec { block_size, ..memory() }).unwrap();
        fill(&disk, 0, 200, 0x55);
        disk.discard(Lba(3), BlockCount(150)).unwrap();
        let (data, tuples) = read(&disk, 3, 150);
        assert!(data.iter().all(|byte| *byte == 0));
        assert!(tuples.iter().all(|tuple| *tuple == Tuple::ESCAPE));
        for (lba, count) in [(0, 3), (153, 47)] {
            let (data, tuples) = read(&disk, lba, count);
            assert!(data.iter().all(|byte| *byte == 0x55));
            assert_eq!(tuples, tuples_for(&disk, lba, &data));
        }
    }
}

#[test]
fn written_zeros_have_tuples_that_verify() {
    for unmap in [false, true] {
        for block_size in [BlockSize::B512, BlockSize::B4096] {
            let disk = Disk::open(&DiskSpec { block_size, ..memory() }).unwrap();
            fill(&disk, 0, 256, 0x55);
            disk.write_zeroes(Lba(1), BlockCount(250), unmap).unwrap();
            let (data, tuples) = read(&disk, 1, 250);
            assert!(data.iter().all(|byte| *byte == 0));
            assert_eq!(tuples, tuples_for(&disk, 1, &data));
            assert_eq!(mismatches(&disk, 0, 256), NONE);
            assert_eq!(read(&disk, 251, 5).0, vec![0x55; 5 * block_size.bytes()]);
        }
    }
}

#[test]
fn blocks_past_the_end_are_refused() {
    let disk = memory_disk();
    let out_of_range = |result| assert!(matches!(result, Err(MediaError::OutOfRange { .. })));
    for lba in [2047, 2048, u64::MAX - 1, u64::MAX] {
        out_of_range(disk.read(Lba(lba), &mut [0; 1024], &mut [Tuple::ESCAPE; 2]));
        out_of_range(disk.write(Lba(lba), &[0; 1024], &[Tuple::ESCAPE; 2]));
        out_of_range(disk.discard(Lba(lba), BlockCount(2)));
        out_of_range(disk.write_zeroes(Lba(lba), BlockCount(u64::MAX), true));
    }
    disk.read(Lba(2048), &mut [], &mut []).unwrap();
    disk.discard(Lba(2048), BlockCount(0)).unwrap();
}

#[test]
fn data_that_does_not_go_with_its_tuples_is_refused() {
    let disk = memory_disk();
    for (bytes, tuples) in [(511, 1), (512, 2), (0, 1), (1024, 1)] {
        let result = disk.write(Lba(0), &vec![0; bytes], &vec![Tuple::ESCAPE; tuples]);
        assert!(matches!(result, Err(MediaError::Lengths { .. })), "{bytes} {tuples}");
    }
}

#[test]
fn a_closed_disk_takes_no_change() {
    let disk = memory_disk();
    disk.close().unwrap();
    disk.close().unwrap();
    let result = disk.write(Lba(0), &[0; 512], &[Tuple::ESCAPE]);
    assert!(matches!(result, Err(MediaError::Closed)));
    read(&disk, 0, 1);
}

/// One step of the model test.
#[derive(Debug, Clone)]
enum Step {
    Write { lba: usize, count: usize, byte: u8 },
    Discard { lba: usize, count: usize },
    Zero { lba: usize, count: usize, unmap: bool },
}

const BLOCKS: usize = 1200;

fn step() -> impl Strategy<Value = Step> {
    let range = (0..BLOCKS, 0..700usize)
        .prop_map(|(lba, count)| (lba, count.min(BLOCKS.saturating_sub(lba))));
    (range, any::<u8>(), 0..4).prop_map(|((lba, count), byte, kind)| match kind {
        0 => Step::Discard { lba, count },
        1 => Step::Zero { lba, count, unmap: byte & 1 == 0 },
        _ => Step::Write { lba, count, byte },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The disk against the plainest model: a byte a block, or nothing.
    #[test]
    fn any_sequence_of_changes_equals_the_model(steps in proptest::collection::vec(step(), 1..12)) {
        let disk = Disk::open(&DiskSpec { size: Some(ByteSize(512 * 1200)), ..memory() }).unwrap();
        let mut model: Vec<Option<u8>> = vec![None; BLOCKS];
        for step in steps {
            match step {
                Step::Write { lba, count, byte } => {
                    fill(&disk, lba as u64, count, byte);
                    model[lba..lba + count].fill(Some(byte));
                }
                Step::Discard { lba, count } => {
                    disk.discard(Lba(lba as u64), BlockCount(count as u64)).unwrap();
                    model[lba..lba + count].fill(None);
                }
                Step::Zero { lba, count, unmap } => {
                    disk.write_zeroes(Lba(lba as u64), BlockCount(count as u64), unmap).unwrap();
                    model[lba..lba + count].fill(Some(0));
                }
            }
        }
        let (data, tuples) = read(&disk, 0, BLOCKS);
        let generated = tuples_for(&disk, 0, &data);
        for (lba, block) in data.chunks(512).enumerate() {
            let byte = model[lba].unwrap_or(0);
            prop_assert!(block.iter().all(|b| *b == byte), "data of block {}", lba);
            let expected = model[lba].map_or(Tuple::ESCAPE, |_| generated[lba]);
            prop_assert_eq!(tuples[lba], expected, "tuple of block {}", lba);
        }
    }
}
