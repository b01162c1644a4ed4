//! How much of the records is written (`--races-limit`): what a guest can make more of ends at a limit.
//!
//! The file is one for many labels, and a label that races a great deal comes before others whose races
//! matter. So a label has no more than its share of the file; and each has its first records written,
//! whatever came before it. Labels themselves come to an end: a guest may have any number of them begun, and
//! beyond the limit only so many are listed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::{Limit, Mark, MarkState, Record};
use crate::units::ByteSize;

/// How many records of each label are written beyond the limit.
const FIRST: u64 = 100;
/// How many labels that begin beyond the limit are listed, with their marks and their first records.
const LABELS: u64 = 1000;
/// A label has this part of the file. (What was written before the first one, or with none, is not shared out.)
const SHARE: u64 = 16;

/// What the writer and those that hand records over know of it together.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    /// How many records were not written for it.
    count: AtomicU64,
    /// Under which label, by its number from 1 on (the time before the first one has 1), nothing more is
    /// written; 0: none.
    spent: AtomicU64,
}

impl Withheld {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a record that the writer would not write: it need not wait for him. `labels` have begun.
    pub(super) fn takes(&self, record: &Record, labels: u64) -> bool {
        let is_of_label = !(minds_the_file_alone(record) || is_mark(record));
        let takes = is_of_label
            && is_limited(record)
            && self.spent.load(Ordering::Acquire) == labels.saturating_add(1);
        if takes {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }
}

/// What the writer keeps count of.
#[derive(Debug)]
pub(super) struct Quota {
    limit: Option<ByteSize>,
    written: u64,
    /// How much of that is this label's.
    of_label: u64,
    /// How many labels have begun.
    labels: u64,
    /// How many records of this label are still written beyond the limit.
    left: u64,
    /// How many labels may still begin beyond the limit.
    labels_left: u64,
    /// This label is one too many: neither its marks nor its first records are written beyond the limit.
    unlisted: bool,
    told: bool,
}

/// What becomes of a line.
#[derive(Debug, PartialEq)]
pub(super) enum Ruling {
    /// It is written, as any within the limit.
    Written,
    /// It is written, and this record before it.
    WrittenAfter(Record),
    /// It is not written, only counted.
    Withheld,
    /// It is not, and this record stands in its place.
    Replaced(Record),
}

impl Quota {
    pub(super) fn new(limit: Option<ByteSize>) -> Self {
        let (written, of_label, labels, left) = (0, 0, 0, 0);
        let (labels_left, unlisted, told) = (LABELS, false, false);
        Quota { limit, written, of_label, labels, left, labels_left, unlisted, told }
    }

    /// Judges a record whose line has so many bytes.
    pub(super) fn judge(&mut self, record: &Record, bytes: u64, withheld: &Withheld) -> Ruling {
        if begins_label(record) {
            self.begin_label(bytes);
        }
        let limit = self.limit.filter(|limit| self.is_beyond(*limit, record, bytes));
        let Some((limit, t_us)) = limit.zip(limited_at(record)) else {
            self.add(bytes);
            return Ruling::Written;
        };
        let told = std::mem::replace(&mut self.told, true);
        let notice = (!told).then_some(Record::Limit(Limit { t_us, limit }));
        if self.is_listed_beyond(record) {
            self.add(bytes);
            return notice.map_or(Ruling::Written, Ruling::WrittenAfter);
        }
        if !is_mark(record) {
            withheld.spent.store(self.labels.saturating_add(1), Ordering::Release);
        }
        withheld.count.fetch_add(1, Ordering::Relaxed);
        notice.map_or(Ruling::Withheld, Ruling::Replaced)
    }

    /// Begins a label whose mark has so many bytes.
    fn begin_label(&mut self, bytes: u64) {
        (self.labels, self.of_label) = (self.labels.saturating_add(1), 0);
        let beyond = self.limit.is_some_and(|limit| self.is_full(limit, bytes));
        self.unlisted = beyond && self.labels_left == 0;
        self.labels_left = self.labels_left.saturating_sub(u64::from(beyond));
        self.left = if self.unlisted { 0 } else { FIRST };
    }

