//! The blocks that raced most often: what a developer looks at first.

use std::collections::BTreeMap;

use crate::record::{Race, RaceId};
use crate::units::Lba;

/// How many blocks of a label are kept with their bytes; a run may race over millions.
const KEPT: u64 = 2_000;

/// A block that raced, under one label, with its neighbours that were written with it and raced too.
#[derive(Debug, Clone, PartialEq)]
pub struct Offender {
    /// The first of the neighbours.
    pub first: Lba,
    /// The last of them; the first where the block raced alone.
    pub last: Lba,
    /// How often they raced, all together.
    pub races: u64,
    /// The race of these that changed the most bytes.
    pub worst: Race,
    /// How long the medium kept the bytes of that race, where a later write covered them.
    pub healed_after_us: Option<u64>,
}

impl Offender {
    /// `next` is the neighbour behind, and both were written and raced together.
    fn goes_on_in(&self, next: &Offender) -> bool {
        let (ours, theirs) = (&self.worst, &next.worst);
        let place = |race: &Race| (race.lun, race.request.lba, race.request.blocks);
        let owner = |race: &Race| race.owner.as_ref().map(|o| (o.name.clone(), o.path.clone()));
        ours.label == theirs.label
            && self.last.offset(1) == next.first
            && place(ours) == place(theirs)
            && owner(ours) == owner(theirs)
    }

    fn take_in(&mut self, next: &Offender) {
        self.last = next.last;
        self.races = self.races.saturating_add(next.races);
        if next.worst.changed_bytes > self.worst.changed_bytes {
            self.worst = next.worst.clone();
        }
    }
}

/// All blocks that raced.
#[derive(Debug, Clone, Default)]
pub struct Offenders {
    blocks: BTreeMap<(Option<String>, Lba), Offender>,
    kept: BTreeMap<Option<String>, u64>,
    healed: BTreeMap<RaceId, u64>,
    beyond: u64,
}

impl Offenders {
    /// Counts a race.
    pub fn add(&mut self, race: Race) {
        let key = (race.label.clone(), race.lba);
        if let Some(block) = self.blocks.get_mut(&key) {
            block.races += 1;
            if race.changed_bytes > block.worst.changed_bytes {
                block.worst = race;
            }
            return;
        }
        let kept = self.kept.entry(race.label.clone()).or_default();
        if *kept < KEPT {
            *kept += 1;
            let (first, last) = (race.lba, race.lba);
            let block = Offender { first, last, races: 1, worst: race, healed_after_us: None };
            self.blocks.insert(key, block);
        } else {
            self.beyond += 1;
        }
    }

    /// Notes that a later write covered a race.
    pub fn healed(&mut self, race: RaceId, after_us: u64) {
        self.healed.insert(race, after_us);
    }

    /// How many races there were.
    pub fn races(&self) -> u64 {
        self.blocks.values().map(|block| block.races).fold(self.beyond, u64::saturating_add)
    }

    /// Races of blocks that came after a label's first 2,000 and were not kept.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The blocks of the labels that `wanted` takes. Neighbours whose worst races are of writes to the
    /// same place are one: as a rule a page that changed, seen once for each of its blocks.
    fn joined(&self, wanted: impl Fn(Option<&str>) -> bool) -> Vec<Offender> {
        let mut joined: Vec<Offender> = Vec::new();
        for block in self.blocks.values().filter(|b| wanted(b.worst.label.as_deref())) {
            match joined.last_mut() {
                Some(known) if known.goes_on_in(block) => known.take_in(block),
                _ => joined.push(block.clone()),
            }
        }
        joined
    }

    /// The `count` worst of the labels that `wanted` takes: blocks with the most races first, then
    /// those with the most bytes changed. Each label has its turn before one has its second.
    pub fn worst(&self, count: usize, wanted: impl Fn(Option<&str>) -> bool) -> Vec<Offender> {
        let joined = self.joined(wanted);
        ranked(&joined).into_iter().take(count).map(|(_, block)| self.told(block)).collect()
    }

    /// The `count` worst of each label, for [`worst_of`].
    pub fn worst_of_each(&self, count: usize) -> Vec<Offender> {
        let joined = self.joined(|_| true);
        let first = ranked(&joined).into_iter().take_while(|(turn, _)| *turn <= count);
        first.map(|(_, block)| self.told(block)).collect()
    }

    fn told(&self, block: &Offender) -> Offender {
        let healed_after_us = self.healed.get(&block.worst.id).copied();
        Offender { healed_after_us, ..block.clone() }
    }
}

/// The `count` worst of those of `blocks` whose labels `wanted` takes, as [`Offenders::worst`] has them.
pub fn worst_of(
    blocks: &[Offender],
    count: usize,
    wanted: impl Fn(Option<&str>) -> bool,
) -> Vec<&Offender> {
    let wanted = blocks.iter().filter(|block| wanted(block.worst.label.as_deref()));
    ranked(wanted).into_iter().take(count).map(|(_, block)| block).collect()
}

