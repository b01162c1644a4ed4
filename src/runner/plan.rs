//! Which cells a run has: scenario × file system × `stable_writes`. Pure: what the machine and the
//! kernel lack is passed in.

use std::collections::BTreeSet;
use std::sync::Arc;

use glob::Pattern;

use crate::runner::catalogue::{Catalogue, CatalogueError};
use crate::runner::scenario::Scenario;
use crate::runner::table::{CellKey, Expectation, FileSystem};
use crate::verdict::{StableWrites, cell_name};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The choice of scenarios.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A file system that is not known.
    #[error("file system '{name}' is not known: there are {known}")]
    UnknownFs {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A choice that leaves no cell.
    #[error("none of the chosen scenarios runs on {0}: see 'dixtrap list scenarios'")]
    Nothing(String),
}

/// A cell before anything is known of the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    /// What runs.
    pub scenario: Arc<Scenario>,
    /// On what.
    pub fs: FileSystem,
    /// With `stable_writes` set how; `None` leaves it alone.
    pub stable_writes: Option<StableWrites>,
}

impl Square {
    /// The cell's name, as the verdict has it.
    pub fn name(&self) -> String {
        cell_name(&self.scenario.name, &self.fs.name, self.stable_writes)
    }

    /// The programs of the host that the guest needs for it.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.fs.mkfs.as_deref().into_iter().chain(self.scenario.needs.iter().map(String::as_str))
    }
}

/// What the user chose, and the control that may have to be added.
#[derive(Debug, Clone)]
pub struct Selection {
    catalogue: Catalogue,
    chosen: Vec<Square>,
    controls: Vec<Square>,
}

impl Selection {
    /// Checks the choice: scenarios by pattern or path, file systems by name; empty means all.
    pub fn new(
        catalogue: Catalogue,
        scenarios: &[String],
        fs: &[String],
    ) -> Result<Selection, PlanError> {
        if let Some(name) = fs.iter().find(|name| catalogue.file_systems.get(name).is_none()) {
            let known: Vec<&str> =
                catalogue.file_systems.iter().map(|system| system.name.as_str()).collect();
            return Err(PlanError::UnknownFs { name: name.clone(), known: known.join(", ") });
        }
        let chosen: Vec<Square> = squares(&catalogue, &catalogue.choose(scenarios)?)
            .into_iter()
            .filter(|square| fs.is_empty() || fs.contains(&square.fs.name))
            .collect();
        if chosen.is_empty() {
            return Err(PlanError::Nothing(fs.join(", ")));
        }
        // The surest controls come first: those that need no driver and no program, and race whatever
        // the knob says.
        let mut controls = squares(&catalogue, catalogue.scenarios());
        controls.sort_by_key(|square| {
            (square.fs.driver.is_some(), square.stable_writes != Some(StableWrites::On))
        });
        Ok(Selection { catalogue, chosen, controls })
    }

    /// Everything that may run: the choice and what may be added to it.
    pub fn squares(&self) -> impl Iterator<Item = &Square> {
        self.chosen.iter().chain(&self.controls)
    }

    /// The drivers that the chosen cells and a possible control would use.
    pub fn drivers(&self) -> BTreeSet<String> {
        self.squares().filter_map(|square| square.fs.driver.clone()).collect()
    }

    /// The programs that the chosen cells and a possible control would use.
    pub fn programs(&self) -> BTreeSet<String> {
        self.squares().flat_map(Square::programs).map(str::to_owned).collect()
    }

    /// The cells to run on the kernel that `around` tells of. Where no chosen cell can prove that
    /// the trap is armed, a positive control comes first.
    pub fn plan(&self, around: &Surroundings) -> Vec<PlannedCell> {
        let planned = |square: &Square| self.planned(square, around);
        let mut cells: Vec<PlannedCell> = self.chosen.iter().map(planned).collect();
        let proves = |cell: &PlannedCell| cell.expectation.control && cell.skip.is_none();
        if !cells.iter().any(proves) {
            let control = self.controls.iter().map(planned).find(proves);
            cells.splice(0..0, control);
        }
        cells
    }

    fn planned(&self, square: &Square, around: &Surroundings) -> PlannedCell {
        let key = CellKey {
            fs: &square.fs.name,
            stable_writes: square.stable_writes,
            release: &around.release,
        };
        PlannedCell {
            expectation: self.catalogue.expectation(&square.scenario, key),
            skip: around.obstacle(square),
            square: square.clone(),
        }
    }
}

