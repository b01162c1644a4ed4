//! Which places for records are free. A thread begins its search where it found one before, so threads
//! seldom meet.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::layout::SlotClass;

/// A bit for every place of a class: it is free.
#[derive(Debug)]
pub(super) struct Slots {
    free: Box<[Bits]>,
}

/// 64 places, on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
struct Bits(AtomicU64);

thread_local! {
    /// Where the thread begins to look.
    static HOME: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

impl Slots {
    /// All places of a class, free.
    pub(super) fn of(class: SlotClass) -> Slots {
        Slots { free: (0..class.count / 64).map(|_| Bits(AtomicU64::new(u64::MAX))).collect() }
    }

    /// Takes a place, where one is free.
    pub(super) fn take(&self) -> Option<usize> {
        let count = self.free.len();
        let home = HOME.with(|home| *home);
        (0..count).map(|step| (home.wrapping_add(step)) % count).find_map(|at| {
            let bit = take_bit(&self.free.get(at)?.0)?;
            Some(at * 64 + bit)
        })
    }

    /// Gives a place back.
    pub(super) fn give_back(&self, place: usize) {
        if let Some(bits) = self.free.get(place / 64) {
            bits.0.fetch_or(1 << (place % 64), Ordering::AcqRel);
        }
    }
}

/// Takes the lowest bit that is set.
fn take_bit(bits: &AtomicU64) -> Option<usize> {
    let taken = bits.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |free| {
        (free != 0).then(|| free & (free - 1))
    });
    taken.ok().and_then(|free| usize::try_from(free.trailing_zeros()).ok())
}

#[cfg(test)]
mod tests {
    use super::super::layout::LARGE;
    use super::*;

    #[test]
    fn every_place_is_taken_once_and_again_when_it_is_free() {
        let slots = Slots::of(LARGE);
        let mut taken: Vec<usize> = std::iter::from_fn(|| slots.take()).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..LARGE.count).collect::<Vec<_>>());
        slots.give_back(77);
        assert_eq!((slots.take(), slots.take()), (Some(77), None));
    }

    #[test]
    fn threads_never_have_the_same_place() {
        let slots = Slots::of(LARGE);
        let used: Vec<AtomicU64> = (0..LARGE.count).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let place = slots.take().unwrap();
                        assert_eq!(used[place].fetch_add(1, Ordering::SeqCst), 0);
                        used[place].fetch_sub(1, Ordering::SeqCst);
                        slots.give_back(place);
                    }
                });
            }
        });
    }
}
