//! Which cells a run has: scenario × file system × `stable_writes`. Pure: what the machine and the
//! kernel lack is passed in.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use glob::Pattern;

use crate::runner::host::device::Device;
use crate::runner::select::catalogue::{Catalogue, CatalogueError};
use crate::runner::select::cell_spec::CellSpec;
use crate::runner::select::environment::Environment;
use crate::runner::select::faults;
use crate::runner::select::knob::Knob;
use crate::runner::select::meant::did_you_mean;
use crate::runner::select::plan::PlannedCell;
use crate::runner::select::scenario::Scenario;
use crate::runner::select::table::{CellKey, Expectation, FileSystem, FileSystems};
use crate::verdict::{Expect, StableWrites};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The choice of scenarios.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A file system that is not known.
    #[error("file system '{name}' is not known{meant} There are {known}")]
    UnknownFs {
        /// What was asked for.
        name: String,
        /// What may have been meant; ends the sentence.
        meant: String,
        /// What there is.
        known: String,
    },
    /// A pattern that is not one.
    #[error("'{0}' is no glob pattern")]
    Pattern(String, #[source] glob::PatternError),
    /// A setting of the knob that none of the choice has.
    #[error(
        "none of the chosen scenarios runs with stable_writes {0}: see their '# stable-writes:' lines"
    )]
    Knob(&'static str),
    /// A choice that leaves no cell.
    #[error("none of the chosen scenarios runs on {0}: see 'dixtrap list scenarios'")]
    Nothing(String),
}

/// What the user chose, and the control that may have to be added.
#[derive(Debug, Clone)]
pub struct Selection {
    catalogue: Catalogue,
    chosen: Vec<CellSpec>,
    controls: Vec<CellSpec>,
    expecting: Option<Expect>,
}

impl Selection {
    /// Checks the choice: scenarios by pattern or path, file systems by name; empty means all.
    pub fn new(
        catalogue: Catalogue,
        scenarios: &[String],
        fs: &[String],
    ) -> Result<Selection, PlanError> {
        let wanted = wanted_fs(&catalogue.file_systems, fs)?;
        let chosen = specs(&catalogue, &catalogue.choose(scenarios)?, &wanted);
        if chosen.is_empty() {
            return Err(PlanError::Nothing(fs.join(", ")));
        }
        // A control that is added must not fail for want of anything: no driver, no program. The surest
        // comes first: a buffer of direct I/O on the bare disk, the knob off. With it on a kernel may
        // copy what it writes, as file systems have begun to.
        let mut controls = specs(&catalogue, catalogue.scenarios(), &everywhere());
        controls.retain(|spec| spec.drivers().count() == 0 && spec.programs().count() == 0);
        controls.sort_by_key(|spec| {
            let direct = spec.scenario.name == "direct-rewrite";
            (!direct, spec.stable_writes != Some(StableWrites::Off))
        });
        Ok(Selection { catalogue, chosen, controls, expecting: None })
    }

    /// Judges every chosen cell by `expect`, whatever is known of it: a bisection asks one question of
    /// every kernel. A cell that is judged so proves nothing about the trap.
    #[must_use]
    pub fn expecting(self, expect: Option<Expect>) -> Selection {
        Selection { expecting: expect, ..self }
    }

    /// Only the cells with this setting of the knob. The controls stay: they prove the trap, not the
    /// kernel.
    ///
    /// # Errors
    /// [`PlanError::Knob`] where none is left.
    pub fn with_knob(mut self, knob: Knob) -> Result<Selection, PlanError> {
        self.chosen.retain(|spec| knob.wants(spec.stable_writes));
        if self.chosen.is_empty() { Err(PlanError::Knob(knob.word())) } else { Ok(self) }
    }

    /// What every chosen cell is judged by, where that was asked for.
    pub fn asks(&self) -> Option<Expect> {
        self.expecting
    }

    /// The cells that the user chose.
    pub fn chosen(&self) -> &[CellSpec] {
        &self.chosen
    }

    /// How many cells the user chose.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Nothing was chosen; only a part of a choice can be empty.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Some of the chosen cells, with the same controls to prove them by.
    pub fn part(&self, range: Range<usize>) -> Selection {
        let chosen = self.chosen.get(range).unwrap_or_default().to_vec();
        Selection { chosen, ..self.clone() }
    }

    /// The chosen cells that have one of these names, with the same controls.
    pub fn named(&self, names: &[String]) -> Selection {
        let chosen = self.chosen.iter().filter(|spec| names.contains(&spec.name()));
        Selection { chosen: chosen.cloned().collect(), ..self.clone() }
    }

    /// What of the choice runs on `device`, with the controls that can.
    pub fn on(&self, device: Device) -> Selection {
        let runs = |spec: &&CellSpec| spec.scenario.runs_on(device);
        let of = |specs: &[CellSpec]| specs.iter().filter(runs).cloned().collect();
        let (chosen, controls) = (of(&self.chosen), of(&self.controls));
        Selection { chosen, controls, ..self.clone() }
    }

    /// Everything that may run: the choice and what may be added to it.
    pub fn specs(&self) -> impl Iterator<Item = &CellSpec> {
        self.chosen.iter().chain(&self.controls)
    }

