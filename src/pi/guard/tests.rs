//! Every backend that this machine has, against the `crc` crate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::*;
use proptest::prelude::*;

const STORES: [Store; 2] = [Store::Cached, Store::Streaming];

/// Bytes without a pattern that a guard could cancel: xorshift64*.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// SBC-4 §4.21.4.4, table "CRC test cases": 32 bytes each. Last the catalogue's check value.
#[test]
fn published_vectors() {
    let rising: Vec<u8> = (0..32).collect();
    let mut first_two = [0; 32];
    first_two[..2].fill(0xFF);
    for backend in CrcBackend::available() {
        let expect =
            |data: &[u8], tag| assert_eq!(backend.guard(data), GuardTag(tag), "{backend:?}");
        expect(&[0; 32], 0x0000);
        expect(&[0xFF; 32], 0xA293);
        expect(&rising, 0x0224);
        expect(&first_two, 0x21B8);
        expect(b"123456789", 0xD0DB);
    }
}

#[test]
fn the_portable_backend_is_there_and_the_best_is_the_first() {
    let all: Vec<CrcBackend> = CrcBackend::available().collect();
    assert_eq!(all.first(), Some(&CrcBackend::best()));
    assert_eq!(all.last().map(|backend| backend.name()), Some("portable"));
}

#[test]
fn every_length_at_every_alignment() {
    let data = noise(1100 + 64);
    for backend in CrcBackend::available() {
        for start in 0..64 {
            for len in 0..=1100 {
                let data = &data[start..start + len];
                assert_eq!(backend.guard(data).0, table::guard(data), "{backend:?} {start} {len}");
            }
        }
    }
}

/// Copies `len` bytes from and to these offsets: the guard, the copy, and that nothing else changed.
fn check_copy(backend: CrcBackend, store: Store, data: &[u8], len: usize, from: usize, to: usize) {
    let src = &data[from..from + len];
    let mut room = Aligned(vec![[0xA5; 64]; (to + len).div_ceil(64) + 2]);
    let room = room.bytes();
    let dst = &mut room[64 + to..64 + to + len];
    let guard = match store {
        Store::Cached => backend.copy_guard(dst, src),
        Store::Streaming if len == 0 => GuardTag(0),
        Store::Streaming => streamed(backend, dst, src),
    };
    let place = format!("{backend:?} {store:?} {len} from {from} to {to}");
    assert_eq!(guard.0, table::guard(src), "{place}");
    assert_eq!(&room[64 + to..64 + to + len], src, "{place}");
    assert!(room[..64 + to].iter().all(|byte| *byte == 0xA5), "{place}");
    assert!(room[64 + to + len..].iter().all(|byte| *byte == 0xA5), "{place}");
}

/// A copy past the caches, as a run of one block.
fn streamed(backend: CrcBackend, dst: &mut [u8], src: &[u8]) -> GuardTag {
    let mut guards = [GuardTag(0xFFFF)];
    // SAFETY: a borrow of the same length.
    unsafe { backend.copy_guards_from(Store::Streaming, dst, src.as_ptr(), &mut guards) };
    guards[0]
}

/// Memory that begins on a cache line.
struct Aligned(Vec<[u8; 64]>);

impl Aligned {
    /// A place of 64-byte alignment and what follows it.
    fn bytes(&mut self) -> &mut [u8] {
        let bytes = self.0.as_flattened_mut();
        let start = bytes.as_ptr().align_offset(64);
        &mut bytes[start..]
    }
}

#[test]
fn copies_of_every_length() {
    let data = noise(1100 + 64);
    for backend in CrcBackend::available() {
        for store in STORES {
            for len in 0..=1100 {
                check_copy(backend, store, &data, len, len % 64, len % 31);
            }
        }
    }
}

#[test]
fn copies_at_every_alignment() {
    let data = noise(1536 + 64);
    for backend in CrcBackend::available() {
        for store in STORES {
            for place in 0..64 {
                check_copy(backend, store, &data, 1536, place, 0);
                check_copy(backend, store, &data, 1024, 0, place);
                check_copy(backend, store, &data, 777, place, 63 - place);
            }
        }
    }
}

