//! What a writer did: operations, syncs, and every error with its place.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::bounds::Bounds;

/// How many errors are printed; all are counted.
const PRINTED: u64 = 20;

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The operation: `pwrite`, `fsync`, `rename`, …
    pub op: &'static str,
    /// The byte offset in the target, where the operation has one.
    pub offset: Option<u64>,
    /// The number of the error.
    pub errno: Option<i32>,
    /// The error in words.
    pub message: String,
}

/// The last line that a writer prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The writer's name.
    pub work: &'static str,
    /// Operations that changed something.
    pub ops: u64,
    /// Operations that had things written back.
    pub syncs: u64,
    /// Operations that failed.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<Failure>,
}

/// Counts what the threads of one writer do.
#[derive(Debug)]
pub struct Tally<'a> {
    bounds: &'a Bounds<'a>,
    keep_going: bool,
    ops: AtomicU64,
    syncs: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<Failure>>,
}

impl<'a> Tally<'a> {
    /// Nothing done yet. The first error ends `bounds` unless `keep_going`.
    pub fn new(bounds: &'a Bounds<'a>, keep_going: bool) -> Self {
        Tally {
            bounds,
            keep_going,
            ops: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            first_error: Mutex::new(None),
        }
    }

    /// Whether to go on.
    pub fn go(&self) -> bool {
        self.bounds.go()
    }

    /// Counts an operation that changed something at `offset`.
    pub fn changed<T>(&self, op: &'static str, offset: Option<u64>, result: io::Result<T>) {
        self.count(&self.ops, op, offset, result);
    }

    /// Counts an operation that had things written back.
    pub fn synced<T>(&self, op: &'static str, result: io::Result<T>) {
        self.count(&self.syncs, op, None, result);
    }

    fn count<T>(
        &self,
        counter: &AtomicU64,
        op: &'static str,
        offset: Option<u64>,
        result: io::Result<T>,
    ) {
        match result {
            Ok(_) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.failed(op, offset, &error),
        }
    }

    fn failed(&self, op: &'static str, offset: Option<u64>, error: &io::Error) {
        let failure =
            Failure { op, offset, errno: error.raw_os_error(), message: error.to_string() };
        if self.errors.fetch_add(1, Ordering::Relaxed) < PRINTED {
            let place = offset.map_or_else(String::new, |at| format!(" at offset {at}"));
            eprintln!("dixtrap: {op}{place} failed: {error}");
        }
        // A thread that panicked elsewhere does not make the first error less true.
        let mut first = self.first_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(failure);
        if !self.keep_going {
            self.bounds.stop();
        }
    }

    /// The figures so far, for the writer called `work`.
    pub fn summary(&self, work: &'static str) -> Summary {
        Summary {
            work,
            ops: self.ops.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            first_error: self
                .first_error
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::time::Duration;

    #[test]
    fn an_error_is_kept_with_its_place_and_ends_the_work_unless_told_otherwise() {
        let clock = ManualClock::default();
        for keep_going in [false, true] {
            let bounds = Bounds::new(&clock, Duration::from_secs(1));
            let tally = Tally::new(&bounds, keep_going);
            tally.changed("pwrite", Some(0), Ok(4096));
            let error = io::Error::from_raw_os_error(libc::EIO);
            tally.changed::<usize>("pwrite", Some(8192), Err(error));
            let summary = tally.summary("x");
            assert_eq!((summary.ops, summary.errors), (1, 1));
            let first = summary.first_error.unwrap();
            assert_eq!((first.errno, first.offset), (Some(libc::EIO), Some(8192)));
            assert_eq!(tally.go(), keep_going);
        }
    }
}
