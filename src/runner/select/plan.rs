//! Which cells a run has: scenario × file system × `stable_writes`. Pure: what the machine and the
//! kernel lack is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use glob::Pattern;

use crate::runner::host::device::Device;
use crate::runner::host::machine::DiskShape;
use crate::runner::select::catalogue::{Catalogue, CatalogueError};
use crate::runner::select::faults;
use crate::runner::select::meant::did_you_mean;
use crate::runner::select::scenario::Scenario;
use crate::runner::select::table::{CellKey, Expectation, FileSystem, FileSystems, Guest};
use crate::verdict::{Expect, StableWrites, cell_name};

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

/// Which settings of `stable_writes` are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Knob {
    /// Only on.
    On,
    /// Only off.
    Off,
    /// Every setting that a scenario runs with.
    #[default]
    Both,
}

impl Knob {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Knob::On => "on",
            Knob::Off => "off",
            Knob::Both => "both",
        }
    }

    /// Whether a cell with this setting is wanted. One that leaves the knob alone always is.
    fn wants(self, setting: Option<StableWrites>) -> bool {
        match self {
            Knob::On => setting != Some(StableWrites::Off),
            Knob::Off => setting != Some(StableWrites::On),
            Knob::Both => true,
        }
    }
}

impl FromStr for Knob {
    type Err = String;

    fn from_str(text: &str) -> Result<Knob, String> {
        let known = [Knob::On, Knob::Off, Knob::Both].into_iter().find(|knob| knob.word() == text);
        known.ok_or_else(|| format!("'{text}' is no setting of stable_writes: use on, off or both"))
    }
}

/// A cell before anything is known of the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct CellSpec {
    /// What runs.
    pub scenario: Arc<Scenario>,
    /// On what.
    pub fs: FileSystem,
    /// With `stable_writes` set how; `None` leaves it alone.
    pub stable_writes: Option<StableWrites>,
}

impl CellSpec {
    /// The cell's name, as the verdict has it.
    pub fn name(&self) -> String {
        cell_name(&self.scenario.name, &self.fs.name, self.stable_writes)
    }

    /// The programs of the host that the guest needs for it.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.fs.mkfs.as_deref().into_iter().chain(self.scenario.programs())
    }

    /// The drivers that the guest's kernel needs for it.
    pub fn drivers(&self) -> impl Iterator<Item = &String> {
        self.fs.drivers.iter().chain(&self.scenario.drivers)
    }
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

/// What is known of the guest before its first cell.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The device that it boots on.
    pub device: Device,
    /// The disk under test.
    pub disk: DiskShape,
    /// What the guest told of itself; `None` before it did.
    pub guest: Option<Guest>,
    /// Programs that this machine does not have.
    pub missing_programs: BTreeSet<String>,
    /// Programs that this machine has and that cannot come along, and why: by name, or by path.
    pub stranded_programs: BTreeMap<String, String>,
    /// Drivers that the kernel does not have.
    pub missing_drivers: BTreeSet<String>,
}

impl Environment {
    /// Why a cell cannot run, where it cannot.
    pub fn obstacle(&self, spec: &CellSpec) -> Option<String> {
        if let Some(program) = spec.programs().find(|p| self.missing_programs.contains(*p)) {
            let package =
                spec.fs.package.as_ref().filter(|_| spec.fs.mkfs.as_deref() == Some(program));
            let way_out = package.map_or_else(
                || format!("install the package that brings {program}"),
                |package| format!("install the package {package}"),
            );
            return Some(format!("{program} is not on this machine: {way_out}"));
        }
        if let Some(why) = self.stranded(spec) {
            return Some(why);
        }
        let block = self.disk.block_size;
        if let Some(bytes) = spec.fs.block_bytes.filter(|bytes| *bytes < block.bytes_u64()) {
            return Some(format!(
                "no {bytes}-byte blocks of a file system fit on {block}-byte blocks"
            ));
        }
        let faults = spec.scenario.faults.iter();
        if let Some(why) = faults.filter_map(|fault| faults::on_disk(fault, self.disk).err()).next()
        {
            return Some(why);
        }
        let driver = spec.drivers().find(|name| self.missing_drivers.contains(*name))?;
        Some(format!("this kernel has no driver {driver}"))
    }

