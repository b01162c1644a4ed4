//! The race that stands for the others of its label, with all that is on record of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::record::{Culprit, Race, RaceId, Record};
use crate::report::filter::Filter;
use crate::report::lines::{SessionError, each_record};
use crate::report::owners::Owners;
use crate::report::session::{OWNERS, UNLABELLED, beside, culprits_beside};

/// Which race is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This one.
    Race(RaceId),
    /// One that stands for all of this label.
    Of(String),
    /// One for each label.
    Each,
}

/// One race, and what is counted of its label from the records alone.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The race, with its owner.
    pub race: Race,
    /// How long the medium kept its bytes, where a later write covered them.
    pub healed_after_us: Option<u64>,
    /// What a watcher saw of it; nothing where nobody watched.
    pub culprit: Option<Culprit>,
    /// How many writes of the label have a race on record.
    pub raced_writes: u64,
    /// How many races of the label have a record.
    pub listed: u64,
}

impl Evidence {
    /// The label of the race.
    pub fn label(&self) -> &str {
        self.race.label.as_deref().unwrap_or(UNLABELLED)
    }

    /// Looks for a race in the records at `path`; nothing where there is none that is asked for.
    ///
    /// # Errors
    /// When the records, or what lies beside them, cannot be read.
    pub fn read(
        path: &Path,
        wanted: &Wanted,
        filter: &Filter,
    ) -> Result<Option<Evidence>, SessionError> {
        Ok(Evidence::read_all(path, wanted, filter)?
            .into_iter()
            .next()
            .map(|(_, evidence)| evidence))
    }

    /// The race that stands for the others of each label.
    ///
    /// # Errors
    /// As [`Evidence::read`].
    pub fn read_each(
        path: &Path,
        filter: &Filter,
    ) -> Result<BTreeMap<String, Evidence>, SessionError> {
        Evidence::read_all(path, &Wanted::Each, filter)
    }

    fn read_all(
        path: &Path,
        wanted: &Wanted,
        filter: &Filter,
    ) -> Result<BTreeMap<String, Evidence>, SessionError> {
        let culprits = blamed(path, filter)?;
        let mut found = Search {
            wanted,
            filter,
            culprits: &culprits,
            owners: owners(path)?,
            start_ms: None,
            best: BTreeMap::new(),
            labels: HashMap::new(),
            healed: HashMap::new(),
        };
        each_record(path, &mut |record| found.add(record))?;
        let mut seen = culprits_of(path, found.best.values().map(|(_, race)| race.id).collect())?;
        let mut all = BTreeMap::new();
        for (label, (_, race)) in found.best {
            let counts = found.labels.get(&label);
            let writes = counts.map_or(0, |counts| counts.writes.len());
            let evidence = Evidence {
                healed_after_us: found.healed.get(&race.id).copied(),
                culprit: seen.remove(&race.id),
                raced_writes: u64::try_from(writes).unwrap_or(u64::MAX),
                listed: counts.map_or(0, |counts| counts.listed),
                race,
            };
            all.insert(label, evidence);
        }
        Ok(all)
    }
}

/// What is known while records are read.
struct Search<'a> {
    wanted: &'a Wanted,
    filter: &'a Filter,
    culprits: &'a HashMap<RaceId, Blame>,
    owners: Owners,
    start_ms: Option<u64>,
    /// The best one of each label so far, and how good it is.
    best: BTreeMap<String, (Score, Race)>,
    labels: HashMap<String, Counts>,
    healed: HashMap<RaceId, u64>,
}

/// How well a race stands for the others: by its culprit's share, then by what is known of its block.
type Score = (u64, bool, bool);

#[derive(Default)]
struct Counts {
    listed: u64,
    writes: HashSet<u64>,
}

/// Which culprit a race has: how many races of the file have the same, and whether it is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Blame {
    share: u64,
    asked: bool,
}

impl Search<'_> {
    fn add(&mut self, record: Record) {
        match record {
            Record::Start(start) => self.start_ms = Some(start.unix_ms),
            Record::Healed(healed) => drop(self.healed.insert(healed.race, healed.after_us)),
            Record::Race(race) => self.add_race(*race),
            _ => {}
        }
    }

    fn add_race(&mut self, mut race: Race) {
        let label = race.label.as_deref().unwrap_or(UNLABELLED).to_owned();
        let counts = self.labels.entry(label.clone()).or_default();
        if race.phase.is_seen_by_hardware() {
            counts.listed += 1;
            counts.writes.insert(race.request.id);
        }
        let named = match self.wanted {
            Wanted::Race(id) => *id == race.id,
            Wanted::Of(wanted) => *wanted == label && race.phase.is_seen_by_hardware(),
            Wanted::Each => race.phase.is_seen_by_hardware(),
        };
        if !named {
            return;
        }
        self.owners.tell(&mut race);
        let blame = self.culprits.get(&race.id).copied().unwrap_or_default();
        if !self.filter.wants_label(&label)
            || !self.filter.wants_race(&race, blame.asked, self.start_ms)
        {
            return;
        }
        let holds = race.owner.as_ref().is_some_and(|owner| owner.holds.is_some());
        let score = (blame.share, holds && !race.changed.is_empty(), race.page.is_some());
        if self.best.get(&label).is_none_or(|(known, _)| score > *known) {
            self.best.insert(label, (score, race));
        }
    }
}

/// Of every race whose culprit is named, how many others have the same store with the same callers.
fn blamed(path: &Path, filter: &Filter) -> Result<HashMap<RaceId, Blame>, SessionError> {
    let mut groups: HashMap<(String, Vec<String>), (u64, u64)> = HashMap::new();
    let mut of: HashMap<RaceId, (u64, bool)> = HashMap::new();
    each_culprit(path, &mut |culprit| {
        if let Some(store) = culprit.blamed() {
            let next = u64::try_from(groups.len()).unwrap_or(u64::MAX);
            let group = groups.entry((store.name(), store.stack.clone())).or_insert((next, 0));
            group.1 += 1;
            of.insert(culprit.race, (group.0, filter.blames(&culprit)));
        }
    })?;
    let shares: HashMap<u64, u64> = groups.into_values().collect();
    let blame = |(group, asked): (u64, bool)| Blame {
        share: shares.get(&group).copied().unwrap_or(0),
        asked,
    };
    Ok(of.into_iter().map(|(race, found)| (race, blame(found))).collect())
}

/// What a watcher saw of these races.
fn culprits_of(
    path: &Path,
    races: HashSet<RaceId>,
) -> Result<HashMap<RaceId, Culprit>, SessionError> {
    let mut found = HashMap::new();
    each_culprit(path, &mut |culprit| {
        if races.contains(&culprit.race) {
            found.insert(culprit.race, culprit);
        }
    })?;
    Ok(found)
}

fn each_culprit(path: &Path, take: &mut dyn FnMut(Culprit)) -> Result<(), SessionError> {
    let beside = culprits_beside(path);
    if !beside.is_file() || beside == path {
        return Ok(());
    }
    let read = each_record(&beside, &mut |record| {
        if let Record::Culprit(culprit) = record {
            take(*culprit);
        }
    });
    match read {
        Ok(_) | Err(SessionError::Empty(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The owners that lie beside the records.
fn owners(path: &Path) -> Result<Owners, SessionError> {
    let mut owners = Owners::default();
    let file = beside(path, OWNERS);
    if file.is_file() && file != path {
        owners.read(&file)?;
        if owners.were_told() {
            owners.date(path)?;
        }
    }
    Ok(owners)
}
