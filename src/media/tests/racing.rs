//! Many threads on the same blocks: data and tuple always belong together.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{NONE, fill, memory, mismatches, read};
use crate::media::{Disk, DiskSpec};
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

/// Numbers that look random and are the same every time.
fn scatter(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Overlapping changes by three threads while two read; `blocks` is small, so that they collide.
fn race(disk: &Disk, blocks: u64, rounds: u32) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|seed| {
                scope.spawn(move || {
                    let mut state = seed;
                    for round in 0..rounds {
                        let lba = scatter(&mut state) % blocks;
                        let count = 1 + scatter(&mut state) % (blocks - lba).min(24);
                        match scatter(&mut state) % 8 {
                            0 => disk.discard(Lba(lba), BlockCount(count)).unwrap(),
                            1 => disk.write_zeroes(Lba(lba), BlockCount(count), true).unwrap(),
                            _ => {
                                let byte = (seed * 80 + u64::from(round) % 80) as u8;
                                fill(disk, lba, count as usize, byte);
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(mismatches(disk, 0, blocks as usize), NONE, "a torn pair was read");
                }
            });
        }
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    assert_eq!(mismatches(disk, 0, blocks as usize), NONE, "a torn pair was left");
}

#[test]
fn no_torn_pair_within_one_region() {
    race(&Disk::open(&memory()).unwrap(), 48, 1500);
}

#[test]
fn no_torn_pair_across_regions() {
    let spec = DiskSpec { block_size: BlockSize::B4096, ..memory() };
    race(&Disk::open(&spec).unwrap(), 80, 1500);
}

#[test]
fn ranges_that_need_every_lock_do_not_deadlock() {
    let spec = DiskSpec { size: Some(ByteSize(64 << 20)), ..memory() };
    let disk = Disk::open(&spec).unwrap();
    let blocks = disk.geometry().blocks;
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..40u64 {
                    fill(disk, (thread * 9_973 + round * 3_571) % (blocks.0 - 600), 600, 7);
                    if round % 8 == 0 {
                        disk.discard(Lba(0), blocks).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(mismatches(&disk, 0, blocks.0 as usize), NONE);
    assert_eq!(read(&disk, 0, 1).0.len(), 512);
}
