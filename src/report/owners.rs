//! Races by label and owner, and owners in words.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::owner::TOLD;
use crate::record::{Owner, OwnerKind, Race, RaceId, RaceOwner, Record, Start};
use crate::verdict::{OwnerGroup, merge_groups};

use super::lines::{Bad, SessionError, each_record, each_text, parse};
use super::plain::plain;
use super::told::{Tellings, ToldError};
use super::words::whole_micros_words;

/// What is known of owners while records are read.
#[derive(Debug, Default)]
pub struct Owners {
    /// What the guest told of the disk, by hand.
    tellings: Tellings,
    /// By race, from the file beside the records: the place in `owners`. There may be millions of races, of a
    /// few thousand blocks.
    known: HashMap<RaceId, usize>,
    owners: Vec<Owner>,
    places: HashMap<Owner, usize>,
    /// By label and name: the place in `groups`.
    keys: BTreeMap<(String, String), usize>,
    groups: Vec<OwnerGroup>,
    /// Where a race was counted that nothing has covered yet.
    open: HashMap<RaceId, usize>,
}

impl Owners {
    /// Reads what `dixtrap run` found out of each race, or the guest's helper told by hand of the disk.
    pub fn read(&mut self, path: &Path) -> Result<(), SessionError> {
        let read = each_text(path, &mut |text| {
            if text.starts_with(TOLD.as_bytes()) {
                return self.hear(text).map_err(Bad::Told);
            }
            match parse(text) {
                Ok(Record::Owner(owner)) => self.learn(owner),
                Ok(_) => {}
                Err(Bad::Json(error)) => return Err(Bad::Told(error.into())),
                Err(other) => return Err(other),
            }
            Ok(())
        });
        match read {
            // Nobody told anything.
            Ok(_) | Err(SessionError::Empty(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Finds out when the session of these records was: who was made after a race cannot have been it.
    pub fn date(&mut self, records: &Path) -> Result<(), SessionError> {
        let (mut start, mut end_us) = (None, None);
        each_record(records, &mut |record| match record {
            Record::Start(first) => start = Some(first),
            Record::Stop(stop) => end_us = Some(stop.t_us),
            _ => {}
        })?;
        if let Some(start) = start {
            self.belong_to(&start, end_us);
        }
        Ok(())
    }

    /// Takes in a line that the guest's helper told, by hand.
    pub fn hear(&mut self, text: &[u8]) -> Result<(), ToldError> {
        self.tellings.hear(text)
    }

    /// Whether anything was told by hand.
    pub fn were_told(&self) -> bool {
        !self.tellings.is_empty()
    }

    /// Notes which session the races are of, and how long it was, where that is known.
    pub fn belong_to(&mut self, start: &Start, end_us: Option<u64>) {
        self.tellings.belong_to(start, end_us);
    }

    /// Notes whose a race was.
    pub fn learn(&mut self, found: RaceOwner) {
        let owner = found.owner.cut();
        let place = self.places.get(&owner).copied().unwrap_or_else(|| {
            self.owners.push(owner.clone());
            self.places.insert(owner, self.owners.len() - 1);
            self.owners.len() - 1
        });
        self.known.insert(found.race, place);
    }

    /// Writes its owner into a race, where that is known.
    pub fn tell(&self, race: &mut Race) {
        if race.owner.is_none() {
            let known = self.known.get(&race.id).and_then(|place| self.owners.get(*place)).cloned();
            race.owner = known.or_else(|| self.tellings.owner(race));
        }
    }

    /// Counts a race, and writes its owner into it. Where owners are known at all, one without is
    /// unknown; else races are not counted by owner.
    pub fn add(&mut self, label: &str, race: &mut Race) {
        self.tell(race);
        if race.owner.is_none() && self.known.is_empty() {
            return;
        }
        let owner = race.owner.get_or_insert_with(Owner::unknown);
        let key = (label.to_owned(), owner.name.clone());
        let one = OwnerGroup::of(owner, 1);
        let place = match self.keys.get(&key) {
            Some(place) => *place,
            None => {
                self.groups.push(OwnerGroup { races: 0, ..one.clone() });
                self.keys.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if let Some(group) = self.groups.get_mut(place) {
            group.merge(&one);
        }
        self.open.insert(race.id, place);
    }

    /// Notes that a later write covered a race.
    pub fn healed(&mut self, race: RaceId, after_us: u64) {
        if let Some(group) = self.open.remove(&race).and_then(|place| self.groups.get_mut(place)) {
            group.healed = group.healed.saturating_add(1);
            group.healed_in_us = group.healed_in_us.max(Some(after_us));
        }
    }

    /// The groups of every label, those with the most races first.
    pub fn groups(&self) -> BTreeMap<String, Vec<OwnerGroup>> {
        let mut labels: BTreeMap<String, Vec<OwnerGroup>> = BTreeMap::new();
        let groups =
            self.keys.iter().filter_map(|(key, place)| Some((key, self.groups.get(*place)?)));
        for ((label, _), group) in groups {
            labels.entry(label.clone()).or_default().push(group.clone());
        }
        labels.values_mut().for_each(|groups| merge_groups(groups, &[]));
        labels
    }
}

/// Whether the groups know what became of their races: a healing whose line was withheld or lost is only
/// counted, and a race without one is no race that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fates {
    /// Every healing has its line.
    Told,
    /// Some have none, but nothing stands.
    AllHealed,
    /// Some have none, and something stands.
    Untold,
}

impl Fates {
    /// From the healings that have a line, those that were counted, and the races that stand, where that is
    /// known.
    pub fn new(told: u64, healed: u64, standing: Option<u64>) -> Fates {
        match (healed > told, standing) {
            (_, None) => Fates::Untold,
            (false, _) => Fates::Told,
            (true, Some(0)) => Fates::AllHealed,
            (true, _) => Fates::Untold,
        }
    }
}

/// The owners of a cell or label, one a line; nothing where nothing raced.
pub fn owners_text(name: &str, groups: &[OwnerGroup], fates: Fates) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = groups
        .iter()
        .map(|group| match group.kind {
            // Most often `unknown` itself: once is enough.
            OwnerKind::Unknown => format!("  {}\n", group_words(group, fates)),
            kind => format!("  {kind}: {}\n", group_words(group, fates)),
        })
        .collect();
    format!("whose blocks raced in {}:\n{}", plain(name), lines.concat())
}

/// `inode table, 131 races, all healed in 40ms`.
fn group_words(group: &OwnerGroup, fates: Fates) -> String {
    let path = group.path.as_ref().map_or_else(String::new, |path| format!(" {path}"));
    let races = if group.races == 1 { "1 race".into() } else { format!("{} races", group.races) };
    let in_time =
        group.healed_in_us.map_or_else(String::new, |us| format!(" in {}", whole_micros_words(us)));
    let fate = match group.races.saturating_sub(group.healed) {
        0 => format!("all healed{in_time}"),
        _ if fates == Fates::AllHealed => "all healed".to_owned(),
        untold if fates == Fates::Untold => {
            format!(
                "{} healed{in_time}, {untold} healed or standing (no record tells)",
                group.healed
            )
        }
        standing if group.healed == 0 => format!("{standing} standing"),
        standing => format!("{} healed{in_time}, {standing} standing", group.healed),
    };
    format!("{}, {races}, {fate}", plain(&format!("{}{path}", group.name)))
}

/// One block's owner: `file /target, byte 8192`.
pub fn owner_words(owner: &Owner) -> String {
    let path = owner.path.as_ref().map_or_else(String::new, |path| format!(" {path}"));
    let offset = owner.offset.map_or_else(String::new, |offset| format!(", byte {offset}"));
    format!("{}{offset}", plain(&format!("{}{path}", owner.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OwnerKind;

    #[test]
    fn owners_are_told_with_what_became_of_them() {
        let table = Owner::new("inode table", OwnerKind::Metadata);
        let all =
            OwnerGroup { healed: 131, healed_in_us: Some(40_100), ..OwnerGroup::of(&table, 131) };
        let some = OwnerGroup { healed: 1, healed_in_us: Some(700), ..OwnerGroup::of(&table, 3) };
        let file = Owner {
            path: Some("/a".into()),
            offset: Some(512),
            ..Owner::new("file", OwnerKind::Data)
        };
        assert_eq!(
            owners_text("x/ext2", &[all, some, OwnerGroup::of(&file, 1)], Fates::Told),
            "whose blocks raced in x/ext2:\n  \
             metadata: inode table, 131 races, all healed in 40ms\n  \
             metadata: inode table, 3 races, 1 healed in 700us, 2 standing\n  \
             data: file /a, 1 race, 1 standing\n"
        );
        assert_eq!(owners_text("x", &[], Fates::Told), "");
        assert_eq!(owner_words(&file), "file /a, byte 512");
    }

    /// Of 392 races that were healed a file that had reached its limit listed 251, and told them as standing.
    #[test]
    fn a_race_whose_healing_has_no_line_is_not_said_to_stand() {
        let file = OwnerGroup::of(&Owner::new("file", OwnerKind::Data), 251);
        let some = OwnerGroup { healed: 3, healed_in_us: Some(700), ..file.clone() };
        let words = |group: &OwnerGroup, told, healed, standing| {
            owners_text("x", std::slice::from_ref(group), Fates::new(told, healed, Some(standing)))
        };
        assert!(words(&file, 0, 392, 0).ends_with("data: file, 251 races, all healed\n"));
        let unclear = "251 races, 3 healed in 700us, 248 healed or standing (no record tells)\n";
        assert!(words(&some, 3, 300, 92).ends_with(unclear));
        assert!(words(&some, 3, 3, 248).ends_with("3 healed in 700us, 248 standing\n"));
        assert!(words(&file, 0, 0, 251).ends_with("251 races, 251 standing\n"));
    }
}
