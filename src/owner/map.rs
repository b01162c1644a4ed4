//! From a disk address to its owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{Owner, OwnerKind};

use super::area::Area;

/// Who owns what, as known at one moment. Areas that were added first take precedence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// What is left of the areas, by its first byte; no two overlap.
    pieces: BTreeMap<u64, Piece>,
    /// What is owned, neighbours in one run: from first byte to the one behind the last.
    runs: BTreeMap<u64, u64>,
    /// The guest's clock less the asker's: to be added to a time of the asker's.
    clock_us: Option<i128>,
}

/// A part of an area. One area may fill a million gaps, and its owner has a path as long as a stranger
/// likes: all its pieces share it.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    /// The first byte behind it.
    behind: u64,
    /// What it is a part of.
    whole: Arc<Area>,
}

impl Map {
    /// Adds what of `area` has no owner yet.
    pub fn add(&mut self, area: Area) {
        let (mut at, end) = (area.start, area.end());
        let whole = Arc::new(area);
        while at < end {
            if let Some(behind) = self.run_over(at) {
                at = behind;
                continue;
            }
            let next = self.runs.range(at..end).next().map_or(end, |(start, _)| *start);
            self.pieces.insert(at, Piece { behind: next, whole: Arc::clone(&whole) });
            self.take(at, next);
            at = next;
        }
    }

    /// Where the run ends that holds `at`.
    fn run_over(&self, at: u64) -> Option<u64> {
        self.runs.range(..=at).next_back().map(|(_, behind)| *behind).filter(|behind| at < *behind)
    }

    /// Notes a gap as filled, and joins it with what it touches: however many areas are told, one that
    /// covers them all has each gap to fill once.
    fn take(&mut self, start: u64, behind: u64) {
        let before = self.runs.range(..start).next_back();
        let start = before.filter(|(_, end)| **end == start).map_or(start, |(first, _)| *first);
        let behind = self.runs.remove(&behind).unwrap_or(behind);
        self.runs.insert(start, behind);
    }

    /// Notes that the guest's clock showed `guest_us` when the asker's showed `own_us`, or a little
    /// before. Of several such notes the one with the least delay holds.
    pub fn set_clock(&mut self, guest_us: u64, own_us: u64) {
        let ahead = i128::from(guest_us) - i128::from(own_us);
        self.clock_us = Some(self.clock_us.map_or(ahead, |known| known.max(ahead)));
    }

    /// Whether nothing is known at all.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whose the byte at `at` was at the time `t_us` of the asker's clock. An owner that is younger
    /// cannot have been it: the block was somebody's who has freed it since.
    pub fn owner(&self, at: u64, t_us: u64) -> Owner {
        let Some(area) = self.covering(at) else { return Owner::unknown() };
        if self.is_younger(area, t_us) {
            return freed();
        }
        let holds = area.owner.holds.map(|holds| holds.after(at.saturating_sub(area.start)));
        Owner { offset: owner_offset(area, at), holds, ..area.owner.clone() }
    }

    fn covering(&self, at: u64) -> Option<&Area> {
        let (_, piece) = self.pieces.range(..=at).next_back()?;
        (at < piece.behind).then_some(&*piece.whole)
    }

    fn is_younger(&self, area: &Area, t_us: u64) -> bool {
        match (area.born_us, self.clock_us) {
            (Some(born), Some(ahead)) => i128::from(born) > i128::from(t_us) + ahead,
            _ => false,
        }
    }
}

/// The owner of a block that has none any more.
pub fn freed() -> Owner {
    Owner::new("freed", OwnerKind::Unknown)
}

fn owner_offset(area: &Area, at: u64) -> Option<u64> {
    area.owner.offset.map(|first| first.saturating_add(at.saturating_sub(area.start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(start: u64, bytes: u64, path: &str, offset: u64) -> Area {
        let owner = Owner {
            path: Some(path.into()),
            offset: Some(offset),
            ..Owner::new("file", OwnerKind::Data)
        };
        Area { start, bytes, owner, born_us: None }
    }

    #[test]
    fn what_comes_first_keeps_its_bytes() {
        let mut map = Map::default();
        map.add(Area::metadata("table", 20, 10));
        map.add(file(0, 40, "/a", 100));
        map.add(file(35, 10, "/b", 0));
        assert_eq!(map.owner(25, 0).name, "table");
        assert_eq!(map.owner(5, 0).offset, Some(105));
        assert_eq!(
            (map.owner(30, 0).path, map.owner(30, 0).offset),
            (Some("/a".into()), Some(130))
        );
        assert_eq!((map.owner(44, 0).path, map.owner(44, 0).offset), (Some("/b".into()), Some(9)));
        assert_eq!(map.owner(45, 0), Owner::unknown());
    }

    #[test]
    fn a_younger_owner_was_not_it() {
        let mut map = Map::default();
        map.set_clock(1_000_400, 500);
        map.set_clock(1_000_550, 600);
        map.add(Area { born_us: Some(1_000_900), ..file(0, 10, "/a", 0) });
        assert_eq!(map.owner(0, 949), freed());
        assert_eq!(map.owner(0, 950).name, "file");
    }

    /// A guest, or a file of strangers, may tell the same again and again.
    #[test]
    fn areas_upon_areas_cost_no_more_than_areas() {
        let mut map = Map::default();
        (0..100_000).for_each(|n| map.add(file(n * 20, 10, "/a", 0)));
        (0..100_000).for_each(|_| map.add(file(0, u64::MAX, "/b", 0)));
        assert_eq!((map.pieces.len(), map.runs.len()), (200_000, 1));
        assert_eq!(map.owner(15, 0).path.as_deref(), Some("/b"));
    }

    /// Ten thousand gaps, and a path of a mebibyte: ten gibibytes, if each gap had its own.
    #[test]
    fn one_area_in_many_gaps_has_one_owner() {
        let mut map = Map::default();
        (0..10_000).for_each(|n| map.add(file(n * 20, 10, "/a", 0)));
        map.add(file(0, u64::MAX, &"b".repeat(1 << 20), 3));
        let owners: std::collections::BTreeSet<*const Area> =
            map.pieces.range(10..).map(|(_, piece)| Arc::as_ptr(&piece.whole)).collect();
        assert_eq!((map.pieces.len(), owners.len()), (20_000, 10_000));
        assert_eq!(map.owner(15, 0).offset, Some(18));
    }

    proptest! {
        /// Against the plain way to find it: the first area in order that holds the byte.
        #[test]
        fn agrees_with_a_search_through_all(
            areas in proptest::collection::vec((0_u64..200, 0_u64..60), 0..30)
        ) {
            let areas: Vec<Area> = areas
                .iter()
                .enumerate()
                .map(|(number, (start, bytes))| file(*start, *bytes, &format!("/{number}"), 7))
                .collect();
            let mut map = Map::default();
            areas.iter().cloned().for_each(|area| map.add(area));
            for at in 0..300 {
                let first = areas.iter().find(|area| area.start <= at && at < area.end());
                let expected = first.map_or_else(Owner::unknown, |area| Owner {
                    offset: Some(7 + at - area.start),
                    ..area.owner.clone()
                });
                prop_assert_eq!(map.owner(at, 0), expected);
            }
        }
    }
}
