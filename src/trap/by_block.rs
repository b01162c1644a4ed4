//! What is remembered about blocks until they are overwritten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::units::{BlockCount, BlockRange, Lba};

/// The most items that are remembered; a guest must not be able to fill the daemon's memory.
const MAX_ITEMS: usize = 1 << 20;

/// A block of one of the daemon's disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The logical unit.
    pub unit: u16,
    /// The block.
    pub lba: Lba,
}

impl Place {
    /// The block that comes so many after this one.
    pub fn offset(self, blocks: u64) -> Place {
        Place { lba: self.lba.offset(blocks), ..self }
    }
}

/// Items by block. All it costs is one atomic load while there are none.
#[derive(Debug)]
pub struct ByBlock<T> {
    items: Mutex<HashMap<Place, Vec<T>>>,
    count: AtomicUsize,
}

impl<T> Default for ByBlock<T> {
    fn default() -> Self {
        ByBlock { items: Mutex::default(), count: AtomicUsize::new(0) }
    }
}

impl<T> ByBlock<T> {
    /// Remembers an item; forgets it at once where there are too many.
    pub fn add(&self, place: Place, item: T) {
        if self.count.load(Ordering::Acquire) >= MAX_ITEMS {
            return;
        }
        self.lock().entry(place).or_default().push(item);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether anything is remembered about a block.
    pub fn has(&self, place: Place) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains_key(&place)
    }

    /// Takes out what is remembered about these blocks.
    pub fn take(&self, first: Place, blocks: BlockCount) -> Vec<T> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let taken = take_range(&mut self.lock(), first, blocks);
        self.count.fetch_sub(taken.len(), Ordering::AcqRel);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Vec<T>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs of a range that have none of `marked`, which come in the order of the blocks.
pub fn runs_without(
    range: BlockRange,
    marked: impl Iterator<Item = Lba>,
) -> impl Iterator<Item = BlockRange> {
    let (mut next, end) = (range.first, range.end());
    let stops = marked.filter(move |lba| *lba < end).chain(std::iter::once(end));
    stops.filter_map(move |stop| {
        let run = BlockRange::new(next, BlockCount(stop.0.saturating_sub(next.0)));
        next = next.max(stop.offset(1));
        (run.count > BlockCount(0)).then_some(run)
    })
}

/// Walks whichever is shorter: the range or the map.
fn take_range<T>(items: &mut HashMap<Place, Vec<T>>, first: Place, blocks: BlockCount) -> Vec<T> {
    let inside = |place: &Place| {
        let index = place.lba.0.checked_sub(first.lba.0);
        place.unit == first.unit && index.is_some_and(|index| index < blocks.0)
    };
    let covered: Vec<Place> = if blocks.0 <= items.len() as u64 {
        (0..blocks.0).map(|i| first.offset(i)).filter(|place| items.contains_key(place)).collect()
    } else {
        items.keys().copied().filter(inside).collect()
    };
    covered.iter().filter_map(|place| items.remove(place)).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lba: u64) -> Place {
        Place { unit: 1, lba: Lba(lba) }
    }

    fn taken(items: &ByBlock<u64>, first: u64, blocks: u64) -> Vec<u64> {
        let mut taken = items.take(at(first), BlockCount(blocks));
        taken.sort_unstable();
        taken
    }

    #[test]
    fn only_covered_blocks_are_taken_and_only_once() {
        let items = ByBlock::default();
        for (lba, item) in [(5, 1), (5, 2), (6, 3), (9, 4)] {
            items.add(at(lba), item);
        }
        assert!(items.has(at(9)) && !items.has(at(8)));
        assert!(taken(&items, 0, 5).is_empty());
        assert_eq!(taken(&items, 4, 2), [1, 2]);
        assert_eq!(taken(&items, 0, u64::MAX), [3, 4]);
        assert!(taken(&items, 0, u64::MAX).is_empty() && !items.has(at(9)));
    }

    #[test]
    fn runs_lie_between_what_is_marked() {
        let runs = |count, marked: &[u64]| -> Vec<(u64, u64)> {
            let range = BlockRange::new(Lba(10), BlockCount(count));
            let runs = runs_without(range, marked.iter().copied().map(Lba));
            runs.map(|run| (run.first.0, run.count.0)).collect()
        };
        assert_eq!(runs(4, &[]), [(10, 4)]);
        assert_eq!(runs(4, &[10, 12, 12]), [(11, 1), (13, 1)]);
        assert_eq!(runs(4, &[13, 14, 99]), [(10, 3)]);
        assert_eq!(runs(0, &[10]), []);
        assert_eq!(runs(2, &[10, 11]), []);
    }

    #[test]
    fn the_same_block_of_another_disk_is_another_block() {
        let items = ByBlock::default();
        items.add(at(5), 1);
        let other = Place { unit: 0, lba: Lba(5) };
        assert!(!items.has(other));
        assert!(items.take(other, BlockCount(1)).is_empty());
        assert!(items.take(Place { lba: Lba(0), ..other }, BlockCount(u64::MAX)).is_empty());
        assert_eq!(taken(&items, 0, u64::MAX), [1]);
    }
}
