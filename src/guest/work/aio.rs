//! The writer that keeps several direct writes of one changing buffer in flight, through io_uring.

use std::io;
use std::path::Path;

use io_uring::IoUring;

use super::rewrite::{DIRECT_BYTES, DirectTarget, Shape};
use super::shared::push_write;
use super::tally::Tally;

/// Writes in flight.
const DEPTH: u32 = 8;

/// The ring; an error where the kernel has none, or lets nobody use it.
pub fn open_ring() -> io::Result<IoUring> {
    IoUring::new(DEPTH)
}

/// Keeps [`DEPTH`] direct writes of one buffer in flight, at different offsets, while other threads
/// change it.
pub fn aio(path: &Path, shape: Shape, ring: IoUring, tally: &Tally) -> io::Result<()> {
    let mut target = DirectTarget::open(path, shape.bytes.get())?;
    let mut flight = Flight { ring, in_flight: 0 };
    target.write_while_changing(shape.threads, tally, |file, buffer, offset| {
        match push_write(&mut flight.ring, buffer, file, offset) {
            Ok(()) => flight.in_flight = flight.in_flight.saturating_add(1),
            Err(error) => tally.changed::<()>("io_uring push", Some(offset), Err(error)),
        }
        if flight.in_flight >= DEPTH {
            flight.land(1, tally);
        }
    });
    while flight.in_flight > 0 && flight.land(flight.in_flight, tally) {}
    tally.synced("fdatasync", target.file.sync_data());
    Ok(())
}

/// The ring and what it was given.
struct Flight {
    ring: IoUring,
    in_flight: u32,
}

impl Flight {
    /// Submits, waits for `wanted` writes and counts those that have ended. False when the ring
    /// itself fails.
    fn land(&mut self, wanted: u32, tally: &Tally) -> bool {
        let wanted = usize::try_from(wanted).unwrap_or(1);
        match self.ring.submit_and_wait(wanted) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                tally.changed::<()>("io_uring_enter", None, Err(error));
                return false;
            }
        }
        for entry in self.ring.completion() {
            self.in_flight = self.in_flight.saturating_sub(1);
            tally.changed("io_uring write", None, wrote(entry.result()));
        }
        true
    }
}

/// A completion's result: an error number below 0, or how much was written.
fn wrote(result: i32) -> io::Result<()> {
    match usize::try_from(result) {
        Ok(DIRECT_BYTES) => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::from_raw_os_error(result.saturating_neg())),
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
    fn results_are_whole_writes_or_errors() {
        assert!(wrote(i32::try_from(DIRECT_BYTES).unwrap()).is_ok());
        assert_eq!(wrote(-libc::EIO).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(wrote(512).is_err() && wrote(i32::MIN).is_err());
    }

    #[test]
    fn every_write_lands_before_the_end() {
        let Ok(ring) = open_ring() else {
            eprintln!("not tested: this machine lets nobody use io_uring");
            return;
        };
        // Not in /tmp: it may be a tmpfs, which knew no O_DIRECT for long.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = directory.path().join("target");
        let clock = MonotonicClock::new();
        let bounds = Bounds::new(&clock, Duration::from_millis(300));
        let tally = Tally::new(&bounds, false);
        let bytes = NonZeroUsize::new(4 * DIRECT_BYTES).unwrap();
        aio(&path, Shape { bytes, threads: 2 }, ring, &tally).unwrap();
        let summary = tally.summary("aio");
        assert_eq!(summary.errors, 0, "{:?}", summary.first_error);
        assert!(summary.ops > 4, "{summary:?}");
        let content = std::fs::read(&path).unwrap();
        assert!(content.chunks(DIRECT_BYTES).all(|part| part.iter().any(|b| *b != 0)));
    }
}
