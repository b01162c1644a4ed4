//! What is known of a guest before its first cell, and what keeps a cell from running there.

use std::collections::{BTreeMap, BTreeSet};

use crate::runner::host::device::Device;
use crate::runner::host::machine::DiskShape;
use crate::runner::select::cell_spec::CellSpec;
use crate::runner::select::faults;
use crate::runner::select::table::Guest;

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
