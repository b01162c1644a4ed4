//! What is remembered about blocks until they are overwritten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::units::{BlockCount, Lba};

/// The most items that are remembered; a guest must not be able to fill the daemon's memory.
const MAX_ITEMS: usize = 1 << 20;

/// Items by block. All it costs is one atomic load while there are none.
#[derive(Debug)]
pub struct ByBlock<T> {
    items: Mutex<HashMap<Lba, Vec<T>>>,
    count: AtomicUsize,
}

impl<T> Default for ByBlock<T> {
    fn default() -> Self {
        ByBlock { items: Mutex::default(), count: AtomicUsize::new(0) }
    }
}

impl<T> ByBlock<T> {
    /// Remembers an item; forgets it at once where there are too many.
    pub fn add(&self, lba: Lba, item: T) {
        if self.count.load(Ordering::Acquire) >= MAX_ITEMS {
            return;
        }
        self.lock().entry(lba).or_default().push(item);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether anything is remembered about a block.
    pub fn has(&self, lba: Lba) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains_key(&lba)
    }

    /// Takes out what is remembered about these blocks.
    pub fn take(&self, first: Lba, blocks: BlockCount) -> Vec<T> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let taken = take_range(&mut self.lock(), first, blocks);
        self.count.fetch_sub(taken.len(), Ordering::AcqRel);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lba, Vec<T>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Walks whichever is shorter: the range or the map.
fn take_range<T>(items: &mut HashMap<Lba, Vec<T>>, first: Lba, blocks: BlockCount) -> Vec<T> {
    let inside = |lba: &Lba| lba.0.checked_sub(first.0).is_some_and(|at| at < blocks.0);
    let covered: Vec<Lba> = if blocks.0 <= items.len() as u64 {
        (0..blocks.0).map(|i| first.offset(i)).filter(|lba| items.contains_key(lba)).collect()
    } else {
        items.keys().copied().filter(inside).collect()
    };
    covered.iter().filter_map(|lba| items.remove(lba)).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(items: &ByBlock<u64>, first: u64, blocks: u64) -> Vec<u64> {
        let mut taken = items.take(Lba(first), BlockCount(blocks));
        taken.sort_unstable();
        taken
    }

    #[test]
    fn only_covered_blocks_are_taken_and_only_once() {
        let items = ByBlock::default();
        for (lba, item) in [(5, 1), (5, 2), (6, 3), (9, 4)] {
            items.add(Lba(lba), item);
        }
        assert!(items.has(Lba(9)) && !items.has(Lba(8)));
        assert!(taken(&items, 0, 5).is_empty());
        assert_eq!(taken(&items, 4, 2), [1, 2]);
        assert_eq!(taken(&items, 0, u64::MAX), [3, 4]);
        assert!(taken(&items, 0, u64::MAX).is_empty() && !items.has(Lba(9)));
    }
}
