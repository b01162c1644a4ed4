//! What a run came to: cells, their judgement and the exit status. Pure: no I/O and no clock.
//!
//! Every output format derives from one [`Verdict`], so that they cannot disagree.

mod boot;
mod cell;
mod culprits;
mod exit;
mod filtered;
mod judge;
mod merge;
mod owners;
mod provenance;
mod shard;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use boot::Boot;
pub use cell::{
    Cell, CellOutcome, CellWindow, Expect, Repeat, SECOND_LOOK, StableWrites, cell_name,
};
pub use culprits::{CulpritGroup, merge_culprits};
pub use exit::{ExitStatus, Ruling};
pub use filtered::Filtered;
pub use judge::{ControlEvidence, MIN_BLOCKS, Seen, judge};
pub use merge::{MergeError, merge_cells};
pub use owners::{OwnerGroup, merge_groups};
pub use provenance::{Host, KernelConfig, Load, Provenance};
pub use shard::ShardOf;

/// The version of the verdict's schema.
pub const SCHEMA: u32 = 1;

/// What ended a run before its cells could be judged; of two, the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// Something of ours broke: the daemon, the disk, the host.
    Fault,
    /// The user interrupted it.
    Interrupted,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// dixtrap's version.
    pub version: String,
    /// In one word.
    pub verdict: Ruling,
    /// The status that the process ends with.
    pub exit_status: u8,
    /// Why the verdict is an error though no cell is to blame, as where a part of the run is missing.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// Which part of which plan it is about; `None` where it is of several plans or not of whole ones,
    /// and in verdicts of before it was noted.
    #[serde(default)]
    pub shard: Option<ShardOf>,
    /// Where it comes from; `None` where it was made of several verdicts, whose own are in `parts`.
    #[serde(default)]
    pub provenance: Option<Provenance>,
    /// The verdicts that this one was made of; empty where a run gave it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The boots of which something is to be told that belongs to no cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boots: Vec<Boot>,
    /// Only some of the cells are here, chosen by a report's flags; the word and the status are those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Filtered>,
    /// Every cell that was planned.
    pub cells: Vec<Cell>,
}

/// A verdict that went into another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which part of which plan it was about.
    pub shard: Option<ShardOf>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// Its own exit status.
    pub exit_status: u8,
    /// Where it comes from.
    #[serde(default)]
    pub provenance: Option<Provenance>,
}

impl Verdict {
    /// The verdict over `cells`, which hold every cell that was planned.
    pub fn over(
        cells: Vec<Cell>,
        cut: Option<StopReason>,
        started: DateTime<Utc>,
        seconds: f64,
    ) -> Verdict {
        let status = status_of(&cells, cut);
        Verdict {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: status.ruling(),
            exit_status: status.code(),
            reason: None,
            started,
            seconds,
            shard: None,
            provenance: None,
            parts: Vec::new(),
            boots: Vec::new(),
            filtered: None,
            cells,
        }
    }

    /// The same verdict, of this part of a plan.
    #[must_use]
    pub fn of_shard(self, shard: ShardOf) -> Verdict {
        Verdict { shard: Some(shard), ..self }
    }

    /// The same verdict, with what is to be told of these boots.
    #[must_use]
    pub fn with_boots(self, boots: Vec<Boot>) -> Verdict {
        Verdict { boots: boots.into_iter().filter(Boot::is_worth_telling).collect(), ..self }
    }

    /// The same verdict, with where it comes from.
    #[must_use]
    pub fn with_provenance(self, provenance: Provenance) -> Verdict {
        Verdict { provenance: Some(provenance), ..self }
    }

    /// How many cells had this outcome.
    pub fn count(&self, outcome: CellOutcome) -> usize {
        self.cells.iter().filter(|cell| cell.outcome == outcome).count()
    }

