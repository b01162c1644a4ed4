//! Requests inside their windows, ordered by deadline.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;

/// Items that fall due; equal deadlines keep the order in which they came.
#[derive(Debug)]
pub struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: Moment,
    order: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Moment, u64) {
        (self.deadline, self.order)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Schedule<T> {
    /// Nothing scheduled.
    pub fn new() -> Self {
        Schedule { heap: BinaryHeap::new(), next: 0 }
    }

    /// Adds an item.
    pub fn add(&mut self, deadline: Moment, item: T) {
        let order = self.next;
        self.next = self.next.wrapping_add(1);
        self.heap.push(Reverse(Entry { deadline, order, item }));
    }

    /// Takes the first item that is due at `now`.
    pub fn take_due(&mut self, now: Moment) -> Option<T> {
        if self.heap.peek().is_some_and(|Reverse(entry)| entry.deadline <= now) {
            return self.take_first();
        }
        None
    }

    /// Takes the first item, due or not.
    pub fn take_first(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.item)
    }

    /// Takes the items that `chosen` names, in the order of their deadlines.
    pub fn take_chosen(&mut self, mut chosen: impl FnMut(&T) -> bool) -> Vec<T> {
        let all = std::mem::take(&mut self.heap).into_sorted_vec();
        // Sorted by `Reverse`, so the first deadline comes last.
        let (taken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().rev().partition(|Reverse(entry)| chosen(&entry.item));
        self.heap = BinaryHeap::from(kept);
        taken.into_iter().map(|Reverse(entry)| entry.item).collect()
    }

    /// The next deadline, unless nothing is scheduled or all is held for ever.
    pub fn next_deadline(&self) -> Option<Moment> {
        let first = self.heap.peek().map(|Reverse(entry)| entry.deadline);
        first.filter(|deadline| *deadline != Moment::NEVER)
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_decide_and_then_arrival() {
        let mut schedule = Schedule::new();
        for (deadline, item) in [(30, 'c'), (10, 'a'), (10, 'b'), (u64::MAX, 'z')] {
            schedule.add(Moment(deadline), item);
        }
        assert_eq!(schedule.take_due(Moment(9)), None);
        assert_eq!(schedule.take_due(Moment(30)), Some('a'));
        assert_eq!(schedule.take_due(Moment(30)), Some('b'));
        assert_eq!(schedule.next_deadline(), Some(Moment(30)));
        assert_eq!(schedule.take_due(Moment(30)), Some('c'));
        assert_eq!((schedule.next_deadline(), schedule.len()), (None, 1));
        assert_eq!(schedule.take_first(), Some('z'));
    }

    #[test]
    fn chosen_items_leave_and_the_others_stay_in_order() {
        let mut schedule = Schedule::new();
        for (deadline, item) in [(3, 'c'), (1, 'A'), (2, 'b'), (4, 'D')] {
            schedule.add(Moment(deadline), item);
        }
        assert_eq!(schedule.take_chosen(|item| item.is_uppercase()), ['A', 'D']);
        assert_eq!([schedule.take_first(), schedule.take_first()], [Some('b'), Some('c')]);
        assert_eq!(schedule.len(), 0);
    }
}