#[test]
fn blocks_in_a_row() {
    let data = noise(9 * 4104);
    for backend in CrcBackend::available() {
        for block in [1, 15, 16, 512, 520, 4096, 4104] {
            for count in 0..=9 {
                let data = &data[..count * block];
                let expected: Vec<_> =
                    data.chunks(block).map(|block| GuardTag(table::guard(block))).collect();
                let mut guards = vec![GuardTag(0xFFFF); count];
                backend.guards(data, &mut guards);
                assert_eq!(guards, expected, "{backend:?} {block}");
                for store in STORES {
                    let mut room = Aligned(vec![[0; 64]; data.len() / 64 + 2]);
                    let dst = &mut room.bytes()[..data.len()];
                    guards.fill(GuardTag(0xFFFF));
                    // SAFETY: a borrow of the same length.
                    unsafe { backend.copy_guards_from(store, dst, data.as_ptr(), &mut guards) };
                    assert_eq!(guards, expected, "{backend:?} {store:?} {block}");
                    assert_eq!(dst, data, "{backend:?} {store:?} {block}");
                }
            }
        }
    }
}

/// Compares with a copy in which each of these bytes is another.
fn check_compared(backend: CrcBackend, data: &[u8], block: usize, changed: &[usize]) {
    let mut earlier = data.to_vec();
    changed.iter().for_each(|at| earlier[*at] ^= 0x10);
    let expected: Vec<_> = data.chunks(block).map(|block| GuardTag(table::guard(block))).collect();
    let mut guards = vec![GuardTag(0xFFFF); expected.len()];
    let mut dst = vec![0; data.len()];
    // SAFETY: a borrow of the same length.
    let found =
        unsafe { backend.copy_guards_compared(&mut dst, data.as_ptr(), &earlier, &mut guards) };
    let place = format!("{backend:?} {block} {changed:?}");
    assert_eq!(found, !changed.is_empty(), "{place}");
    assert_eq!(guards, expected, "{place}");
    assert_eq!(dst, data, "{place}");
}

#[test]
fn a_change_of_any_byte_is_seen() {
    let data = noise(3 * 1032);
    for backend in CrcBackend::available() {
        for block in [1, 15, 16, 512, 520, 1024, 1032] {
            let data = &data[..3 * block];
            check_compared(backend, data, block, &[]);
            for at in 0..data.len() {
                check_compared(backend, data, block, &[at]);
            }
        }
    }
}

#[test]
fn delivered_blocks() {
    let data = noise(34 * 4104 + 64);
    for backend in CrcBackend::available() {
        for (block, count) in
            [(1, 9), (16, 34), (512, 0), (512, 3), (512, 257), (520, 34), (4096, 9), (4104, 33)]
        {
            for shift in [0, 1, 33] {
                let data = &data[shift..][..count * block];
                let expected: Vec<_> =
                    data.chunks(block).map(|block| GuardTag(table::guard(block))).collect();
                let mut guards = vec![GuardTag(0xFFFF); count];
                let mut room = vec![0xA5; data.len() + 200];
                let to = room.as_mut_ptr().wrapping_add(100 + shift);
                // SAFETY: a borrow of the same length, and there is room.
                let done =
                    unsafe { backend.deliver_guards(to, data.as_ptr(), data.len(), &mut guards) };
                assert_eq!(done, backend.name() != "portable");
                if !done {
                    assert!(room.iter().all(|byte| *byte == 0xA5));
                    continue;
                }
                let (before, rest) = room.split_at(100 + shift);
                assert_eq!(guards, expected, "{backend:?} {block} x {count}");
                assert_eq!(&rest[..data.len()], data, "{backend:?} {block} x {count}");
                assert!(before.iter().chain(&rest[data.len()..]).all(|byte| *byte == 0xA5));
            }
        }
    }
}

#[test]
#[should_panic(expected = "the blocks are not of one size")]
fn uneven_blocks_are_refused() {
    guards(&[0; 1000], &mut [GuardTag(0); 3]);
}

#[test]
#[should_panic(expected = "blocks of no bytes")]
fn empty_blocks_are_refused() {
    guards(&[], &mut [GuardTag(0); 3]);
}

#[test]
#[should_panic(expected = "copy and source differ in length")]
fn a_short_copy_is_refused() {
    copy_guard(&mut [0; 511], &[0; 512]);
}