    /// Why one of the cell's programs cannot come along, where one cannot.
    fn stranded(&self, spec: &CellSpec) -> Option<String> {
        let companions = spec.scenario.companions.iter();
        let beside = companions.filter_map(|c| Some((&*c.place, c.program.as_ref()?.to_str()?)));
        let mut all = spec.programs().map(|name| (name, name)).chain(beside);
        all.find_map(|(name, key)| {
            let why = self.stranded_programs.get(key)?;
            Some(format!("{name} cannot come along into the guest: {why}"))
        })
    }
}

impl PlannedCell {
    /// One race is enough: it is what was expected, or the answer to what was asked.
    pub fn ends_at_a_race(&self) -> bool {
        match self.expectation.expect {
            Expect::Race => true,
            Expect::Stable => self.asked,
            Expect::Survey => false,
        }
    }
}

/// A cell to run or to skip.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// What and where.
    pub spec: CellSpec,
    /// What it should show.
    pub expectation: Expectation,
    /// Why it will not run.
    pub skip: Option<String>,
    /// It is judged by `--expect`: the first race where none may be answers for the whole run.
    pub asked: bool,
    /// The faults that the disk has while it runs, as `dixtrapd --inject` takes them.
    pub faults: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::select::table::tests::guest;
    use crate::units::{BlockSize, ByteSize};

    fn select(scenarios: &[&str], fs: &[&str]) -> Result<Selection, PlanError> {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        Selection::new(Catalogue::embedded().unwrap(), &owned(scenarios), &owned(fs))
    }

    fn around(programs: &[&str], drivers: &[&str]) -> Environment {
        let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Environment {
            device: Device::Blk,
            disk: DiskShape::default(),
            guest: Some(guest("6.1.0")),
            missing_programs: set(programs),
            missing_drivers: set(drivers),
            ..Environment::default()
        }
    }

    #[test]
    fn a_scenario_unfolds_over_its_header() {
        let selection = select(&["mmap-rewrite"], &["ext4"]).unwrap();
        let cells = selection.plan(&around(&[], &[]));
        let told: Vec<(String, Expect, bool)> = cells
            .iter()
            .map(|c| (c.spec.name(), c.expectation.expect, c.expectation.control))
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
        assert_eq!(cells[0].spec.name(), "direct-rewrite/raw/stable_writes=off");
        assert!(cells[1..].iter().all(|c| c.spec.scenario.name == "metadata-churn"));
    }

    #[test]
    fn one_question_for_every_kernel_needs_a_control_of_its_own() {
        let selection = select(&["direct-rewrite"], &["ext4"]).unwrap();
        for expect in [Expect::Stable, Expect::Race, Expect::Survey] {
            let cells = selection.clone().expecting(Some(expect)).plan(&around(&[], &[]));
            assert!(cells[0].expectation.control && cells[0].spec.fs.name == "raw");
            assert_eq!(cells.len(), 3);
            assert!(
                cells[1..].iter().all(|c| c.expectation.expect == expect && !c.expectation.control)
            );
        }
        let cells = selection.expecting(None).plan(&around(&[], &[]));
        assert!(cells.iter().all(|c| c.spec.fs.name == "ext4"), "{cells:?}");
    }

    #[test]
    fn a_control_is_never_the_cell_that_is_asked_about() {
        let selection = select(&["direct-rewrite"], &["raw"]).unwrap();
        let cells = selection.expecting(Some(Expect::Race)).plan(&around(&[], &[]));
        assert!(cells[0].expectation.control && cells.len() == 3);
        let mut names: Vec<_> = cells.iter().map(|cell| cell.spec.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn one_race_ends_a_cell_that_it_answers() {
        let ends = |expect| {
            let selection = select(&["metadata-churn"], &["ext4"]).unwrap().expecting(expect);
            let cells = selection.plan(&around(&[], &[]));
            assert!(cells[0].expectation.control && cells[0].ends_at_a_race() && !cells[0].asked);
            cells[1].ends_at_a_race()
        };
        assert!(ends(Some(Expect::Stable)) && ends(Some(Expect::Race)));
        // Without the question the figures are wanted as well.
        assert!(!ends(None) && !ends(Some(Expect::Survey)));
    }

    #[test]
    fn the_knob_picks_its_cells_and_those_that_leave_it_alone() {
        let settings = |scenario: &str, knob: &str| -> Vec<Option<StableWrites>> {
            let chosen = select(&[scenario], &["ext4"]).unwrap();
            let chosen = chosen.with_knob(knob.parse().unwrap()).unwrap().chosen;
            chosen.into_iter().map(|spec| spec.stable_writes).collect()
        };
        let (on, off) = (Some(StableWrites::On), Some(StableWrites::Off));
        assert_eq!(settings("mmap-rewrite", "on"), [on]);
        assert_eq!(settings("mmap-rewrite", "off"), [off]);
        assert_eq!(settings("mmap-rewrite", "both"), [off, on]);
        assert_eq!(settings("dix-verify", "off"), [None]);
        let cells = select(&["metadata-churn"], &["ext4"]).unwrap().with_knob(Knob::Off).unwrap();
        assert!(cells.plan(&around(&[], &[]))[0].expectation.control);
        assert!("maybe".parse::<Knob>().unwrap_err().contains("on, off or both"));
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
        assert!(cells[1].skip.as_ref().unwrap().contains("no driver ext4"));
        let stranded = [("mkfs.ext4".to_owned(), "ruby is not here".to_owned())].into();
        let around = Environment { stranded_programs: stranded, ..around(&[], &[]) };
        let reason = selection.plan(&around)[1].skip.clone().unwrap();
        assert_eq!(reason, "mkfs.ext4 cannot come along into the guest: ruby is not here");
    }

    #[test]
    fn what_does_not_fit_on_the_disk_is_skipped() {
        let selection = select(&["mmap-rewrite", "write-faults"], &["ext4*", "raw"]).unwrap();
        let skipped = |block_size, bytes| -> BTreeSet<String> {
            let disk = DiskShape { block_size, size: ByteSize(bytes), ..DiskShape::default() };
            let around = Environment { disk, ..around(&[], &[]) };
            let cells = selection.plan(&around).into_iter().filter(|cell| cell.skip.is_some());
            cells.map(|c| format!("{}/{}", c.spec.scenario.name, c.spec.fs.name)).collect()
        };
        let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(skipped(BlockSize::B512, 1 << 30), of(&[]));
        assert_eq!(skipped(BlockSize::B4096, 1 << 30), of(&["mmap-rewrite/ext4-1k"]));
        assert_eq!(skipped(BlockSize::B512, 512 << 20), of(&["write-faults/raw"]));
    }

    #[test]
    fn file_systems_are_chosen_by_pattern_and_defaults() {
        let names = |fs: &[&str]| -> BTreeSet<String> {
            let chosen = select(&["mmap-rewrite"], fs).unwrap().chosen;
            chosen.into_iter().map(|spec| spec.fs.name).collect()
        };
        let of = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(names(&[]), of(&["raw", "ext4", "xfs", "btrfs"]));
        assert_eq!(names(&["btrfs*", "raw"]), of(&["raw", "btrfs", "btrfs-nodatasum"]));
        assert!(select(&[], &["["]).is_err());
    }

    #[test]
    fn choices_of_nothing_are_errors_that_say_what_there_is() {
        assert!(select(&[], &["ntfs"]).unwrap_err().to_string().contains("raw, partition"));
        assert!(select(&["metadata-churn"], &["raw"]).is_err());
        assert!(select(&["nosuch"], &[]).is_err());
    }
}
