//! Locks on ranges of blocks: data and tuples of a block change together, or not at all.
//!
//! A lock may outlive the call that took it: a transfer that is in flight has its range until it has
//! landed. Who waits for such a range makes it land himself, whichever queue it belongs to.
//!
//! The disk is cut into regions, which share [`STRIPES`] lists in turn, so that requests far from each
//! other never meet. A range stands in the list of each region that it touches. It enters them one
//! after the other in ascending order, and each list goes by the order of arrival: whoever is waited
//! for waits himself only further on, so nobody waits for ever.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::units::{BlockRange, BlockSize, QueueIndex};

/// How many lists there are.
const STRIPES: u64 = 256;

/// How many bytes of data a region has: most requests touch one or two.
const REGION_BYTES: u64 = 128 << 10;

/// The locks of one disk.
#[derive(Debug)]
pub(super) struct RangeLocks {
    stripes: Vec<Stripe>,
    blocks_per_region: u64,
}

/// Whether others may have the blocks at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Readers may.
    Shared,
    /// Nobody may.
    Exclusive,
}

/// A range that was taken, to be given back with [`RangeLocks::release`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a range that is never given back stays locked"]
pub(super) struct Claim {
    id: u64,
    range: BlockRange,
}

/// A range that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct LockedRange<'a> {
    locks: &'a RangeLocks,
    claim: Claim,
}

/// One list, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct List {
    /// Those who have a range or wait for it, in the order of their arrival.
    entries: Vec<Entry>,
    next: u64,
    sleepers: usize,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    range: BlockRange,
    mode: Mode,
    /// The queue whose transfer has it, once there is one.
    in_flight: Option<QueueIndex>,
}

impl Entry {
    fn excludes(&self, other: &Entry) -> bool {
        (self.mode == Mode::Exclusive || other.mode == Mode::Exclusive)
            && self.range.overlaps(other.range)
    }
}

impl RangeLocks {
    pub(super) fn new(block_size: BlockSize) -> RangeLocks {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        RangeLocks { stripes, blocks_per_region: REGION_BYTES / block_size.bytes_u64() }
    }

    /// Takes a range. `help` is called without any lock while a transfer of the queue given is in the
    /// way: it waits until one of that queue's has landed.
    pub(super) fn take(&self, range: BlockRange, mode: Mode, help: impl Fn(QueueIndex)) -> Claim {
        let mut id = None;
        for (number, stripe) in self.stripes_of(range) {
            let mut list = stripe.lock();
            // The first stripe gives the number; no two of them give the same.
            let id = *id.get_or_insert_with(|| list.take_number(number));
            list.entries.push(Entry { id, range, mode, in_flight: None });
            stripe.wait_for_turn(list, id, &help);
        }
        Claim { id: id.unwrap_or_default(), range }
    }

    /// As [`RangeLocks::take`], until the answer is dropped.
    pub(super) fn hold(
        &self,
        range: BlockRange,
        mode: Mode,
        help: impl Fn(QueueIndex),
    ) -> LockedRange<'_> {
        LockedRange { locks: self, claim: self.take(range, mode, help) }
    }

    /// A transfer of `queue` has this range now, and gives it back when it lands.
    pub(super) fn set_in_flight(&self, claim: Claim, queue: QueueIndex) {
        for (_, stripe) in self.stripes_of(claim.range) {
            let mut list = stripe.lock();
            // It may have landed, and given the range back, already.
            if let Some(entry) = list.entries.iter_mut().find(|entry| entry.id == claim.id) {
                entry.in_flight = Some(queue);
            }
            stripe.wake(&list);
        }
    }

    /// Gives a range back.
    pub(super) fn release(&self, claim: Claim) {
        for (_, stripe) in self.stripes_of(claim.range) {
            let mut list = stripe.lock();
            list.entries.retain(|entry| entry.id != claim.id);
            stripe.wake(&list);
        }
    }

    /// The stripes of a range, each once and in ascending order.
    fn stripes_of(&self, range: BlockRange) -> impl Iterator<Item = (usize, &Stripe)> {
        let [low, high] = self.numbers_of(range);
        low.chain(high).filter_map(|number| Some((number, self.stripes.get(number)?)))
    }

    /// Their numbers, as two ascending, disjoint ranges; the second is empty unless it wraps.
    fn numbers_of(&self, range: BlockRange) -> [Range<usize>; 2] {
        let all = self.stripes.len();
        if range.count.0 == 0 {
            return [0..0, 0..0];
        }
        let first = range.first.0 / self.blocks_per_region;
        let last = range.first.0.saturating_add(range.count.0 - 1) / self.blocks_per_region;
        let stripe = |region: u64| usize::try_from(region % STRIPES).unwrap_or(0);
        let (start, end) = (stripe(first), stripe(last));
        if last - first >= STRIPES - 1 {
            [0..all, all..all]
        } else if start <= end {
            [start..end + 1, all..all]
        } else {
            [0..end + 1, start..all]
        }
    }
}