    /// Whether a record is written although the limit is reached.
    fn is_listed_beyond(&mut self, record: &Record) -> bool {
        if is_mark(record) {
            return !self.unlisted;
        }
        let is_first = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_first
    }

    /// Whether the file, or the label's part of it, has no room for so many bytes. A mark only minds the
    /// file; one that ends a label is left out where the one that began it was.
    fn is_beyond(&self, limit: ByteSize, record: &Record, bytes: u64) -> bool {
        if is_mark(record) {
            return self.unlisted || self.is_full(limit, bytes);
        }
        let shared_out = self.labels > 0 && !minds_the_file_alone(record);
        self.is_full(limit, bytes)
            || shared_out && self.of_label.saturating_add(bytes) > limit.0 / SHARE
    }

    fn is_full(&self, limit: ByteSize, bytes: u64) -> bool {
        self.written.saturating_add(bytes) > limit.0
    }

    fn add(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
        self.of_label = self.of_label.saturating_add(bytes);
    }
}

/// Whether a record opens a label.
pub(super) fn begins_label(record: &Record) -> bool {
    matches!(record, Record::Mark(Mark { state: MarkState::Begin, .. }))
}

fn is_mark(record: &Record) -> bool {
    matches!(record, Record::Mark(_))
}

/// A healing is short, and tells of a race of any label; a change of the window is nobody's.
fn minds_the_file_alone(record: &Record) -> bool {
    matches!(record, Record::Healed(_) | Record::Window(_))
}

fn is_limited(record: &Record) -> bool {
    limited_at(record).is_some()
}

/// When it happened, of what a guest can make as much of as it likes.
fn limited_at(record: &Record) -> Option<u64> {
    match record {
        Record::Mark(mark) => Some(mark.t_us),
        Record::Race(race) => Some(race.t_us),
        // In a file of its own, which tells no time.
        Record::Culprit(_) => Some(0),
        Record::Inject(inject) => Some(inject.t_us),
        Record::Healed(healed) => Some(healed.t_us),
        Record::Medium(fault) => Some(fault.t_us),
        Record::Broken(broken) => Some(broken.t_us),
        Record::Window(change) => Some(change.t_us),
        Record::Start(_) | Record::Owner(_) | Record::Limit(_) | Record::Stop(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Healed, MediumFault, RaceId, WindowChange};
    use crate::units::Lba;

    fn fault(t_us: u64) -> Record {
        let (check, lba) = ("guard".to_owned(), Lba(1));
        let (label, lun, stored, computed, injected) = (None, None, 1, 2, false);
        Record::Medium(MediumFault { t_us, label, lun, lba, check, stored, computed, injected })
    }

    fn healed() -> Record {
        Record::Healed(Healed { t_us: 1, race: RaceId(1), after_us: 0 })
    }

    fn mark(state: MarkState) -> Record {
        Record::Mark(Mark { t_us: 0, label: "a".to_owned(), state, counters: None })
    }

    fn begin() -> Record {
        mark(MarkState::Begin)
    }

    #[test]
    fn changes_of_the_window_end_at_the_limit_of_the_file() {
        let withheld = Withheld::default();
        let mut quota = Quota::new(Some(ByteSize(1600)));
        quota.judge(&begin(), 0, &withheld);
        let mut change = || {
            let record = Record::Window(WindowChange { t_us: 1, spec: "0".parse().unwrap() });
            quota.judge(&record, 50, &withheld)
        };
        // No share of a label's, but what the file has, and the first beyond it.
        let all: Vec<Ruling> = (0..500).map(|_| change()).collect();
        let written = all.iter().filter(|ruling| **ruling == Ruling::Written).count();
        assert!((32..32 + 101).contains(&written), "{written}");
        assert_eq!(all.last(), Some(&Ruling::Withheld));
    }

    #[test]
    fn beyond_the_limit_a_record_says_so_and_the_others_are_counted() {
        let (mut quota, withheld) = (Quota::new(Some(ByteSize(100))), Withheld::default());
        assert_eq!(quota.judge(&fault(1), 60, &withheld), Ruling::Written);
        assert!(!withheld.takes(&fault(1), 0));
        let limit = Record::Limit(Limit { t_us: 2, limit: ByteSize(100) });
        assert_eq!(quota.judge(&fault(2), 60, &withheld), Ruling::Replaced(limit));
        assert_eq!(quota.judge(&fault(3), 60, &withheld), Ruling::Withheld);
        assert!(withheld.takes(&fault(4), 0) && !withheld.takes(&begin(), 0));
        assert_eq!(withheld.count(), 3);
    }

    #[test]
    fn each_label_has_its_first_records_whatever_came_before() {
        let (mut quota, withheld) = (Quota::new(Some(ByteSize(1))), Withheld::default());
        for label in 1..=3u64 {
            let ruling = quota.judge(&begin(), 50, &withheld);
            assert_eq!(matches!(ruling, Ruling::WrittenAfter(_)), label == 1);
            assert!(!withheld.takes(&fault(1), label), "spent is another label's");
            let rulings: Vec<Ruling> =
                (0..FIRST + 5).map(|t| quota.judge(&fault(t), 60, &withheld)).collect();
            assert!(rulings[..100].iter().all(|ruling| *ruling == Ruling::Written));
            assert!(rulings[100..].iter().all(|ruling| *ruling == Ruling::Withheld));
            assert!(withheld.takes(&fault(1), label));
        }
        assert_eq!(withheld.count(), 3 * 6);
    }

    #[test]
    fn a_label_has_its_share_and_leaves_the_rest_to_the_next_ones() {
        let (mut quota, withheld) = (Quota::new(Some(ByteSize(160_000))), Withheld::default());
        for label in 1..=3u64 {
            quota.judge(&begin(), 0, &withheld);
            let write = |quota: &mut Quota| quota.judge(&fault(1), 50, &withheld);
            let all: Vec<Ruling> = (0..1_000).map(|_| write(&mut quota)).collect();
            let of = |ruling: &Ruling| !matches!(ruling, Ruling::Withheld | Ruling::Replaced(_));
            // A share has room for 200 of them; and the first hundred beyond it are written.
            assert_eq!(all.iter().filter(|ruling| of(ruling)).count(), 300);
            assert!(withheld.takes(&fault(1), label));
            assert!(!withheld.takes(&healed(), label));
            assert_eq!(quota.judge(&healed(), 50, &withheld), Ruling::Written);
        }
    }

    /// Each would bring its marks and its first hundred records, and there may be any number of them.
    #[test]
    fn labels_without_end_are_listed_to_an_end() {
        let (mut quota, withheld) = (Quota::new(Some(ByteSize(1_000))), Withheld::default());
        let mut written = 0_u64;
        for label in 1..=3 * LABELS {
            let all = [begin(), fault(1), mark(MarkState::End)];
            assert!(!withheld.takes(&all[0], label) && !withheld.takes(&all[2], label));
            let rulings = all.map(|record| quota.judge(&record, 100, &withheld));
            let is_written =
                |ruling: &&Ruling| matches!(ruling, Ruling::Written | Ruling::WrittenAfter(_));
            let count = rulings.iter().filter(is_written).count();
            assert!(count == 0 || count == 3, "label {label}: all of it, or nothing");
            written += count as u64;
        }
        assert!((3 * LABELS..3 * LABELS + 30).contains(&written), "{written}");
        assert_eq!(withheld.count(), 9 * LABELS - written);
    }

    #[test]
    fn without_a_limit_everything_is_written() {
        let (mut quota, withheld) = (Quota::new(None), Withheld::default());
        for _ in 0..3 {
            assert_eq!(quota.judge(&fault(1), u64::MAX / 2, &withheld), Ruling::Written);
        }
    }
}
