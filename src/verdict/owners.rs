//! Races by owner.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::record::{Owner, OwnerKind};

/// The races of one kind of owner: every inode table together, every file together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerGroup {
    /// `file`, `journal`, `inode table`, …
    pub name: String,
    /// File data, journal, metadata of the device inode, or unknown.
    pub kind: OwnerKind,
    /// The path, where all of the races are one file's or directory's.
    pub path: Option<String>,
    /// How many.
    pub races: u64,
    /// How many of them a later clean write covered.
    pub healed: u64,
    /// How long the last of these took to be covered, in microseconds.
    pub healed_in_us: Option<u64>,
}

impl OwnerGroup {
    /// So many races of one owner, none of them covered yet.
    pub fn of(owner: &Owner, races: u64) -> OwnerGroup {
        OwnerGroup {
            name: owner.name.clone(),
            kind: owner.kind,
            path: owner.path.clone(),
            races,
            healed: 0,
            healed_in_us: None,
        }
    }

    /// Takes in the races of another group of the same name.
    pub fn merge(&mut self, other: &OwnerGroup) {
        self.races = self.races.saturating_add(other.races);
        self.healed = self.healed.saturating_add(other.healed);
        self.healed_in_us = self.healed_in_us.max(other.healed_in_us);
        if self.path != other.path {
            self.path = None;
        }
    }
}

/// Adds `more` to `groups`, name by name; the group with the most races comes first.
pub fn merge_groups(groups: &mut Vec<OwnerGroup>, more: &[OwnerGroup]) {
    // A guest may tell of as many owners as it likes.
    let mut places: HashMap<String, usize> =
        groups.iter().map(|group| group.name.clone()).zip(0..).collect();
    for group in more {
        match places.get(&group.name).and_then(|place| groups.get_mut(*place)) {
            Some(known) => known.merge(group),
            None => {
                places.insert(group.name.clone(), groups.len());
                groups.push(group.clone());
            }
        }
    }
    groups.sort_by(|a, b| b.races.cmp(&a.races).then_with(|| a.name.cmp(&b.name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each looked through all others, and then sorted them, this took hours.
    #[test]
    fn as_many_owners_as_a_guest_likes_are_joined() {
        let one = |n: usize| {
            OwnerGroup::of(&crate::record::Owner::new(&n.to_string(), OwnerKind::Data), 1)
        };
        let many: Vec<OwnerGroup> = (0..300_000).map(one).collect();
        let mut groups = Vec::new();
        merge_groups(&mut groups, &many);
        merge_groups(&mut groups, &many);
        assert_eq!(groups.len(), many.len());
        assert!(groups.iter().all(|group| group.races == 2));
    }

    #[test]
    fn groups_of_one_name_become_one() {
        let group = |name: &str, path: &str, races, healed_in_us| OwnerGroup {
            name: name.into(),
            kind: OwnerKind::Data,
            path: Some(path.into()),
            races,
            healed: 1,
            healed_in_us,
        };
        let mut groups = vec![group("file", "/a", 2, Some(7)), group("directory", "/", 4, None)];
        merge_groups(
            &mut groups,
            &[group("file", "/b", 3, Some(5)), group("journal", "/", 4, None)],
        );
        let names: Vec<(&str, u64)> = groups.iter().map(|g| (g.name.as_str(), g.races)).collect();
        assert_eq!(names, [("file", 5), ("directory", 4), ("journal", 4)]);
        assert_eq!((groups[0].healed, groups[0].healed_in_us), (2, Some(7)));
        assert_eq!((&groups[0].path, groups[1].path.as_deref()), (&None, Some("/")));
    }
}
