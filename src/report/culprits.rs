//! Who changed the bytes: races by the store that explains them, and by the callers of that.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::record::{Culprit, RaceId, Side};
use crate::verdict::{CulpritGroup, merge_culprits};

use super::filter::Filter;
use super::plain::plain;

/// The most groups that are told of a label, of all that a guest may have made.
const SHOWN: usize = 12;
/// The most frames of one stack that are kept, of records that may be a stranger's.
const FRAMES: usize = 64;

/// What is known of culprits while records are read.
#[derive(Debug, Default)]
pub struct Culprits {
    groups: Vec<CulpritGroup>,
    places: HashMap<(String, Vec<String>), usize>,
    reasons: Vec<String>,
    known: HashMap<RaceId, Found>,
    labels: BTreeMap<String, BTreeMap<Found, u64>>,
    filter: Filter,
    /// The races whose culprits the filter asks for.
    asked: HashSet<RaceId>,
}

/// What was found out of one race: the number of a group, or of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Group(usize),
    Unseen(usize),
}

impl Culprits {
    /// Nobody yet; notes of which races the filter asks for the culprit.
    pub fn asked(filter: Filter) -> Culprits {
        Culprits { filter, ..Culprits::default() }
    }

    /// Whether the filter asks for the culprit of a race.
    pub fn blames(&self, race: RaceId) -> bool {
        self.asked.contains(&race)
    }

    /// Takes in what a watcher saw of a race.
    pub fn learn(&mut self, culprit: &Culprit) {
        if self.filter.blames(culprit) {
            self.asked.insert(culprit.race);
        }
        let found = match culprit.blamed() {
            Some(store) => {
                let who = match (&store.comm, store.side) {
                    (Some(comm), _) => format!(", by {comm}"),
                    (None, Side::Kernel) => String::new(),
                    (None, Side::User) => ", by a program".to_owned(),
                };
                let stack: Vec<String> = store.stack.iter().take(FRAMES).cloned().collect();
                Found::Group(self.group(format!("{}{who}", store.name()), stack))
            }
            None => {
                Found::Unseen(self.reason(culprit.unseen.as_deref().unwrap_or("no reason is told")))
            }
        };
        self.known.insert(culprit.race, found);
    }

    fn group(&mut self, symbol: String, stack: Vec<String>) -> usize {
        let next = self.groups.len();
        let place = *self.places.entry((symbol.clone(), stack.clone())).or_insert(next);
        if place == next {
            self.groups.push(CulpritGroup { symbol, races: 0, stack });
        }
        place
    }

    fn reason(&mut self, reason: &str) -> usize {
        if let Some(place) = self.reasons.iter().position(|known| known == reason) {
            return place;
        }
        // A stranger's file may have as many as it likes; ours has five.
        if self.reasons.len() < SHOWN {
            self.reasons.push(reason.to_owned());
        }
        self.reasons.len() - 1
    }

    /// Counts a race.
    pub fn add(&mut self, label: &str, race: RaceId) {
        let Some(found) = self.known.get(&race) else { return };
        if !self.labels.contains_key(label) {
            self.labels.insert(label.to_owned(), BTreeMap::new());
        }
        if let Some(counts) = self.labels.get_mut(label) {
            *counts.entry(*found).or_default() += 1;
        }
    }

    /// The groups of a label, those with the most races first; nothing where nobody watched.
    pub fn groups(&self, label: &str) -> Option<Vec<CulpritGroup>> {
        let counts = self.labels.get(label)?;
        let group = |(found, races): (&Found, &u64)| match found {
            Found::Group(place) => {
                self.groups.get(*place).map(|group| CulpritGroup { races: *races, ..group.clone() })
            }
            Found::Unseen(_) => None,
        };
        let mut groups = Vec::new();
        merge_culprits(&mut groups, &counts.iter().filter_map(group).collect::<Vec<_>>());
        Some(groups)
    }

