//! Counters of the session and of each label.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::histogram::Histogram;
use crate::record::{Counters, Phase, Phases};

/// What is counted. One name a counter of [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Write requests compared.
    Writes,
    /// Those in which a block raced.
    RacedWrites,
    /// Blocks compared.
    BlocksChecked,
    /// Races by phase.
    Race(Phase),
    /// Races that keep their guard.
    GuardBlind,
    /// Races covered by a clean write.
    Healed,
    /// Faults injected.
    Injected,
    /// Read requests.
    Reads,
    /// Flush requests.
    Flushes,
    /// Discards and write-zeroes.
    Discards,
    /// Blocks that failed their stored protection information.
    MediumFaults,
    /// Requests that failed for another reason.
    Errors,
    /// Requests that had to wait in the ring.
    Deferred,
    /// Blocks of reads that were looked at after their delivery.
    BlocksDelivered,
    /// Blocks of reads that were looked at after their completion.
    BlocksAudited,
    /// Those of them that had changed.
    AfterCompletion,
}

impl Count {
    const ALL: usize = 19;

    const fn slot(self) -> usize {
        match self {
            Count::Writes => 0,
            Count::BlocksChecked => 1,
            Count::Race(Phase::BeforeDoorbell) => 2,
            Count::Race(Phase::InWindow) => 3,
            Count::Race(Phase::AfterFetch) => 4,
            Count::GuardBlind => 5,
            Count::Healed => 6,
            Count::Injected => 7,
            Count::Reads => 8,
            Count::Flushes => 9,
            Count::Discards => 10,
            Count::MediumFaults => 11,
            Count::Errors => 12,
            Count::Deferred => 13,
            Count::BlocksDelivered => 14,
            Count::Race(Phase::AfterDelivery) => 15,
            Count::BlocksAudited => 16,
            Count::AfterCompletion => 17,
            Count::RacedWrites => 18,
        }
    }
}

/// The counters of the session or of one label.
#[derive(Debug)]
struct Cells {
    counts: [AtomicU64; Count::ALL],
    windows: Histogram,
}

impl Cells {
    fn new() -> Self {
        Cells { counts: std::array::from_fn(|_| AtomicU64::new(0)), windows: Histogram::new() }
    }

    fn add(&self, count: Count, number: u64) {
        if let Some(cell) = self.counts.get(count.slot()) {
            cell.fetch_add(number, Ordering::Relaxed);
        }
    }

    fn get(&self, count: Count) -> u64 {
        self.counts.get(count.slot()).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Races that stored or failed a block; the audit's are not among those that can heal.
    fn standing(&self) -> u64 {
        let races =
            self.get(Count::Race(Phase::BeforeDoorbell)) + self.get(Count::Race(Phase::InWindow));
        races.saturating_sub(self.get(Count::Healed))
    }

    fn counters(&self) -> Counters {
        Counters {
            writes: self.get(Count::Writes),
            raced_writes: Some(self.get(Count::RacedWrites)),
            blocks_checked: self.get(Count::BlocksChecked),
            races: Phases {
                before_doorbell: self.get(Count::Race(Phase::BeforeDoorbell)),
                in_window: self.get(Count::Race(Phase::InWindow)),
                after_fetch: self.get(Count::Race(Phase::AfterFetch)),
                after_delivery: (self.get(Count::BlocksDelivered) > 0)
                    .then(|| self.get(Count::Race(Phase::AfterDelivery))),
                after_completion: (self.get(Count::BlocksAudited) > 0)
                    .then(|| self.get(Count::AfterCompletion)),
            },
            guard_blind: self.get(Count::GuardBlind),
            healed: self.get(Count::Healed),
            standing: self.standing(),
            injected: self.get(Count::Injected),
            reads: self.get(Count::Reads),
            blocks_delivered: self.get(Count::BlocksDelivered),
            blocks_audited: self.get(Count::BlocksAudited),
            flushes: self.get(Count::Flushes),
            discards: self.get(Count::Discards),
            medium_faults: self.get(Count::MediumFaults),
            errors: self.get(Count::Errors),
            deferred: self.get(Count::Deferred),
            records_lost: 0,
            records_withheld: 0,
            window_us: self.windows.stats(),
            blind_us: None,
        }
    }
}

/// The time a label was open. A request keeps the span that was open at its doorbell.
#[derive(Debug)]
pub struct Span {
    label: Option<String>,
    cells: Cells,
}

impl Span {
    /// The label.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.cells.counters()
    }
}

/// Counts for the session and for the open label at once.
#[derive(Debug)]
pub struct Tally {
    total: Cells,
    blind: Histogram,
    open: Mutex<Arc<Span>>,
}

impl Tally {
    /// Nothing counted, no label.
    pub fn new() -> Self {
        Tally { total: Cells::new(), blind: Histogram::new(), open: Mutex::new(Tally::span(None)) }
    }

    fn span(label: Option<String>) -> Arc<Span> {
        Arc::new(Span { label, cells: Cells::new() })
    }

    /// The span that is open now.
    pub fn open(&self) -> Arc<Span> {
        Arc::clone(&self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a label, or none; answers the span that was open until now.
    pub fn relabel(&self, label: Option<String>) -> Arc<Span> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *open, Tally::span(label))
    }

    /// Counts in `span` and in the session.
    pub fn add(&self, span: &Span, count: Count, number: u64) {
        self.total.add(count, number);
        span.cells.add(count, number);
    }

    /// Counts a measured window.
    pub fn add_window(&self, span: &Span, window: Duration) {
        self.total.windows.add(window);
        span.cells.windows.add(window);
    }

    /// Counts a blind time; of the session alone, because it belongs to the queues, not to a label.
    pub fn add_blind(&self, blind: Duration) {
        self.blind.add(blind);
    }

    /// The session's counters.
    pub fn counters(&self) -> Counters {
        Counters { blind_us: self.blind.stats(), ..self.total.counters() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_for_the_label_of_its_doorbell() {
        let tally = Tally::new();
        tally.relabel(Some("a".into()));
        let span = tally.open();
        let closed = tally.relabel(Some("b".into()));
        tally.add(&span, Count::Race(Phase::InWindow), 2);
        tally.add(&span, Count::Healed, 1);
        assert_eq!(closed.label(), Some("a"));
        assert_eq!((closed.counters().races.in_window, closed.counters().standing), (2, 1));
        assert_eq!(tally.open().counters().races.in_window, 0);
        assert_eq!(tally.counters().races.in_window, 2);
    }

    #[test]
    fn audited_races_do_not_stand() {
        let tally = Tally::new();
        tally.add(&tally.open(), Count::Race(Phase::AfterFetch), 5);
        assert_eq!(tally.counters().races.after_delivery, None);
        tally.add(&tally.open(), Count::BlocksDelivered, 9);
        tally.add(&tally.open(), Count::Race(Phase::AfterDelivery), 5);
        assert_eq!(tally.counters().races.after_delivery, Some(5));
        assert_eq!(tally.counters().standing, 0);
    }
}
