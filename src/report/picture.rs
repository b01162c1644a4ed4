//! What a picture of a label's races is drawn from: counts, of which there are as many for a million races as for
//! one.

use std::collections::BTreeMap;

use crate::record::{OwnerKind, Race};

/// How many owners have a lane of their own on the map of the disk.
const LANES: usize = 12;
/// The lane of all others.
const OTHERS: &str = "others";

/// Counts of a value in steps of one width, which doubles whenever a value lies beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// The width of a step.
    pub width: u64,
    /// How many there are in each.
    pub counts: [u64; N],
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { width: 1, counts: [0; N] }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        loop {
            let step = usize::try_from(value / self.width).unwrap_or(usize::MAX);
            if let Some(count) = self.counts.get_mut(step) {
                *count = count.saturating_add(1);
                return;
            }
            self.widen();
        }
    }

    /// The same counts in steps of twice the width.
    pub fn widen(&mut self) {
        let mut wider = [0_u64; N];
        for (count, pair) in wider.iter_mut().zip(self.counts.chunks(2)) {
            *count = pair.iter().copied().fold(0, u64::saturating_add);
        }
        self.counts = wider;
        self.width = self.width.saturating_mul(2);
    }

    /// The largest of them.
    pub fn most(&self) -> u64 {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// The number of steps up to the last that has something.
    pub fn used(&self) -> usize {
        self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1)
    }
}

/// How many steps of time are shown.
pub const TIMES: usize = 96;
/// How many places of the disk.
pub const PLACES: usize = 128;
/// Windows by powers of two of a microsecond, up to half an hour.
pub const WINDOWS: usize = 32;

/// A label's races.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// By microseconds since the label began.
    pub times: Histogram<TIMES>,
    /// By the binary logarithm of their window in microseconds.
    pub windows: [u64; WINDOWS],
    /// By block, for each owner.
    pub map: BTreeMap<String, (OwnerKind, Histogram<PLACES>)>,
}

impl Picture {
    /// Counts a race, of a label that began at `began_us`.
    pub fn add(&mut self, race: &Race, began_us: u64) {
        self.times.add(race.t_us.saturating_sub(began_us));
        if let Some(count) = self.windows.get_mut(step_of(race.window_us)) {
            *count = count.saturating_add(1);
        }
        let (name, kind) = race
            .owner
            .as_ref()
            .map_or(("unknown", OwnerKind::Unknown), |owner| (owner.name.as_str(), owner.kind));
        let full = self.map.len() >= LANES && !self.map.contains_key(name);
        let (name, kind) = if full { (OTHERS, OwnerKind::Unknown) } else { (name, kind) };
        if !self.map.contains_key(name) {
            self.map.insert(name.to_owned(), (kind, Histogram::default()));
        }
        if let Some((_, lane)) = self.map.get_mut(name) {
            lane.add(race.lba.0);
        }
    }

    /// The lanes of the map in steps of one width, which that is.
    pub fn lanes(&self) -> (u64, Vec<(&str, OwnerKind, Histogram<PLACES>)>) {
        let width = self.map.values().map(|(_, lane)| lane.width).max().unwrap_or(1);
        let lanes = self.map.iter().map(|(name, (kind, lane))| {
            let mut lane = lane.clone();
            while lane.width < width {
                lane.widen();
            }
            (name.as_str(), *kind, lane)
        });
        (width, lanes.collect())
    }
}

/// 0 below 2 us, 1 below 4 us, and so on.
fn step_of(window_us: f64) -> usize {
    let mut step = 0;
    let mut end = 2.0;
    while window_us >= end && step + 1 < WINDOWS {
        step += 1;
        end *= 2.0;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::super::offenders::tests::race;
    use super::*;
    use crate::record::Owner;

    #[test]
    fn steps_widen_and_nothing_is_lost() {
        let mut all = Histogram::<4>::default();
        for value in [0, 1, 2, 3, 3] {
            all.add(value);
        }
        assert_eq!((all.width, all.counts), (1, [1, 1, 1, 2]));
        all.add(9);
        assert_eq!((all.width, all.counts, all.used(), all.most()), (4, [5, 0, 1, 0], 3, 5));
        all.add(u64::MAX);
        assert_eq!(all.counts.iter().sum::<u64>(), 7);
        assert_eq!([0.0, 1.9, 2.0, 1_000.0, f64::NAN, f64::MAX].map(step_of), [0, 0, 1, 9, 0, 31]);
    }

    #[test]
    fn many_owners_share_a_lane() {
        let mut picture = Picture::default();
        for id in 0..1_000 {
            let owner = Owner::new(&format!("owner {id}"), OwnerKind::Metadata);
            picture.add(&Race { owner: Some(owner), t_us: id, ..race(id, id * 1_000) }, 10);
        }
        let (width, lanes) = picture.lanes();
        assert_eq!(lanes.len(), LANES + 1);
        assert!(lanes.iter().all(|(_, _, lane)| lane.width == width));
        let all: u64 = lanes.iter().flat_map(|(_, _, lane)| lane.counts).sum();
        assert_eq!(all, 1_000);
    }
}
