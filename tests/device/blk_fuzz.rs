//! Random descriptor tables, thousands of them, from a seed that the failure names.

use std::time::Duration;

use crate::kit::daemon::image_is_sound;
use crate::kit::memory::{HIGH, HIGH_BYTES, LOW, LOW_BYTES};
use crate::kit::ring::{Desc, INDIRECT, NEXT, Ring, WRITE};
use crate::kit::*;

const ROUNDS: u64 = 3000;
/// Where request headers lie, one every 64 bytes.
const HEADERS: u64 = HIGH + HIGH_BYTES / 2;
const HEADER_COUNT: u64 = 256;
/// Types that leave the disk as it is.
const HARMLESS: [u32; 4] = [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_FLUSH, 77];
/// Types that change it.
const HARMFUL: [u32; 4] =
    [VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES];

/// The fuzzing guest: hostile on ring 1, honest on ring 0.
struct Fuzzer {
    random: Random,
    kinds: Vec<u32>,
}

impl Fuzzer {
    /// Somewhere: mostly memory, sometimes its edges, sometimes nowhere. Never the rings.
    fn address(&mut self) -> u64 {
        let random = &mut self.random;
        match random.below(12) {
            0 => random.next(),
            1 => LOW + LOW_BYTES - random.below(600),
            2 => HIGH - random.below(600),
            3 => HIGH + HIGH_BYTES - random.below(600),
            4 => u64::MAX - random.below(5000),
            5..=8 => HEADERS + 64 * random.below(HEADER_COUNT),
            _ => HEADERS + random.below(HIGH_BYTES / 4),
        }
    }

    fn length(&mut self) -> u32 {
        let random = &mut self.random;
        match random.below(8) {
            0 => random.next() as u32,
            1 => 0,
            2 => 16 * (1 + random.below(8) as u32),
            3 | 4 => 16,
            5 => 1,
            _ => 512 * (1 + random.below(8) as u32),
        }
    }

    fn descriptor(&mut self, size: u16) -> Desc {
        let mut flags = 0;
        for (flag, one_in) in [(NEXT, 2), (WRITE, 2), (INDIRECT, 8)] {
            if self.random.below(one_in) == 0 {
                flags |= flag;
            }
        }
        let (addr, len, next) = (self.address(), self.length(), self.index(size, 12));
        Desc { addr, len, flags, next }
    }

    /// A descriptor's index, one in so many past the table.
    fn index(&mut self, size: u16, wrong_one_in: u64) -> u16 {
        let random = &mut self.random;
        let wrong = random.below(wrong_one_in) == 0;
        (if wrong { random.next() } else { random.below(u64::from(size)) }) as u16
    }

