//! A target: its logical units, and which of them the initiator can see.

use std::sync::Arc;

use super::sense::UnitAttention;
use super::unit::Unit;

/// A target: its logical units are numbered from 0.
#[derive(Debug)]
pub struct Target {
    units: Vec<Arc<Unit>>,
}

impl Target {
    /// A target with these units.
    pub fn new(units: Vec<Arc<Unit>>) -> Self {
        Target { units }
    }

    /// The units, also those that are unplugged.
    pub fn units(&self) -> &[Arc<Unit>] {
        &self.units
    }

    /// The numbers of the units that the initiator can see.
    pub fn luns(&self) -> impl Iterator<Item = u16> + '_ {
        let numbered = self.units.iter().zip(0u16..);
        numbered.filter(|(unit, _)| unit.is_plugged()).map(|(_, lun)| lun)
    }

    /// The unit with this number, unless it is unplugged.
    pub fn unit(&self, lun: u16) -> Option<&Arc<Unit>> {
        self.units.get(usize::from(lun)).filter(|unit| unit.is_plugged())
    }

    /// Takes a unit away, or gives it back as after power on; the others are told (SPC-5 §6.34).
    /// Answers `None` where there is no such unit, and whether anything changed.
    ///
    /// Requests of the unit that are in their window end as they would have: the drive has them.
    pub fn plug(&self, lun: u16, plugged: bool) -> Option<bool> {
        let unit = self.units.get(usize::from(lun))?;
        let changed = unit.set_plugged(plugged);
        if changed {
            unit.reset(UnitAttention::PowerOn);
            let others = self.units.iter().filter(|other| !Arc::ptr_eq(other, unit));
            others.for_each(|other| other.attend(UnitAttention::Luns));
        }
        Some(changed)
    }

    /// Every unit is told of a reset.
    pub fn reset(&self, why: UnitAttention) {
        for unit in &self.units {
            unit.reset(why);
        }
    }
}