    /// The drivers that the chosen cells and a possible control would use, or be better with.
    pub fn drivers(&self) -> BTreeSet<String> {
        let wishes = self.specs().flat_map(|spec| &spec.fs.wishes);
        self.specs().flat_map(CellSpec::drivers).chain(wishes).cloned().collect()
    }

    /// The programs that the chosen cells and a possible control would use.
    pub fn programs(&self) -> BTreeSet<String> {
        self.specs().flat_map(CellSpec::programs).map(str::to_owned).collect()
    }

    /// The cells to run on the kernel that `around` tells of. Where no chosen cell can prove that
    /// the trap is armed, a positive control comes first.
    pub fn plan(&self, around: &Environment) -> Vec<PlannedCell> {
        let mut cells = self.expected(around);
        let proves = |cell: &PlannedCell| cell.expectation.control && cell.skip.is_none();
        if !cells.iter().any(proves) {
            let planned = |spec: &CellSpec| self.planned(spec, around);
            // Two cells of one name would be one in records and verdict: the control would be taken for the
            // answer to what was asked.
            let is_chosen = |spec: &CellSpec| self.chosen.iter().any(|it| it.name() == spec.name());
            let others = self.controls.iter().filter(|spec| !is_chosen(spec));
            let control = others.chain(&self.controls).map(planned).find(proves);
            cells.splice(0..0, control);
        }
        cells
    }

    /// The chosen cells, with what is expected of each, and no control beside them.
    pub fn expected(&self, around: &Environment) -> Vec<PlannedCell> {
        let planned = |spec: &CellSpec| self.planned(spec, around);
        let mut cells: Vec<PlannedCell> = self.chosen.iter().map(planned).collect();
        if let Some(expect) = self.expecting {
            let why = Some("asked for with --expect".to_owned());
            let expectation = Expectation { expect, control: false, why };
            for cell in &mut cells {
                cell.expectation = expectation.clone();
                cell.asked = true;
            }
        }
        cells
    }

    fn planned(&self, spec: &CellSpec, around: &Environment) -> PlannedCell {
        let key = CellKey {
            device: around.device,
            fs: &spec.fs.name,
            stable_writes: spec.stable_writes,
            guest: around.guest.as_ref(),
        };
        PlannedCell {
            expectation: self.catalogue.expectation(&spec.scenario, key),
            skip: around.obstacle(spec),
            faults: spec
                .scenario
                .faults
                .iter()
                .filter_map(|fault| faults::on_disk(fault, around.disk).ok())
                .collect(),
            asked: false,
            enough: None,
            spec: spec.clone(),
        }
    }
}

/// The patterns over file systems' names; each has to match one.
fn wanted_fs(known: &FileSystems, wanted: &[String]) -> Result<Vec<Pattern>, PlanError> {
    let parse = |want: &String| {
        let pattern = Pattern::new(want).map_err(|e| PlanError::Pattern(want.clone(), e))?;
        if known.iter().any(|system| pattern.matches(&system.name)) {
            return Ok(pattern);
        }
        let known: Vec<&str> = known.iter().map(|system| system.name.as_str()).collect();
        let meant = did_you_mean(want, known.iter().copied());
        Err(PlanError::UnknownFs { name: want.clone(), meant, known: known.join(", ") })
    };
    wanted.iter().map(parse).collect()
}

/// The pattern that every name matches.
fn everywhere() -> Vec<Pattern> {
    Pattern::new("*").into_iter().collect()
}

/// The file systems for a scenario: those of its header that are wanted. Where none is asked for,
/// the defaults; a scenario of the user's own, and one for none of the defaults, runs wherever its
/// header says.
fn fs_for<'c>(
    systems: &'c FileSystems,
    scenario: &Scenario,
    wanted: &[Pattern],
) -> Vec<&'c FileSystem> {
    let matches = |p: &String, name: &str| Pattern::new(p).is_ok_and(|p| p.matches(name));
    let runs_on = |system: &&FileSystem| scenario.fs.iter().any(|p| matches(p, &system.name));
    let all: Vec<&FileSystem> = systems.iter().filter(runs_on).collect();
    let is_default = |system: &&FileSystem| systems.defaults().contains(&system.name);
    let is_wanted = |system: &&FileSystem| wanted.iter().any(|p| p.matches(&system.name));
    if !wanted.is_empty() {
        all.into_iter().filter(is_wanted).collect()
    } else if scenario.own || !all.iter().any(is_default) {
        all
    } else {
        all.into_iter().filter(is_default).collect()
    }
}

/// Every cell that the scenarios' headers and the choice of file systems allow, in the order of
/// scenarios and file systems.
fn specs(catalogue: &Catalogue, scenarios: &[Scenario], wanted: &[Pattern]) -> Vec<CellSpec> {
    let mut specs = Vec::new();
    for scenario in scenarios {
        let systems = fs_for(&catalogue.file_systems, scenario, wanted);
        let scenario = Arc::new(scenario.clone());
        for fs in systems {
            for stable_writes in &scenario.stable_writes {
                specs.push(CellSpec {
                    scenario: Arc::clone(&scenario),
                    fs: fs.clone(),
                    stable_writes: *stable_writes,
                });
            }
        }
    }
    specs
}

#[cfg(test)]
#[path = "selection/tests.rs"]
mod tests;
