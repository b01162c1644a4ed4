//! Races by who changed the bytes.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The races that one store explains, reached by one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CulpritGroup {
    /// The instruction and who ran it: `ext4_inode_csum_set+0x7b [ext4], by dd`.
    pub symbol: String,
    /// How many.
    pub races: u64,
    /// The callers, the innermost first.
    pub stack: Vec<String>,
}

/// Adds `more` to `groups`; the group with the most races comes first.
pub fn merge_culprits(groups: &mut Vec<CulpritGroup>, more: &[CulpritGroup]) {
    let key = |group: &CulpritGroup| (group.symbol.clone(), group.stack.clone());
    let mut places: HashMap<_, usize> = groups.iter().map(key).zip(0..).collect();
    for group in more {
        match places.get(&key(group)).and_then(|place| groups.get_mut(*place)) {
            Some(known) => known.races = known.races.saturating_add(group.races),
            None => {
                places.insert(key(group), groups.len());
                groups.push(group.clone());
            }
        }
    }
    groups.sort_by(|a, b| b.races.cmp(&a.races).then_with(|| key(a).cmp(&key(b))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_store_reached_by_two_ways_is_two_groups() {
        let group = |symbol: &str, races, stack: &str| CulpritGroup {
            symbol: symbol.into(),
            races,
            stack: vec![stack.into()],
        };
        let mut groups = vec![group("a", 1, "x")];
        merge_culprits(&mut groups, &[group("a", 2, "x"), group("a", 5, "y"), group("b", 3, "x")]);
        assert_eq!(groups, [group("a", 5, "y"), group("a", 3, "x"), group("b", 3, "x")]);
    }
}