    /// The culprits of a label, and why the others have none; nothing where nobody watched.
    pub fn text(&self, label: &str) -> String {
        let (Some(groups), Some(counts)) = (self.groups(label), self.labels.get(label)) else {
            return String::new();
        };
        let mut out = culprits_text(label, &groups);
        for (found, races) in counts {
            if let Found::Unseen(place) = found {
                let reason =
                    self.reasons.get(*place).map(|reason| plain(reason)).unwrap_or_default();
                out.push_str(&format!("  {}: nobody is named: {reason}\n", races_of(*races)));
            }
        }
        out
    }
}

/// The culprits of a cell or label with their callers.
pub fn culprits_text(name: &str, groups: &[CulpritGroup]) -> String {
    let mut out = format!("who changed the bytes in {}:\n", plain(name));
    for group in groups.iter().take(SHOWN) {
        out.push_str(&format!("  {}: {}\n", races_of(group.races), plain(&group.symbol)));
        if !group.stack.is_empty() {
            let callers: Vec<_> =
                group.stack.iter().take(FRAMES).map(|frame| plain(frame)).collect();
            out.push_str(&format!("    < {}\n", callers.join(" < ")));
        }
    }
    let rest = groups.get(SHOWN..).unwrap_or_default();
    if !rest.is_empty() {
        let races = rest.iter().map(|group| group.races).fold(0, u64::saturating_add);
        out.push_str(&format!(
            "  {} by {} further stores and ways to them\n",
            races_of(races),
            rest.len()
        ));
    }
    out
}

fn races_of(races: u64) -> String {
    if races == 1 { "1 race".into() } else { format!("{races} races") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{StackBy, StoreSeen};

    fn store(symbol: &str, certain: bool, stack: &[&str]) -> StoreSeen {
        StoreSeen {
            offset: 0,
            length: 2,
            side: Side::Kernel,
            symbol: Some(symbol.to_owned()),
            module: Some("ext4".to_owned()),
            path: None,
            file_offset: None,
            source: None,
            cpu: 0,
            pid: Some(7),
            tid: Some(8),
            comm: Some("dd".to_owned()),
            after_doorbell_us: 1.0,
            certain,
            stack: stack.iter().map(|frame| (*frame).to_owned()).collect(),
            stack_by: StackBy::Orc,
        }
    }

    fn culprit(race: u64, store: StoreSeen) -> Culprit {
        let unseen = (!store.certain).then(|| "none explains them".to_owned());
        Culprit {
            race: RaceId(race),
            stores: vec![store],
            store_count: 1,
            submitter: None,
            page: None,
            unseen,
        }
    }

    #[test]
    fn races_are_grouped_by_the_store_and_its_callers() {
        let mut culprits = Culprits::default();
        for (race, stack) in [(1, &["mkdir+0x1"][..]), (2, &["mkdir+0x1"]), (3, &["unlink+0x1"])] {
            culprits.learn(&culprit(race, store("csum_set+0x7b", true, stack)));
        }
        culprits.learn(&culprit(4, store("other+0x1", false, &[])));
        (1..=5).for_each(|race| culprits.add("a", RaceId(race)));
        assert_eq!(
            culprits.text("a"),
            "who changed the bytes in a:\n  2 races: csum_set+0x7b [ext4], by dd\n    < mkdir+0x1\n  \
             1 race: csum_set+0x7b [ext4], by dd\n    < unlink+0x1\n  \
             1 race: nobody is named: none explains them\n"
        );
        assert_eq!((culprits.text("b").as_str(), culprits.groups("b")), ("", None));
    }

    #[test]
    fn a_strangers_line_cannot_speak_to_the_terminal() {
        let mut culprits = Culprits::default();
        culprits.learn(&culprit(1, store("\u{1b}[31mx\n", true, &["\u{1b}]0;\n"])));
        culprits.add("a", RaceId(1));
        let text = culprits.text("a");
        assert!(!text.contains('\u{1b}') && text.lines().count() == 3, "{text:?}");
    }
}