/// The blocks in the order of their turns: each label has its first before one has its second.
fn ranked<'o>(blocks: impl IntoIterator<Item = &'o Offender>) -> Vec<(usize, &'o Offender)> {
    let mut all: Vec<&Offender> = blocks.into_iter().collect();
    all.sort_by_key(|block| std::cmp::Reverse((block.races, block.worst.changed_bytes)));
    let mut turns: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &Offender)> = all
        .into_iter()
        .map(|block| {
            let turn = turns.entry(block.worst.label.as_deref()).or_default();
            *turn += 1;
            (*turn, block)
        })
        .collect();
    ranked.sort_by_key(|(turn, _)| *turn);
    ranked
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::{Change, Outcome, Phase, RequestInfo};
    use crate::units::{BlockCount, QueueIndex};

    /// A race of one block with one changed byte.
    pub(crate) fn race(id: u64, lba: u64) -> Race {
        Race {
            id: RaceId(id),
            t_us: id,
            label: None,
            device: "blk".into(),
            lun: None,
            queue: QueueIndex(0),
            request: RequestInfo::new(id, "write".into(), (Lba(lba), BlockCount(1))),
            lba: Lba(lba),
            gpa: 0x1000,
            phase: Phase::InWindow,
            window_us: 1_000.0,
            doorbell_guard: Some(0x1234),
            fetch_guard: Some(0xabcd),
            delivered_guard: None,
            look_guard: None,
            submit_guard: None,
            pi_changed: None,
            guard_blind: false,
            changed: vec![Change { offset: 16, len: 1, old: "41".into(), new: "42".into() }],
            changed_bytes: 1,
            overlap: false,
            after_completion: false,
            outcome: Outcome::Stored,
            page: None,
            owner: None,
        }
    }

    /// What a boot keeps of its labels says the same as all that it read.
    #[test]
    fn the_worst_of_each_label_are_enough_for_the_worst_of_any() {
        let mut all = Offenders::default();
        for (label, blocks) in [("a", 9), ("b", 1), ("c", 5)] {
            for id in 0..blocks {
                // Not neighbours.
                let one = Race { label: Some(label.into()), ..race(id, id * 8) };
                (0..=id % 4).for_each(|_| all.add(one.clone()));
            }
        }
        let kept = all.worst_of_each(3);
        assert_eq!(kept.len(), 7);
        for wanted in [&["a"][..], &["b", "c"], &["a", "b", "c"], &[]] {
            let of = |label: Option<&str>| label.is_some_and(|label| wanted.contains(&label));
            let told: Vec<Offender> = worst_of(&kept, 3, of).into_iter().cloned().collect();
            assert_eq!(told, all.worst(3, of), "{wanted:?}");
        }
    }

    #[test]
    fn many_races_come_before_many_bytes() {
        let mut offenders = Offenders::default();
        offenders.add(Race { changed_bytes: 500, ..race(1, 10) });
        offenders.add(race(2, 20));
        offenders.add(Race { changed_bytes: 9, ..race(3, 20) });
        offenders.add(Race { label: Some("other".into()), ..race(4, 20) });
        offenders.healed(RaceId(3), 777);
        let worst = offenders.worst(9, |_| true);
        assert_eq!((worst[0].races, worst[0].worst.id), (2, RaceId(3)));
        assert_eq!(worst[0].healed_after_us, Some(777));
        assert_eq!(worst[1].worst.id, RaceId(4), "another label has its turn first");
        assert_eq!((worst[2].races, worst[2].worst.lba), (1, Lba(10)));
        assert_eq!(offenders.worst(2, |_| true).len(), 2);
        assert_eq!(offenders.worst(9, |label| label == Some("other")).len(), 1);
    }

    #[test]
    fn neighbours_of_one_write_are_one_entry() {
        let mut offenders = Offenders::default();
        let write = RequestInfo::new(1, "write".into(), (Lba(8), BlockCount(8)));
        for (id, lba) in [(1, 9), (2, 10), (3, 11), (4, 13)] {
            let changed_bytes = if lba == 10 { 7 } else { 1 };
            offenders.add(Race { request: write.clone(), changed_bytes, ..race(id, lba) });
        }
        offenders.add(race(5, 14));
        let worst = offenders.worst(9, |_| true);
        let told: Vec<_> = worst.iter().map(|o| (o.first.0, o.last.0, o.races)).collect();
        assert_eq!(told, [(9, 11, 3), (13, 13, 1), (14, 14, 1)]);
        assert_eq!(worst[0].worst.lba, Lba(10), "the one that changed most is shown");
    }

    #[test]
    fn a_label_with_many_blocks_leaves_room_for_the_next() {
        let mut offenders = Offenders::default();
        for lba in 0..=KEPT {
            offenders.add(race(lba, lba));
        }
        offenders.add(Race { label: Some("other".into()), ..race(9, 9) });
        assert_eq!(offenders.beyond(), 1);
        assert_eq!(offenders.worst(9, |label| label == Some("other")).len(), 1);
    }
}
