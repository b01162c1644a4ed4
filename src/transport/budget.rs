//! How many bytes may be in flight: memory stays bounded whatever the guest asks for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of guest data that the daemon may hold copies of at once, over all queues.
const MAX_IN_FLIGHT: u64 = 256 << 20;

/// Counts the bytes in flight.
#[derive(Debug, Default)]
pub struct Budget {
    in_flight: AtomicU64,
}

impl Budget {
    /// Whether `bytes` more may be taken. A lone request always may, however long it is: its own
    /// limit is checked where it is parsed.
    pub fn allows(&self, bytes: u64) -> bool {
        let in_flight = self.in_flight.load(Ordering::Acquire);
        in_flight == 0 || in_flight.saturating_add(bytes) <= MAX_IN_FLIGHT
    }

    /// Takes bytes.
    pub fn take(&self, bytes: u64) {
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives bytes back that were taken.
    pub fn give_back(&self, bytes: u64) {
        self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_means_wait_and_empty_means_go() {
        let budget = Budget::default();
        assert!(budget.allows(u64::MAX));
        budget.take(MAX_IN_FLIGHT - 1);
        assert!(budget.allows(1) && !budget.allows(2));
        budget.give_back(MAX_IN_FLIGHT - 1);
        assert!(budget.allows(u64::MAX));
    }
}
