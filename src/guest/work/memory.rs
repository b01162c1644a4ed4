//! The writer that needs more memory than it is given: its pages go to swap and come back.

use std::io;
use std::thread;

use super::rewrite::{Shape, bump_sectors};
use super::shared::SharedMemory;
use super::tally::Tally;
use super::target::{PAGE, as_offset};

/// Changes the pages of private memory. Whoever calls it bounds its memory below `shape.bytes`, with
/// a cgroup; the kernel then swaps out what is changed again next.
pub fn memory(shape: Shape, tally: &Tally) -> io::Result<()> {
    let memory = SharedMemory::anonymous(shape.bytes)?;
    thread::scope(|scope| {
        for number in 0..shape.threads {
            let memory = &memory;
            // No cryptography: each thread has a sequence of its own, the same in every run.
            let random = fastrand::Rng::with_seed(as_offset(number));
            scope.spawn(move || store_anywhere(memory, shape.pages(), random, tally));
        }
    });
    Ok(())
}

/// Changes pages in a random order: in turn, a page would be touched again long after it was written
/// out, and never while it is.
fn store_anywhere(memory: &SharedMemory, pages: usize, mut random: fastrand::Rng, tally: &Tally) {
    while tally.go() {
        bump_sectors(memory, random.usize(..pages).saturating_mul(PAGE), PAGE);
        tally.changed("store", None, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::*;
    use crate::clock::MonotonicClock;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    #[test]
    fn pages_are_changed_until_the_time_is_over() {
        let clock = MonotonicClock::new();
        let bounds = Bounds::new(&clock, Duration::from_millis(50));
        let tally = Tally::new(&bounds, false);
        let bytes = NonZeroUsize::new(1 << 20).unwrap();
        memory(Shape { bytes, threads: 2 }, &tally).unwrap();
        let summary = tally.summary("memory");
        assert!(summary.ops > 256 && summary.errors == 0, "{summary:?}");
    }
}
