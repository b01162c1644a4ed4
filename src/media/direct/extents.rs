//! Locks on ranges of blocks that outlive the call that took them.
//!
//! They are given in the order in which they are asked for: who waits for one waits for earlier ones
//! only, so nobody waits for ever. A range whose transfer is under way is freed by whoever reaps that
//! transfer; who waits for it does that himself, whichever queue it belongs to.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use super::super::locks::Held;
use crate::units::{BlockCount, Lba, QueueIndex};

/// A lock's number; later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentId(u64);

/// Ranges that are taken, or asked for.
#[derive(Debug, Default)]
pub struct Extents {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In the order in which they were asked for.
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: ExtentId,
    first: Lba,
    end: Lba,
    exclusive: bool,
    /// The queue whose transfer has it, once there is one.
    under_way: Option<QueueIndex>,
}

impl Asked {
    fn excludes(&self, other: &Asked) -> bool {
        (self.exclusive || other.exclusive) && self.first < other.end && other.first < self.end
    }
}

impl Extents {
    /// Takes `count` blocks at `lba`. `help` is called without any lock while a transfer of the queue
    /// given is in the way: it waits until one of that queue's has ended.
    pub fn take(
        &self,
        (lba, count): (Lba, BlockCount),
        exclusive: bool,
        help: impl Fn(QueueIndex),
    ) -> ExtentId {
        let mut state = self.lock();
        let id = ExtentId(state.next);
        state.next += 1;
        let end = Lba(lba.0.saturating_add(count.0));
        state.asked.push(Asked { id, first: lba, end, exclusive, under_way: None });
        loop {
            match state.in_the_way_of(id) {
                None => return id,
                Some(None) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Some(queue)) => {
                    drop(state);
                    help(queue);
                    state = self.lock();
                }
            }
        }
    }

    /// A transfer of `queue` has this range now, and gives it back.
    pub fn set_under_way(&self, id: ExtentId, queue: QueueIndex) {
        if let Some(asked) = self.lock().asked.iter_mut().find(|asked| asked.id == id) {
            asked.under_way = Some(queue);
        }
        self.changed.notify_all();
    }

    /// Gives a range back.
    pub fn give_back(&self, id: ExtentId) {
        self.lock().asked.retain(|asked| asked.id != id);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What was asked for earlier and excludes this one: the queue whose transfer it is, where it is
    /// one.
    fn in_the_way_of(&self, id: ExtentId) -> Option<Option<QueueIndex>> {
        let this = self.asked.iter().find(|asked| asked.id == id)?;
        let mut earlier = self.asked.iter().take_while(|asked| asked.id != id);
        earlier.find(|asked| asked.excludes(this)).map(|asked| asked.under_way)
    }
}

/// A range that is held until this is dropped.
#[derive(Debug)]
pub enum Hold<'a> {
    /// Stripes that keep writers out.
    Shared(#[expect(dead_code, reason = "held, not looked at")] Held<RwLockReadGuard<'a, ()>>),
    /// Stripes that keep everyone out.
    Exclusive(#[expect(dead_code, reason = "held, not looked at")] Held<RwLockWriteGuard<'a, ()>>),
    /// An extent.
    Extent(&'a Extents, ExtentId),
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Hold::Extent(extents, id) = self {
            extents.give_back(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn blocks(first: u64, count: u64) -> (Lba, BlockCount) {
        (Lba(first), BlockCount(count))
    }

    #[test]
    fn only_what_overlaps_and_changes_waits() {
        let extents = Extents::default();
        let nobody = |_| panic!("nothing is in the way");
        let reader = extents.take(blocks(0, 8), false, nobody);
        extents.take(blocks(4, 8), false, nobody);
        extents.take(blocks(12, 4), true, nobody);
        extents.set_under_way(reader, QueueIndex(3));
        let helped = AtomicU64::new(0);
        extents.take(blocks(0, 2), true, |queue| {
            assert_eq!(queue, QueueIndex(3));
            helped.fetch_add(1, Ordering::Relaxed);
            extents.give_back(reader);
        });
        assert_eq!(helped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn writers_of_one_block_take_turns() {
        let (extents, inside) = (Extents::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for first in 0..500 {
                        let id = extents.take(blocks(first % 3, 3), true, |_| {});
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        extents.give_back(id);
                    }
                });
            }
        });
        assert!(extents.lock().asked.is_empty());
    }
}
