//! Races that no later clean write has covered yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::tally::Span;
use crate::clock::Moment;
use crate::record::RaceId;
use crate::units::{BlockCount, Lba};

/// The most races that are watched for healing; a guest must not be able to fill the daemon's memory.
/// Races beyond it stay counted as standing, which overstates and never hides.
const MAX_WATCHED: usize = 1 << 20;

/// A race that stands.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its number.
    pub race: RaceId,
    /// When its data was fetched.
    pub at: Moment,
    /// The label it counts for.
    pub span: Arc<Span>,
}

/// The standing races by block.
#[derive(Debug, Default)]
pub struct Standing {
    by_block: Mutex<HashMap<Lba, Vec<Open>>>,
    watched: AtomicUsize,
}

impl Standing {
    /// Watches a race.
    pub fn add(&self, lba: Lba, open: Open) {
        if self.watched.load(Ordering::Acquire) >= MAX_WATCHED {
            return;
        }
        let mut by_block = self.by_block.lock().unwrap_or_else(PoisonError::into_inner);
        by_block.entry(lba).or_default().push(open);
        self.watched.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes out the races that a clean write of these blocks covers.
    ///
    /// Costs one atomic load while nothing stands.
    pub fn heal(&self, first: Lba, blocks: BlockCount) -> Vec<Open> {
        if self.watched.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut by_block = self.by_block.lock().unwrap_or_else(PoisonError::into_inner);
        let healed = take_range(&mut by_block, first, blocks);
        self.watched.fetch_sub(healed.len(), Ordering::AcqRel);
        healed
    }
}

/// Walks whichever is shorter: the range or the map.
fn take_range(by_block: &mut HashMap<Lba, Vec<Open>>, first: Lba, blocks: BlockCount) -> Vec<Open> {
    let inside = |lba: &Lba| lba.0.checked_sub(first.0).is_some_and(|at| at < blocks.0);
    let covered: Vec<Lba> = if blocks.0 <= by_block.len() as u64 {
        (0..blocks.0).map(|i| first.offset(i)).filter(|lba| by_block.contains_key(lba)).collect()
    } else {
        by_block.keys().copied().filter(inside).collect()
    };
    covered.iter().filter_map(|lba| by_block.remove(lba)).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::tally::Tally;

    fn open(id: u64) -> Open {
        Open { race: RaceId(id), at: Moment(0), span: Tally::new().open() }
    }

    fn healed(standing: &Standing, first: u64, blocks: u64) -> Vec<u64> {
        let mut ids: Vec<u64> =
            standing.heal(Lba(first), BlockCount(blocks)).iter().map(|open| open.race.0).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn only_covered_blocks_heal_and_only_once() {
        let standing = Standing::default();
        for (lba, id) in [(5, 1), (5, 2), (6, 3), (9, 4)] {
            standing.add(Lba(lba), open(id));
        }
        assert!(healed(&standing, 0, 5).is_empty());
        assert_eq!(healed(&standing, 4, 2), [1, 2]);
        assert_eq!(healed(&standing, 0, u64::MAX), [3, 4]);
        assert!(healed(&standing, 0, u64::MAX).is_empty());
    }
}
