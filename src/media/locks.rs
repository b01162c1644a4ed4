//! Locks on ranges of blocks: data and tuples of a block change together, or not at all.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::units::{BlockCount, BlockSize, Lba};

/// How many locks there are. Regions share them in turn.
const STRIPES: u64 = 256;

/// How many bytes of data a region has: most requests touch one or two.
const REGION_BYTES: u64 = 128 << 10;

/// The locks of one disk.
#[derive(Debug)]
pub(super) struct RangeLocks {
    stripes: Vec<RwLock<()>>,
    blocks_per_region: u64,
}

/// Locks that are held until this is dropped. The first stands apart: one lock needs no allocation.
#[derive(Debug)]
pub(super) struct Held<G> {
    _first: Option<G>,
    _rest: Vec<G>,
}

impl RangeLocks {
    pub(super) fn new(block_size: BlockSize) -> RangeLocks {
        let stripes = (0..STRIPES).map(|_| RwLock::new(())).collect();
        RangeLocks { stripes, blocks_per_region: REGION_BYTES / block_size.bytes_u64() }
    }

    /// Keeps writers out of `count` blocks at `lba`.
    pub(super) fn shared(&self, lba: Lba, count: BlockCount) -> Held<RwLockReadGuard<'_, ()>> {
        self.hold(lba, count, |lock| lock.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps everyone out of `count` blocks at `lba`.
    pub(super) fn exclusive(&self, lba: Lba, count: BlockCount) -> Held<RwLockWriteGuard<'_, ()>> {
        self.hold(lba, count, |lock| lock.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the locks of a range, each once and in ascending order, so that no two ranges deadlock.
    fn hold<'a, G>(
        &'a self,
        lba: Lba,
        count: BlockCount,
        take: impl Fn(&'a RwLock<()>) -> G,
    ) -> Held<G> {
        let [low, high] = self.stripes_of(lba, count);
        let mut locks = low.chain(high).filter_map(|stripe| self.stripes.get(stripe)).map(take);
        Held { _first: locks.next(), _rest: locks.collect() }
    }

    /// The stripes of a range as two ascending, disjoint ranges; the second is empty unless it wraps.
    fn stripes_of(&self, lba: Lba, count: BlockCount) -> [Range<usize>; 2] {
        let all = self.stripes.len();
        if count.0 == 0 {
            return [0..0, 0..0];
        }
        let first = lba.0 / self.blocks_per_region;
        let last = lba.0.saturating_add(count.0 - 1) / self.blocks_per_region;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_block_of_the_range_is_covered_once(lba in 0u64..1 << 40, count in 0u64..200_000) {
            let locks = RangeLocks::new(BlockSize::B512);
            let taken: Vec<usize> =
                locks.stripes_of(Lba(lba), BlockCount(count)).into_iter().flatten().collect();
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
    fn a_writer_excludes_readers_of_its_blocks_only() {
        let locks = RangeLocks::new(BlockSize::B512);
        let held = locks.exclusive(Lba(255), BlockCount(2));
        assert!(locks.stripes[0].try_read().is_err());
        assert!(locks.stripes[1].try_read().is_err());
        assert!(locks.stripes[2].try_write().is_ok());
        drop(held);
        let _reader = locks.shared(Lba(0), BlockCount(1));
        assert!(locks.stripes[0].try_read().is_ok());
        assert!(locks.stripes[0].try_write().is_err());
    }
}