/// Every cell that the scenarios' headers allow, in the order of scenarios and file systems.
fn squares(catalogue: &Catalogue, scenarios: &[Scenario]) -> Vec<Square> {
    let mut squares = Vec::new();
    for scenario in scenarios {
        let scenario = Arc::new(scenario.clone());
        let runs_on = |system: &&FileSystem| {
            let matches = |p: &String| Pattern::new(p).is_ok_and(|p| p.matches(&system.name));
            scenario.fs.iter().any(matches)
        };
        for fs in catalogue.file_systems.iter().filter(runs_on) {
            for stable_writes in &scenario.stable_writes {
                squares.push(Square {
                    scenario: Arc::clone(&scenario),
                    fs: fs.clone(),
                    stable_writes: *stable_writes,
                });
            }
        }
    }
    squares
}

/// What is known of the guest before its first cell.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `uname -r`; empty before the guest told.
    pub release: String,
    /// Programs that this machine does not have.
    pub missing_programs: BTreeSet<String>,
    /// Drivers that the kernel does not have.
    pub missing_drivers: BTreeSet<String>,
}

impl Surroundings {
    /// Why a cell cannot run, where it cannot.
    fn obstacle(&self, square: &Square) -> Option<String> {
        if let Some(program) = square.programs().find(|p| self.missing_programs.contains(*p)) {
            let package =
                square.fs.package.as_ref().filter(|_| square.fs.mkfs.as_deref() == Some(program));
            let way_out = package.map_or_else(
                || format!("install the package that brings {program}"),
                |package| format!("install the package {package}"),
            );
            return Some(format!("{program} is not on this machine: {way_out}"));
        }
        let driver = square.fs.driver.as_ref()?;
        self.missing_drivers
            .contains(driver)
            .then(|| format!("this kernel has no driver for {driver}"))
    }
}

/// A cell to run or to skip.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// What and where.
    pub square: Square,
    /// What it should show.
    pub expectation: Expectation,
    /// Why it will not run.
    pub skip: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Expect;

    fn select(scenarios: &[&str], fs: &[&str]) -> Result<Selection, PlanError> {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        Selection::new(Catalogue::embedded().unwrap(), &owned(scenarios), &owned(fs))
    }

    fn around(programs: &[&str], drivers: &[&str]) -> Surroundings {
        let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Surroundings {
            release: "6.1.0-1-amd64".into(),
            missing_programs: set(programs),
            missing_drivers: set(drivers),
        }
    }

    #[test]
    fn a_scenario_unfolds_over_its_header() {
        let selection = select(&["mmap-rewrite"], &["ext4"]).unwrap();
        let cells = selection.plan(&around(&[], &[]));
        let told: Vec<(String, Expect, bool)> = cells
            .iter()
            .map(|c| (c.square.name(), c.expectation.expect, c.expectation.control))
            .collect();
        assert_eq!(
            told,
            [
                ("mmap-rewrite/ext4/stable_writes=off".to_owned(), Expect::Race, true),
                ("mmap-rewrite/ext4/stable_writes=on".to_owned(), Expect::Stable, false),
            ]
        );
    }

    #[test]
    fn a_choice_without_a_control_gets_one_that_needs_nothing() {
        let cells = select(&["metadata-churn"], &[]).unwrap().plan(&around(&[], &[]));
        assert!(cells[0].expectation.control);
        assert_eq!(cells[0].square.name(), "direct-rewrite/raw/stable_writes=on");
        assert!(cells[1..].iter().all(|c| c.square.scenario.name == "metadata-churn"));
    }

    #[test]
    fn what_is_missing_skips_its_cells_and_says_what_would_help() {
        let selection = select(&[], &["ext4"]).unwrap();
        assert!(selection.programs().contains("mkfs.ext4"));
        let cells = selection.plan(&around(&["mkfs.ext4"], &[]));
        let reason = cells[1].skip.as_ref().unwrap();
        assert!(reason.contains("install the package e2fsprogs"), "{reason}");
        assert!(cells[0].skip.is_none(), "the control that was added");
        let cells = selection.plan(&around(&[], &["ext4"]));
        assert!(cells[1].skip.as_ref().unwrap().contains("no driver for ext4"));
    }

    #[test]
    fn choices_of_nothing_are_errors_that_say_what_there_is() {
        assert!(select(&[], &["ntfs"]).unwrap_err().to_string().contains("raw, ext4"));
        assert!(select(&["metadata-churn"], &["raw"]).is_err());
        assert!(select(&["nosuch"], &[]).is_err());
    }
}
