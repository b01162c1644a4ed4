//! Random descriptor tables, thousands of them, from a seed that the failure names.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code states what it knows"
)]

mod common;

use common::memory::{HIGH, HIGH_BYTES, LOW, LOW_BYTES};
use common::ring::{Desc, INDIRECT, NEXT, WRITE};
use common::*;

const ROUNDS: u64 = 3000;

/// Somewhere: mostly memory, sometimes its edges, sometimes nowhere.
fn address(random: &mut Random) -> u64 {
    match random.below(10) {
        0 => random.next(),
        1 => LOW + LOW_BYTES - random.below(600),
        2 => HIGH - random.below(600),
        3 => HIGH + HIGH_BYTES - random.below(600),
        4 => u64::MAX - random.below(5000),
        // Never the rings of the other queue, which has to go on working.
        _ => HIGH + HIGH_BYTES / 2 + random.below(HIGH_BYTES / 4),
    }
}

fn length(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => random.next() as u32,
        1 => 0,
        2 => 16 * (1 + random.below(8) as u32),
        3 => 16,
        4 => 1,
        _ => 512 * (1 + random.below(8) as u32),
    }
}

fn descriptor(random: &mut Random, size: u16) -> Desc {
    let mut flags = 0;
    for (flag, one_in) in [(NEXT, 2), (WRITE, 2), (INDIRECT, 8)] {
        if random.below(one_in) == 0 {
            flags |= flag;
        }
    }
    let next = if random.below(12) == 0 {
        random.next() as u16
    } else {
        random.below(u64::from(size)) as u16
    };
    Desc { addr: address(random), len: length(random), flags, next }
}

/// A request header of a random type; never one that changes the disk, so that it can be compared.
fn scatter_headers(memory: &common::memory::Memory, random: &mut Random) {
    for _ in 0..4 {
        let at = HIGH + HIGH_BYTES / 2 + random.below(HIGH_BYTES / 4);
        let kind = [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_FLUSH, 77]
            [random.below(4) as usize];
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&random.below(4096).to_le_bytes());
        memory.write(at, &header);
    }
}

/// One round on ring 1: a random table, a few random heads, a doorbell.
fn round(guest: &mut Guest, random: &mut Random) {
    let size = guest.rings[1].size;
    for index in 0..size {
        guest.rings[1].set_desc(index, descriptor(random, size));
    }
    for _ in 0..1 + random.below(4) {
        let head = if random.below(20) == 0 {
            random.next() as u16
        } else {
            random.below(u64::from(size)) as u16
        };
        guest.rings[1].expose(head);
    }
    if random.below(50) == 0 {
        guest.rings[1].set_avail_idx(random.next() as u16);
    }
    guest.rings[1].kick();
}

#[test]
fn random_chains_hurt_nobody_else() {
    let seed = std::env::var("DIXTRAP_FUZZ_SEED").map_or(0xD1F, |text| text.parse().unwrap());
    eprintln!("DIXTRAP_FUZZ_SEED={seed}");
    let daemon = Daemon::start(&["--window", "uniform:0..200us", "--num-queues", "2"]);
    let mut guest = daemon.plug(Plug { queues: 2, ring_size: 32, ..Plug::default() });
    let disk = pattern(seed, 1 << 20);
    assert_eq!(guest.write(0, &disk), OK);
    let mut random = Random::new(seed);
    for number in 0..ROUNDS {
        scatter_headers(&guest.memory, &mut random);
        round(&mut guest, &mut random);
        if number % 4 == 0 {
            guest.restart_ring(1);
        }
        if number % 100 == 0 {
            guest.must_read(number % 2000, 4096);
        }
    }
    guest.restart_ring(1);
    assert_eq!(guest.must_read(0, 1 << 20), disk, "seed {seed}");
    guest.proves_it_works(0, 0);
    guest.proves_it_works(1, 8);
    drop(guest);
    let records = daemon.stop();
    assert!(records.medium_faults().is_empty());
    let (broken, errors) = (records.broken().len(), records.stop().errors);
    assert!(broken > 10, "only {broken} broken rings: the rounds did not reach far");
    eprintln!("{broken} broken rings, {errors} errors answered");
}
