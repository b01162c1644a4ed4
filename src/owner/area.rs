//! A run of bytes of the disk that has one owner.

use serde::{Deserialize, Serialize};

use crate::record::{Holds, Owner, OwnerKind};

/// A run of bytes of the disk and whose they are. What the guest tells, and what layouts are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Where it begins, in bytes from the start of the disk.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Whose; an `offset` is that of the area's first byte.
    #[serde(flatten)]
    pub owner: Owner,
    /// When the owner was made, by the guest's clock, in microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub born_us: Option<u64>,
}

impl Area {
    /// An area that belongs to a structure of the file system.
    pub fn of(name: &str, kind: OwnerKind, start: u64, bytes: u64) -> Area {
        Area { start, bytes, owner: Owner::new(name, kind), born_us: None }
    }

    /// The same, for metadata.
    pub fn metadata(name: &str, start: u64, bytes: u64) -> Area {
        Area::of(name, OwnerKind::Metadata, start, bytes)
    }

    /// The same area, which holds these structures.
    #[must_use]
    pub fn holding(mut self, holds: Holds) -> Area {
        self.owner.holds = Some(holds);
        self
    }

    /// The first byte behind the area.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// The same area of a file system that begins `offset` bytes into the disk.
    pub fn shifted(self, offset: u64) -> Area {
        Area { start: self.start.saturating_add(offset), ..self }
    }

    /// Takes `next` in where it only goes on with this area; `false` where it is another's.
    pub fn join(&mut self, next: &Area) -> bool {
        let runs_on = self.owner.offset.map(|at| at.saturating_add(self.bytes));
        let holds_on = self.owner.holds.map(|holds| holds.after(self.bytes));
        let same = self.end() == next.start
            && self.owner.name == next.owner.name
            && self.owner.path == next.owner.path
            && self.born_us == next.born_us
            && runs_on == next.owner.offset
            && holds_on == next.owner.holds;
        if same {
            self.bytes = self.bytes.saturating_add(next.bytes);
        }
        same
    }
}

/// The areas with neighbours joined, in the order in which they came.
pub fn joined(areas: impl IntoIterator<Item = Area>) -> Vec<Area> {
    let mut all: Vec<Area> = Vec::new();
    for area in areas.into_iter().filter(|area| area.bytes > 0) {
        if !all.last_mut().is_some_and(|last| last.join(&area)) {
            all.push(area);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_owner_are_one_area() {
        let file = |start, offset| Area {
            owner: Owner { path: Some("/a".into()), offset: Some(offset), ..Owner::unknown() },
            ..Area::metadata("x", start, 10)
        };
        let areas = [file(0, 0), file(10, 10), file(20, 30), file(40, 40)];
        let runs: Vec<(u64, u64)> = joined(areas).iter().map(|a| (a.start, a.bytes)).collect();
        assert_eq!(runs, [(0, 20), (20, 10), (40, 10)]);
        let (table, map) = (Area::metadata("t", 0, 8), Area::metadata("m", 8, 8));
        assert_eq!(joined([table, map]).len(), 2);
    }

    #[test]
    fn an_area_is_one_flat_line() {
        let area = Area::metadata("inode table", 4096, 512);
        let text = serde_json::to_string(&area).unwrap();
        assert_eq!(text, r#"{"start":4096,"bytes":512,"name":"inode table","kind":"metadata"}"#);
        assert_eq!(serde_json::from_str::<Area>(&text).unwrap(), area);
    }
}
