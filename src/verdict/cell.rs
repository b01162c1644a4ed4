//! A cell: one scenario on one file system with one setting, on one kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Phases;
use crate::units::WindowSpec;

use super::culprits::CulpritGroup;
use super::owners::OwnerGroup;

/// What a cell is expected to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// No block may race.
    Stable,
    /// Blocks race; a run without a race breaks the expectation.
    Race,
    /// Nothing is known; whatever is seen is told and never judged.
    Survey,
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stable" => Ok(Expect::Stable),
            "race" => Ok(Expect::Race),
            "survey" => Ok(Expect::Survey),
            other => Err(format!("'{other}' is no expectation: use stable, race or survey")),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Expect::Stable => "stable",
            Expect::Race => "race",
            Expect::Survey => "survey",
        })
    }
}

/// The queue's `stable_writes`, set before the file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StableWrites {
    /// The guest waits for writeback before it changes a page.
    On,
    /// The guest does not.
    Off,
}

impl fmt::Display for StableWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StableWrites::On => "on",
            StableWrites::Off => "off",
        })
    }
}

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellOutcome {
    /// As expected.
    Pass,
    /// Proven not to be as expected.
    Fail,
    /// Not run, for the reason given.
    Skip,
    /// Run, or meant to be run, without a result that counts.
    Error,
}

impl fmt::Display for CellOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CellOutcome::Pass => "pass",
            CellOutcome::Fail => "fail",
            CellOutcome::Skip => "skip",
            CellOutcome::Error => "error",
        })
    }
}

/// The window of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CellWindow {
    /// The window asked for.
    pub asked: WindowSpec,
    /// The measured median in microseconds; with several repetitions the median of their medians.
    pub median: Option<f64>,
    /// The longest window measured, in microseconds.
    pub max: Option<f64>,
}

/// In how many repetitions something raced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// Repetitions in which at least one block raced.
    pub k: u32,
    /// Repetitions that ran.
    pub n: u32,
}

/// How a note begins that is of a second look at a cell, and not of its kernel.
pub const SECOND_LOOK: &str = "second look: ";

/// One line of the verdict. Counters that do not apply are `None` and `null`, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The guest's `uname -r`; the kernel as it was asked for where the guest never told.
    pub kernel: String,
    /// `blk` or `scsi`.
    pub device: String,
    /// The file system's name.
    pub fs: String,
    /// The scenario's name.
    pub scenario: String,
    /// How `stable_writes` was set; `None` where the scenario leaves it alone.
    pub stable_writes: Option<StableWrites>,
    /// How the queue's `stable_writes` was while the script wrote; `None` where that is not known, or
    /// it changed.
    #[serde(default)]
    pub ran_with: Option<StableWrites>,
    /// What was expected.
    pub expect: Expect,
    /// What became of it.
    pub outcome: CellOutcome,
    /// Why, in one line; always there unless the cell passed.
    pub reason: Option<String>,
    /// Why this was expected: the table's reason, or the scenario's own.
    #[serde(default)]
    pub why: Option<String>,
    /// It proves that the trap was armed.
    pub control: bool,
    /// Write requests whose samples were compared.
    pub writes: Option<u64>,
    /// Logical blocks whose samples were compared.
    pub blocks_checked: Option<u64>,
    /// Races before the doorbell and in the window: over DIX one block can race in both.
    pub races: Option<u64>,
    /// Blocks whose bytes changed, by when.
    pub phases: Option<Phases>,
    /// Races that a guard alone would not have seen.
    pub guard_blind: Option<u64>,
    /// Races that a later clean write, discard or write-zeroes covered, be it after the cell; at least so
    /// many where `standing` is not known.
    pub healed: Option<u64>,
    /// Races that nothing covered before the boot ended; `None` of a cell that ran where healings were
    /// only counted, as the records had reached their limit.
    pub standing: Option<u64>,
    /// Blocks that differ between the legs of a mirror, where the scenario compared some.
    #[serde(default)]
    pub divergent: Option<u64>,
    /// Milliseconds from the first write of the scenario to the first race.
    pub first_catch_ms: Option<f64>,
    /// The window asked for and what was measured.
    pub window_us: Option<CellWindow>,
    /// Races by owner, where owners are known.
    pub owners: Option<BTreeMap<String, u64>>,
    /// The same with what became of them, the most races first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner_groups: Option<Vec<OwnerGroup>>,
    /// Races by who changed the bytes, the most first; nothing where nobody watched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub culprits: Option<Vec<CulpritGroup>>,
    /// In how many repetitions something raced.
    pub repeat: Option<Repeat>,
    /// The file of what the script printed, seen from the directory of `--out`.
    #[serde(default)]
    pub log: Option<String>,
    /// What the kernel said of itself meanwhile and went on after, such as a CPU that was stuck for a while; and
    /// what a second look came to, behind [`SECOND_LOOK`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Cell {
    /// A cell of which nothing was measured: where it ran, what it is, what was expected, what came of
    /// it and why.
    pub fn unmeasured(
        (kernel, device): (&str, &str),
        (scenario, fs, stable_writes): (&str, &str, Option<StableWrites>),
        (expect, control): (Expect, bool),
        (outcome, reason): (CellOutcome, Option<String>),
    ) -> Cell {
        Cell {
            kernel: kernel.to_owned(),
            device: device.to_owned(),
            fs: fs.to_owned(),
            scenario: scenario.to_owned(),
            stable_writes,
            ran_with: None,
            expect,
            outcome,
            reason,
            why: None,
            control,
            writes: None,
            blocks_checked: None,
            races: None,
            phases: None,
            guard_blind: None,
            healed: None,
            standing: None,
            divergent: None,
            first_catch_ms: None,
            window_us: None,
            owners: None,
            owner_groups: None,
            culprits: None,
            repeat: None,
            log: None,
            notes: Vec::new(),
        }
    }

    /// The cell's name inside its kernel: `mmap-rewrite/ext4/stable_writes=off`.
    pub fn name(&self) -> String {
        cell_name(&self.scenario, &self.fs, self.stable_writes)
    }
}

/// The name of a cell inside its kernel.
pub fn cell_name(scenario: &str, fs: &str, stable: Option<StableWrites>) -> String {
    match stable {
        Some(stable) => format!("{scenario}/{fs}/stable_writes={stable}"),
        None => format!("{scenario}/{fs}"),
    }
}
