//! The writer that needs more memory than it is given: its pages go to swap and come back.

use std::io;
use std::thread;

use super::rewrite::{Shape, store_pages};
use super::shared::SharedMemory;
use super::tally::Tally;

/// Changes the pages of private memory in turn. Whoever calls it bounds its memory below
/// `shape.bytes`, with a cgroup; the kernel then swaps out what is changed again next.
pub fn memory(shape: Shape, tally: &Tally) -> io::Result<()> {
    let memory = SharedMemory::anonymous(shape.bytes)?;
    thread::scope(|scope| {
        for number in 0..shape.threads {
            let (memory, walk) = (&memory, shape.walk(number));
            scope.spawn(move || store_pages(memory, walk, tally));
        }
    });
    Ok(())
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
