//! The medium as its users see it.

#![allow(clippy::cast_possible_truncation, reason = "the disks of tests are small")]

mod full;
mod images;
mod intents;
mod killed;
mod lost;
mod opening;
mod pairs;
mod racing;

use std::path::Path;

use super::{Disk, DiskSpec};
use crate::pi::{PiType, Tuple, generate, guard, verify};
use crate::units::{BlockSize, ByteSize, Lba};

/// A memory disk of 512-byte blocks with Type 1.
pub fn memory() -> DiskSpec {
    DiskSpec {
        file: None,
        size: Some(ByteSize(1 << 20)),
        block_size: BlockSize::B512,
        pi_type: PiType::Type1,
        pi_file: None,
        read_only: false,
        direct: false,
    }
}

/// A file disk of 1 MiB that may have to be created.
pub fn file(path: &Path) -> DiskSpec {
    DiskSpec { file: Some(path.to_owned()), ..memory() }
}

/// Writes the same byte all over `count` blocks, with the tuples that go with it.
pub fn fill(disk: &Disk, lba: u64, count: usize, byte: u8) {
    let geometry = disk.geometry();
    let data = vec![byte; count * geometry.block_size.bytes()];
    disk.write(Lba(lba), &data, &tuples_for(disk, lba, &data)).unwrap();
}

/// The tuples that a host adapter would generate.
pub fn tuples_for(disk: &Disk, lba: u64, data: &[u8]) -> Vec<Tuple> {
    let geometry = disk.geometry();
    data.chunks(geometry.block_size.bytes())
        .zip(lba..)
        .map(|(block, lba)| generate(geometry.pi_type, block, Lba(lba)))
        .collect()
}

/// Reads blocks with their tuples.
pub fn read(disk: &Disk, lba: u64, count: usize) -> (Vec<u8>, Vec<Tuple>) {
    let mut data = vec![0xEE; count * disk.geometry().block_size.bytes()];
    let mut tuples = vec![generate(PiType::Type1, b"poison", Lba(77)); count];
    disk.read(Lba(lba), &mut data, &mut tuples).unwrap();
    (data, tuples)
}

/// The blocks whose data and tuple do not fit.
pub fn mismatches(disk: &Disk, lba: u64, count: usize) -> Vec<u64> {
    let geometry = disk.geometry();
    let (data, tuples) = read(disk, lba, count);
    data.chunks(geometry.block_size.bytes())
        .zip(tuples)
        .zip(lba..)
        .filter(|((block, tuple), lba)| {
            verify(geometry.pi_type, *tuple, guard(block), Lba(*lba)).is_err()
        })
        .map(|(_, lba)| lba)
        .collect()
}

/// No mismatches.
pub const NONE: [u64; 0] = [];
