//! A cell by what it is made of: scenario × file system × `stable_writes`.

use std::sync::Arc;

use crate::runner::select::scenario::Scenario;
use crate::runner::select::table::FileSystem;
use crate::verdict::{StableWrites, cell_name};

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
