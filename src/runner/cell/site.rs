//! Where a cell runs: the boot's disk, directory and listener, and the time that it may take.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::runner::host::daemon::Daemon;
use crate::runner::host::progress::Progress;
use crate::runner::select::plan::PlannedCell;
use crate::units::WindowSpec;
use crate::verdict::Expect;

/// How long a script may take beyond its writing time: mkfs, mount, unmount, under TCG.
const OVERHEAD: Duration = Duration::from_secs(120);
/// How many times longer a scenario may write that is expected to race and has not yet: it ends at
/// its first race, so that only a rare race, or a missing one, costs the time.
const PATIENCE: u32 = 4;

/// What every cell of a boot runs with.
#[derive(Debug)]
pub struct Site<'a> {
    /// The disk.
    pub daemon: &'a mut Daemon,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// The user wants an end.
    pub interrupted: &'a AtomicBool,
    /// The directory of the boot's files.
    pub directory: &'a Path,
    /// The disk's path in the guest.
    pub disk: &'a str,
    /// Doorbell to fetch.
    pub window: WindowSpec,
    /// How long a scenario writes.
    pub seconds: u32,
    /// How long a cell may take in all, where that was asked for.
    pub timeout: Option<Duration>,
}

/// The label of a cell's set-up.
pub(super) fn setup_of(label: &str) -> String {
    format!("{label}/setup")
}

/// How long the cell may take in all, and how many seconds of that it may write.
pub(super) fn times(cell: &PlannedCell, asked: u32, limit: Option<Duration>) -> (Duration, u32) {
    let patient = match cell.expectation.expect {
        Expect::Race => asked.saturating_mul(PATIENCE),
        Expect::Stable | Expect::Survey => asked,
    };
    match limit {
        None => (OVERHEAD.saturating_add(Duration::from_secs(patient.into())), patient),
        // Patience ends early enough to leave half of the time for everything else.
        Some(limit) => {
            let half = u32::try_from(limit.as_secs() / 2).unwrap_or(u32::MAX);
            (limit, patient.min(half.max(asked)))
        }
    }
}