    /// The cells by kernel and device, in the order of their first cells.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for cell in &self.cells {
            let here = |g: &&mut Group<'_>| g.kernel == cell.kernel && g.device == cell.device;
            match groups.iter_mut().find(here) {
                Some(group) => group.cells.push(cell),
                None => groups.push(Group {
                    kernel: &cell.kernel,
                    device: &cell.device,
                    cells: vec![cell],
                }),
            }
        }
        groups
    }
}

/// The cells of one kernel on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<'a> {
    /// The kernel's release.
    pub kernel: &'a str,
    /// `blk` or `scsi`.
    pub device: &'a str,
    /// Its cells.
    pub cells: Vec<&'a Cell>,
}

/// The status over `cells`. A run that was cut short blames nobody; a proven failure outweighs a
/// cell without a result; and a run in which nothing passed, or nothing but controls beside
/// skipped cells, has tested nothing.
fn status_of(cells: &[Cell], cut: Option<StopReason>) -> ExitStatus {
    let any = |outcome| cells.iter().any(|cell| cell.outcome == outcome);
    let tested = cells.iter().any(|c| c.outcome == CellOutcome::Pass && !c.control)
        || any(CellOutcome::Pass) && !any(CellOutcome::Skip);
    match cut {
        Some(StopReason::Interrupted) => ExitStatus::Interrupted,
        Some(StopReason::Fault) => ExitStatus::Fault,
        None if any(CellOutcome::Fail) => ExitStatus::Proven,
        None if any(CellOutcome::Error) || !tested => ExitStatus::Untestable,
        None => ExitStatus::AsExpected,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cell that has nothing but a name and an outcome.
    pub(crate) fn bare_cell(scenario: &str, outcome: CellOutcome) -> Cell {
        let reason = (outcome != CellOutcome::Pass).then(|| format!("{scenario} has a reason"));
        Cell::unmeasured(
            ("6.1.0-test", "blk"),
            (scenario, "ext4", Some(StableWrites::Off)),
            (Expect::Race, false),
            (outcome, reason),
        )
    }

    #[test]
    fn the_worst_cell_decides_unless_the_run_was_cut() {
        use CellOutcome::{Error, Fail, Pass, Skip};
        for (outcomes, cut, code) in [
            (vec![Pass, Pass], None, 0),
            (vec![Pass, Skip], None, 0),
            (vec![Pass, Fail, Error], None, 1),
            (vec![Pass, Error], None, 125),
            (vec![Skip, Skip], None, 125),
            (vec![], None, 125),
            (vec![Pass, Fail], Some(StopReason::Fault), 129),
            (vec![Pass, Fail], Some(StopReason::Interrupted), 130),
        ] {
            let cells: Vec<Cell> = outcomes.iter().map(|o| bare_cell("x", *o)).collect();
            assert_eq!(status_of(&cells, cut).code(), code, "{outcomes:?} {cut:?}");
        }
    }

    #[test]
    fn a_control_alone_tests_nothing_where_the_rest_was_skipped() {
        let control = Cell { control: true, ..bare_cell("c", CellOutcome::Pass) };
        let skipped = bare_cell("x", CellOutcome::Skip);
        assert_eq!(status_of(&[control.clone(), skipped], None).code(), 125);
        assert_eq!(status_of(&[control], None).code(), 0);
    }

    #[test]
    fn counters_that_do_not_apply_are_null() {
        let cells = vec![bare_cell("x", CellOutcome::Skip)];
        let verdict = Verdict::over(cells, None, DateTime::UNIX_EPOCH, 1.5);
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!(json["started"], "1970-01-01T00:00:00Z");
        assert_eq!(json["verdict"], "untestable");
        let cell = json["cells"][0].as_object().unwrap();
        for key in ["writes", "blocks_checked", "races", "phases", "guard_blind", "healed"] {
            assert!(cell[key].is_null(), "{key}");
        }
        for key in ["standing", "divergent", "first_catch_ms", "window_us", "owners", "repeat"] {
            assert!(cell[key].is_null(), "{key}");
        }
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
    }
}
