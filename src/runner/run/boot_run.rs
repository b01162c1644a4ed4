//! What is known of one boot: its cells, what became of them, and why it ended.

use crate::report::Offender;
use crate::runner::cell::judge::{BootInfo, judge_cells};
use crate::runner::cell::runs::CellResult;
use crate::runner::guest::early::Deaths;
use crate::runner::guest::notes::Notes;
use crate::runner::host::blame::Blame;
use crate::runner::host::device::Device;
use crate::runner::host::errors::{one_line, whole_text};
use crate::runner::run::agenda::Agenda;
use crate::runner::run::error::RunError;
use crate::runner::select::environment::Environment;
use crate::runner::select::selection::Selection;
use crate::units::WindowSpec;
use crate::verdict::{self, Cell, CellOutcome};

/// Why a boot ended before its last cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Whose fault it was.
    pub blame: Blame,
    /// In one line.
    pub reason: String,
    /// With the console's end.
    pub whole: String,
    /// A fresh boot may still run the cells that are left.
    pub again: bool,
}

impl Lost {
    fn by(error: &RunError) -> Lost {
        let (reason, whole) = (one_line(error), whole_text(error));
        Lost { blame: error.blame(), reason, whole, again: false }
    }
}

/// What is known of a boot.
#[derive(Debug)]
pub struct BootRun {
    /// The guest's release; before it told, the image's.
    pub kernel: String,
    /// The device.
    pub device: Device,
    /// Every cell that this boot was for.
    pub agenda: Agenda,
    /// Why it ended early.
    pub lost: Option<Lost>,
    /// The name of the boot's directory, once there is one.
    pub directory: Option<String>,
    /// The kernels that died before their agents answered.
    pub deaths: Deaths,
    /// What the kernel said of itself before the first cell, and went on after.
    pub notes: Notes,
    /// The records; `None` where the kernel did not come up.
    pub records: Option<BootRecords>,
}

/// The records that a boot left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BootRecords {
    /// The worst blocks of each label.
    pub worst: Vec<Offender>,
    /// They reached their limit, and do not hold everything.
    pub limit_reached: bool,
}

impl BootRun {
    /// A boot of `kernel` for these cells, of which none has a result that is not there already.
    pub fn new(kernel: &str, device: Device, agenda: Agenda) -> BootRun {
        BootRun {
            kernel: kernel.to_owned(),
            device,
            agenda,
            lost: None,
            directory: None,
            deaths: Deaths::default(),
            notes: Notes::default(),
            records: None,
        }
    }

    /// Of a guest of which nothing is known, as none came up.
    pub fn without_guest(kernel: &str, device: Device, selection: &Selection) -> BootRun {
        let unknown = Environment { device, ..Environment::default() };
        BootRun::new(kernel, device, Agenda::plan(selection, &unknown))
    }

    /// It ended before its last cell.
    pub fn lost_by(mut self, error: &RunError) -> BootRun {
        self.lost.get_or_insert(Lost::by(error));
        self
    }

    /// Accounts for the cells that were not reached: each is lost for this reason.
    pub fn give_up(&mut self, reason: &str) {
        self.agenda.fill(&CellResult::Lost(reason.to_owned()));
    }

    /// Whether one of `cells`, those of this boot, has no result because of its own script.
    pub fn has_broken_script(&self, cells: &[Cell]) -> bool {
        let broken =
            |result: &CellResult| matches!(result, CellResult::Ran(runs) if runs.broken_script);
        let without = |cell: &Cell| cell.outcome == CellOutcome::Error;
        self.agenda.results().iter().zip(cells).any(|(r, cell)| broken(r) && without(cell))
    }

    /// What is to be told of the boot beside its cells.
    pub fn told(&self) -> verdict::Boot {
        verdict::Boot {
            kernel: self.kernel.clone(),
            device: self.device.name().to_owned(),
            directory: self.directory.clone(),
            tries: self.deaths.tries(),
            early_deaths: self.deaths.lines().to_vec(),
            notes: self.notes.lines(),
        }
    }

    /// The cells that have a result, judged.
    pub fn judge_cells(&self, window: WindowSpec) -> Vec<Cell> {
        let info = BootInfo { kernel: &self.kernel, device: self.device.name(), window };
        judge_cells(info, self.agenda.done(), self.agenda.results())
    }
}