impl Stripe {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody who came before `id` excludes it.
    fn wait_for_turn(&self, list: MutexGuard<'_, List>, id: u64, help: &impl Fn(QueueIndex)) {
        let mut list = list;
        loop {
            match list.in_the_way_of(id) {
                None => return,
                Some(None) => {
                    list.sleepers += 1;
                    list = self.changed.wait(list).unwrap_or_else(PoisonError::into_inner);
                    list.sleepers -= 1;
                }
                Some(Some(queue)) => {
                    drop(list);
                    help(queue);
                    list = self.lock();
                }
            }
        }
    }

    /// Wakes those who wait. Only where there are any: waking is a system call.
    fn wake(&self, list: &List) {
        if list.sleepers > 0 {
            self.changed.notify_all();
        }
    }
}

impl List {
    fn take_number(&mut self, stripe: usize) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number.wrapping_mul(STRIPES).wrapping_add(u64::try_from(stripe).unwrap_or(0))
    }

    /// The first who came before and excludes this one: the queue whose transfer it is, where it is
    /// one.
    fn in_the_way_of(&self, id: u64) -> Option<Option<QueueIndex>> {
        let this = self.entries.iter().find(|entry| entry.id == id)?;
        let mut earlier = self.entries.iter().take_while(|entry| entry.id != id);
        earlier.find(|entry| entry.excludes(this)).map(|entry| entry.in_flight)
    }
}

impl LockedRange<'_> {
    /// Keeps the range beyond this call.
    pub(super) fn keep(self) -> Claim {
        let claim = self.claim;
        std::mem::forget(self);
        claim
    }
}

impl Drop for LockedRange<'_> {
    fn drop(&mut self) {
        self.locks.release(self.claim);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::units::{BlockCount, Lba};
    use proptest::prelude::*;

    fn blocks(first: u64, count: u64) -> BlockRange {
        BlockRange::new(Lba(first), BlockCount(count))
    }

    fn locks() -> RangeLocks {
        RangeLocks::new(BlockSize::B512)
    }

    fn are_free(locks: &RangeLocks) -> bool {
        locks.stripes.iter().all(|stripe| {
            let list = stripe.lock();
            list.entries.is_empty() && list.sleepers == 0
        })
    }

    proptest! {
        #[test]
        fn every_block_of_the_range_is_covered_once(lba in 0u64..1 << 40, count in 0u64..200_000) {
            let taken: Vec<usize> =
                locks().numbers_of(blocks(lba, count)).into_iter().flatten().collect();
            prop_assert!(taken.is_sorted_by(|a, b| a < b), "{:?}", taken);
            let mut wanted: Vec<usize> = (lba..lba + count)
                .step_by(1)
                .map(|block| usize::try_from(block / 256 % 256).unwrap())
                .collect();
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(taken, wanted);
        }
    }

    #[test]
    fn only_what_overlaps_and_changes_waits() {
        let locks = locks();
        let nobody = |_| panic!("nothing is in the way");
        let reader = locks.take(blocks(250, 8), Mode::Shared, nobody);
        let other = locks.take(blocks(254, 8), Mode::Shared, nobody);
        let writer = locks.take(blocks(262, 4), Mode::Exclusive, nobody);
        let none = locks.take(blocks(252, 0), Mode::Exclusive, nobody);
        locks.set_in_flight(reader, QueueIndex(3));
        let helped = AtomicU64::new(0);
        let late = locks.take(blocks(250, 2), Mode::Exclusive, |queue| {
            assert_eq!(queue, QueueIndex(3));
            helped.fetch_add(1, Ordering::Relaxed);
            locks.release(reader);
        });
        assert_eq!(helped.load(Ordering::Relaxed), 1);
        [other, writer, none, late].into_iter().for_each(|claim| locks.release(claim));
        assert!(are_free(&locks));
    }

    #[test]
    fn who_comes_later_waits_for_a_writer_that_waits() {
        let locks = locks();
        let nobody = |_| panic!("no transfer is in the way");
        let reader = locks.take(blocks(0, 8), Mode::Shared, nobody);
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let note = |name, mode| {
                let held = locks.hold(blocks(0, 1), mode, nobody);
                order.lock().unwrap().push(name);
                drop(held);
            };
            scope.spawn(move || note("writer", Mode::Exclusive));
            while locks.stripes[0].lock().sleepers < 1 {
                std::thread::yield_now();
            }
            scope.spawn(move || note("reader", Mode::Shared));
            while locks.stripes[0].lock().sleepers < 2 {
                std::thread::yield_now();
            }
            locks.release(reader);
        });
        assert_eq!(order.into_inner().unwrap(), ["writer", "reader"]);
    }

    /// Ranges of one region, of two, of many that wrap around, and of all.
    #[test]
    fn writers_of_one_block_take_turns_and_nobody_waits_for_ever() {
        let (locks, inside) = (locks(), AtomicU64::new(0));
        let around = 256 * 256 - 2;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (locks, inside) = (&locks, &inside);
                scope.spawn(move || {
                    for round in 0..400 {
                        let range = match (round + thread) % 4 {
                            0 => blocks(around - round % 3, 10),
                            1 => blocks(around - 1000, 2000),
                            2 => blocks(0, u64::MAX),
                            _ => blocks(around, 1),
                        };
                        let _held = locks.hold(range, Mode::Exclusive, |_| {});
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(are_free(&locks));
    }
}