/// Another thread writes all the while: whatever was caught, the guard is that of the copy.
#[test]
fn the_guard_is_that_of_the_copy_while_the_source_changes() {
    let source: Vec<AtomicU64> = (0..SOURCE_WORDS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let caught: Vec<[usize; 2]> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(Relaxed) {
                round = round.wrapping_add(0x0123_4567_89AB_CDEF);
                source.iter().for_each(|word| word.store(round, Relaxed));
            }
        });
        let caught = CrcBackend::available().map(|backend| copies_that_changed(backend, &source));
        let caught = caught.collect();
        stop.store(true, Relaxed);
        caught
    });
    for [changed, wrong] in &caught {
        assert!(*changed > 0, "no copy saw a change: {caught:?}");
        assert_eq!(*wrong, 0, "{caught:?}");
    }
}

/// A copy of eight blocks, and a word more for alignments.
const SOURCE_WORDS: usize = 8 * 512 / 8 + 1;

/// Copies until the source has changed during twenty copies, for ten seconds at most. Returns how
/// often it did, and how many guards were not their copy's.
fn copies_that_changed(backend: CrcBackend, source: &[AtomicU64]) -> [usize; 2] {
    let end = Instant::now() + Duration::from_secs(10);
    let [mut changed, mut wrong] = [0; 2];
    for round in 0.. {
        if changed == 20 || Instant::now() > end {
            break;
        }
        let mut dst = [0; 4096];
        let mut guards = [GuardTag(0); 8];
        let src = source.as_ptr().cast::<u8>().wrapping_add(round % 8);
        // SAFETY: the source is a word longer than the copy, and written atomically only.
        unsafe { backend.copy_guards_from(STORES[round % 2], &mut dst, src, &mut guards) };
        let blocks = dst.chunks(512).zip(guards);
        wrong += blocks.filter(|(block, guard)| table::guard(block) != guard.0).count();
        // SAFETY: the same.
        let guard = unsafe { backend.copy_guard_from(&mut dst, src) };
        wrong += usize::from(table::guard(&dst) != guard.0);
        // What is said of an earlier copy is said of the bytes that were copied now.
        let earlier = dst;
        // SAFETY: the same.
        let differs = unsafe { backend.copy_guards_compared(&mut dst, src, &earlier, &mut guards) };
        let blocks = dst.chunks(512).zip(guards);
        wrong += blocks.filter(|(block, guard)| table::guard(block) != guard.0).count();
        wrong += usize::from(differs != (dst != earlier));
        changed += usize::from(dst[0..8] != dst[4088..]);
    }
    [changed, wrong]
}

proptest! {
    #[test]
    fn any_bytes_up_to_64_kib(seed in proptest::collection::vec(any::<u8>(), 1..300), len in 0_usize..=65_536, start in 0_usize..64, to in 0_usize..64) {
        let data: Vec<u8> = seed.iter().copied().cycle().take(start + len).enumerate().map(|(at, byte)| byte ^ at.to_le_bytes()[1]).collect();
        for backend in CrcBackend::available() {
            prop_assert_eq!(backend.guard(&data[start..]).0, table::guard(&data[start..]));
            check_copy(backend, Store::Cached, &data, len, start, to);
            check_copy(backend, Store::Streaming, &data, len, start, 0);
            if len > 0 {
                check_compared(backend, &data[start..], len, &[]);
                check_compared(backend, &data[start..], len, &[to * len / 64]);
            }
        }
    }

    #[test]
    fn pieces_equal_the_whole(data in proptest::collection::vec(any::<u8>(), 0..5000), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
        at.extend([0, data.len()]);
        at.sort_unstable();
        for backend in CrcBackend::available() {
            let mut pieces = Guard::new();
            for pair in at.windows(2) {
                let piece = &data[pair[0]..pair[1]];
                pieces.append(backend.guard(piece), piece.len());
            }
            prop_assert_eq!(pieces.finish().0, table::guard(&data));
        }
        let mut pieces = Guard::new();
        at.windows(2).for_each(|pair| pieces.update(&data[pair[0]..pair[1]]));
        prop_assert_eq!(pieces.finish(), guard(&data));
    }
}