    /// Writes a new header of a random type; answers with its address and whether data goes out.
    fn header(&mut self, guest: &Guest) -> (u64, bool) {
        let kind = self.kinds[self.random.below(self.kinds.len() as u64) as usize];
        let at = HEADERS + 64 * self.random.below(HEADER_COUNT);
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&self.random.below(2100).to_le_bytes());
        guest.memory.write(at, &header);
        (at, HARMFUL.contains(&kind))
    }

    /// A chain as an honest driver would make it, in neighbouring descriptors from `first` on.
    fn honest_chain(&mut self, guest: &Guest, first: u16) -> Vec<Desc> {
        let (header, out) = self.header(guest);
        let mut chain = vec![Desc { addr: header, len: 16, flags: NEXT, next: first + 1 }];
        for next in (first + 2..).take(self.random.below(3) as usize) {
            let len = 512 * (1 + self.random.below(8) as u32);
            // Now and then a discard's range is read out of the headers.
            let addr = HEADERS + 4096 * self.random.below(1024);
            chain.push(Desc { addr, len, flags: if out { NEXT } else { NEXT | WRITE }, next });
        }
        let addr = HEADERS + HIGH_BYTES / 4 - 1 - self.random.below(4096);
        chain.push(Desc { addr, len: 1, flags: WRITE, next: 0 });
        chain
    }

    /// Breaks one field of a descriptor.
    fn spoil(&mut self, desc: &mut Desc, size: u16) {
        let other = self.descriptor(size);
        match self.random.below(4) {
            0 => desc.addr = other.addr,
            1 => desc.len = other.len,
            2 => desc.flags = other.flags,
            _ => desc.next = other.next,
        }
    }

    /// A table of honest chains with a few fields spoilt, and their heads.
    fn spoilt_table(&mut self, guest: &Guest, size: u16) -> (Vec<Desc>, Vec<u16>) {
        let (mut table, mut heads) = (Vec::new(), Vec::new());
        while table.len() + 4 <= usize::from(size) {
            heads.push(table.len() as u16);
            let chain = self.honest_chain(guest, table.len() as u16);
            table.extend(chain);
        }
        for _ in 0..self.random.below(3) {
            let at = self.random.below(table.len() as u64) as usize;
            self.spoil(&mut table[at], size);
        }
        (table, heads)
    }

    /// A table of nothing but random descriptors, and random heads.
    fn wild_table(&mut self, size: u16) -> (Vec<Desc>, Vec<u16>) {
        let table = (0..size).map(|_| self.descriptor(size)).collect();
        let heads = (0..=self.random.below(4)).map(|_| self.index(size, 20)).collect();
        (table, heads)
    }

    /// One round on ring 1: a table, its heads, a doorbell.
    fn round(&mut self, guest: &Guest, ring: &mut Ring) {
        let wild = self.random.below(3) == 0;
        let (table, heads) =
            if wild { self.wild_table(ring.size) } else { self.spoilt_table(guest, ring.size) };
        for (index, desc) in (0..).zip(table) {
            ring.set_desc(index, desc);
        }
        heads.into_iter().for_each(|head| ring.expose(head));
        if self.random.below(50) == 0 {
            ring.set_avail_idx(self.random.next() as u16);
        }
        ring.kick();
    }

    /// All rounds. Ring 0 reads in between, and what it reads has to verify.
    fn run(&mut self, guest: &mut Guest) {
        for number in 0..ROUNDS {
            let mut ring = guest.rings.pop().expect("ring 1");
            self.round(guest, &mut ring);
            guest.rings.push(ring);
            if number % 2 == 0 {
                // Time to look at some of it before it is taken away.
                std::thread::sleep(Duration::from_micros(500));
                guest.restart_ring(1);
            }
            if number % 50 == 0 {
                guest.must_read(number % 2000, 4096);
            }
        }
        guest.restart_ring(1);
    }
}

/// A daemon with a full disk, its guest and the disk's bytes; the seed is the failure's name.
fn stage(kinds: &[u32]) -> (Daemon, Guest, Fuzzer, Vec<u8>) {
    let seed = std::env::var("DIXTRAP_FUZZ_SEED").map_or(0xD1F, |text| text.parse().unwrap());
    eprintln!("DIXTRAP_FUZZ_SEED={seed}");
    let daemon = Daemon::start(&["--window", "uniform:0..200us", "--num-queues", "2"]);
    let mut guest = daemon.plug(Plug { queues: 2, ring_size: 32, ..Plug::default() });
    let disk = pattern(seed, 1 << 20);
    assert_eq!(guest.write(0, &disk), OK);
    (daemon, guest, Fuzzer { random: Random::new(seed), kinds: kinds.to_vec() }, disk)
}

/// Both rings work, the daemon ends well and its image is sound.
fn unharmed(daemon: Daemon, mut guest: Guest) -> crate::kit::records::Records {
    guest.proves_it_works(0, 0);
    guest.proves_it_works(1, 8);
    drop(guest);
    let (image, _dir) = (daemon.disk(), daemon.dir());
    let records = daemon.stop();
    assert!(records.medium_faults().is_empty());
    let (broken, counters) = (records.broken().len(), records.stop());
    assert!(broken > 10, "only {broken} broken rings: the rounds did not reach far");
    eprintln!("{broken} broken rings, {counters:?}");
    image_is_sound(&image);
    records
}

#[test]
fn random_chains_that_only_read_change_nothing() {
    let (daemon, mut guest, mut fuzzer, disk) = stage(&HARMLESS);
    fuzzer.run(&mut guest);
    assert!(guest.must_read(0, 1 << 20) == disk, "the disk changed");
    let counters = unharmed(daemon, guest).stop().clone();
    assert!(counters.errors > 100 && counters.reads > 100, "the rounds did not reach far");
}

#[test]
fn random_chains_that_write_leave_a_sound_disk() {
    let (daemon, mut guest, mut fuzzer, _) = stage(&[HARMLESS, HARMFUL].concat());
    fuzzer.run(&mut guest);
    guest.must_read(0, 1 << 20);
    let counters = unharmed(daemon, guest).stop().clone();
    assert!(counters.errors > 100 && counters.writes > 20, "the rounds did not reach far");
}
