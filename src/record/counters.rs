//! What is counted, for a session or for one label of it.

use serde::{Deserialize, Serialize};

/// Counters of a session, or of the time a label was open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Write requests whose samples were compared.
    pub writes: u64,
    /// Those of them in which at least one block raced; `None` in records of before it was counted.
    #[serde(default)]
    pub raced_writes: Option<u64>,
    /// Logical blocks whose doorbell and fetch samples were compared.
    pub blocks_checked: u64,
    /// Blocks that raced, by when.
    pub races: Phases,
    /// Races whose guard did not change although the bytes did.
    pub guard_blind: u64,
    /// Races that a later clean write covered.
    pub healed: u64,
    /// Races not covered yet.
    pub standing: u64,
    /// Faults that were injected, not those still to come.
    pub injected: u64,
    /// Read requests.
    pub reads: u64,
    /// Logical blocks that were looked at once more after their delivery.
    #[serde(default)]
    pub blocks_delivered: u64,
    /// Logical blocks of reads that were looked at once more after their completion (`--audit`).
    #[serde(default)]
    pub blocks_audited: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Discard and write-zeroes requests.
    pub discards: u64,
    /// Blocks on the medium that failed their stored protection information and were not injected.
    pub medium_faults: u64,
    /// Requests answered with an error for any reason but a race or an injected fault.
    pub errors: u64,
    /// Requests that had to wait in the ring because too many bytes were in flight.
    pub deferred: u64,
    /// Records that could not be written.
    pub records_lost: u64,
    /// Records that were not written because the file had reached `--races-limit`.
    #[serde(default)]
    pub records_withheld: u64,
    /// The measured windows; `None` before the first write.
    pub window_us: Option<WindowStats>,
    /// How long before its doorbell sample a write's ring was last seen without it, or its queue's
    /// thread woke up. While a thread watches its ring (`--poll`), no change after the guest's doorbell
    /// can go unseen for longer; how long a sleeping thread takes to wake up cannot be seen from here.
    /// Of the session alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blind_us: Option<WindowStats>,
}

impl Counters {
    /// All races of writes, whatever their phase.
    pub fn all_races(&self) -> u64 {
        self.races.seen_by_hardware().saturating_add(self.races.after_fetch)
    }
}

/// Races by the two samples that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Submit and doorbell differ.
    pub before_doorbell: u64,
    /// Doorbell and fetch differ.
    pub in_window: u64,
    /// Fetch and completion differ; an audit, never a failure.
    pub after_fetch: u64,
    /// Delivery and a later look at a read's buffer differ; never a failure. `None` where nobody looked.
    #[serde(default)]
    pub after_delivery: Option<u64>,
    /// A read's buffer changed after its completion, when it was the guest's own again; an audit. `None`
    /// where nobody looked.
    #[serde(default)]
    pub after_completion: Option<u64>,
}

impl Phases {
    /// Those that hardware would have seen.
    pub fn seen_by_hardware(&self) -> u64 {
        self.before_doorbell.saturating_add(self.in_window)
    }

    /// The sum of both; a figure is told where either has it.
    #[must_use]
    pub fn plus(self, other: Phases) -> Phases {
        let both = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Phases {
            before_doorbell: self.before_doorbell.saturating_add(other.before_doorbell),
            in_window: self.in_window.saturating_add(other.in_window),
            after_fetch: self.after_fetch.saturating_add(other.after_fetch),
            after_delivery: both(self.after_delivery, other.after_delivery),
            after_completion: both(self.after_completion, other.after_completion),
        }
    }

    /// What hardware would have seen of so many checked blocks, in words. With DIX one block may race
    /// before the doorbell and once more in its window: the sum of both can be more than all blocks.
    pub fn words(&self, checked: u64) -> String {
        match (self.before_doorbell, self.in_window) {
            (0, races) | (races, 0) => format!("{races} of {checked} blocks raced"),
            (before, within) => format!(
                "{before} of {checked} blocks raced before the doorbell, {within} in the window"
            ),
        }
    }
}

/// Measured windows in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowStats {
    /// Half of the windows were no longer than this.
    pub median: f64,
    /// The longest window of all.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_nobody_took_is_not_one_that_found_nothing() {
        let looked = |after_delivery| Phases { after_delivery, ..Phases::default() };
        assert_eq!(looked(None).plus(looked(None)).after_delivery, None);
        assert_eq!(looked(None).plus(looked(Some(0))).after_delivery, Some(0));
        assert_eq!(looked(Some(2)).plus(looked(Some(3))).after_delivery, Some(5));
        let before = r#"{"before_doorbell":0,"in_window":1,"after_fetch":0}"#;
        assert_eq!(serde_json::from_str::<Phases>(before).unwrap().after_delivery, None);
    }

    #[test]
    fn no_more_blocks_are_said_to_have_raced_than_there_were() {
        let words = |before_doorbell, in_window| {
            let audited = Phases { after_fetch: 9, after_delivery: Some(9), ..Phases::default() };
            Phases { before_doorbell, in_window, ..audited }.words(172)
        };
        assert_eq!(words(0, 0), "0 of 172 blocks raced");
        assert_eq!(words(0, 87), "87 of 172 blocks raced");
        assert_eq!(words(86, 0), "86 of 172 blocks raced");
        assert_eq!(words(86, 87), "86 of 172 blocks raced before the doorbell, 87 in the window");
    }
}
