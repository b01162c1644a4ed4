//! Parts of a run, and whether those at hand make a whole: a lost part must not pass for a clean one.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Which part of which plan a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardOf {
    /// Counted from 1.
    pub index: u64,
    /// How many parts there are; a whole run is part 1 of 1.
    pub of: u64,
    /// A hash of everything that the whole run was asked to do: parts of one run have it in common.
    pub plan: String,
}

impl ShardOf {
    /// A run that was not cut into parts, or all its parts together.
    pub fn whole(plan: &str) -> ShardOf {
        ShardOf { index: 1, of: 1, plan: plan.to_owned() }
    }

    /// The beginning of the plan's hash: enough to tell two plans apart by eye.
    fn short_plan(&self) -> String {
        self.plan.chars().take(8).collect()
    }
}

impl fmt::Display for ShardOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of {}", self.index, self.of)
    }
}

/// A part as it was handed over.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The file that it stands in.
    pub file: String,
    /// What it is a part of; `None` in verdicts of before it was noted.
    pub shard: Option<ShardOf>,
    /// When it began: two runs of the same plan differ in it.
    pub started: DateTime<Utc>,
    /// By the word that asked for a kernel, the release that it was.
    pub kernels: BTreeMap<String, String>,
    /// By release, the SHA-256 of its image.
    pub images: BTreeMap<String, String>,
}

/// What keeps these parts from being one result, a sentence each; nothing where they are whole.
///
/// Whole runs may stand beside each other, of one plan as well: each is complete, and one that is there
/// twice is told by its time. Of a plan that was cut every part has to be there once.
pub fn what_is_wrong(given: &[Given]) -> Vec<String> {
    let mut wrong: Vec<String> = given.iter().filter_map(impossible).collect();
    let mut sets: BTreeMap<(&str, u64), Vec<&Given>> = BTreeMap::new();
    for part in given {
        if let Some(shard) = &part.shard {
            sets.entry((shard.plan.as_str(), shard.of)).or_default().push(part);
        }
    }
    let cut: Vec<Set<'_>> = sets
        .iter()
        .filter(|((_, of), _)| *of > 1)
        .map(|(key, parts)| Set::of(*key, parts))
        .collect();
    let incomplete = cut.iter().any(|set| !set.missing.is_empty());
    wrong.extend(cut.iter().flat_map(|set| set.words(incomplete && cut.len() > 1)));
    for ((plan, of), parts) in &sets {
        if *of == 1 {
            wrong.extend(twice(parts, |a, b| a.started == b.started));
            let whole = parts.first().map_or("", |part| part.file.as_str());
            let inside = cut.iter().filter(|set| set.plan == *plan).flat_map(|set| &set.parts);
            wrong.extend(inside.map(|part| {
                format!("doubled: {} is in the whole run of {whole} as well", part_words(part))
            }));
        }
    }
    wrong
}

/// A part that no run has.
fn impossible(part: &Given) -> Option<String> {
    let shard = part.shard.as_ref()?;
    let possible = (1..=shard.of).contains(&shard.index);
    (!possible).then(|| format!("{} says that it is {shard}, which cannot be", part.file))
}

/// `part 2 of 3 (part2.json)`.
fn part_words(part: &Given) -> String {
    part.shard.as_ref().map_or_else(|| part.file.clone(), |s| format!("{s} ({})", part.file))
}

/// A sentence for every part that stands beside one that is the same.
fn twice(parts: &[&Given], same: impl Fn(&Given, &Given) -> bool) -> Vec<String> {
    let earlier = |at: usize, part: &Given| {
        parts.iter().take(at).find(|other| same(other, part)).map(|other| other.file.clone())
    };
    parts
        .iter()
        .enumerate()
        .filter_map(|(at, part)| {
            Some(format!("doubled: {} is in {} already", part_words(part), earlier(at, part)?))
        })
        .collect()
}

/// The parts of one plan that are there.
struct Set<'g> {
    plan: &'g str,
    of: u64,
    parts: Vec<&'g Given>,
    /// First and last of each run of parts that are not there.
    missing: Vec<(u64, u64)>,
}

impl<'g> Set<'g> {
    fn of((plan, of): (&'g str, u64), parts: &[&'g Given]) -> Set<'g> {
        let mut there: Vec<u64> =
            parts.iter().filter_map(|part| part.shard.as_ref()).map(|shard| shard.index).collect();
        there.sort_unstable();
        let (mut missing, mut next) = (Vec::new(), 1);
        for index in there.into_iter().filter(|index| *index <= of) {
            if index > next {
                missing.push((next, index.saturating_sub(1)));
            }
            next = next.max(index.saturating_add(1));
        }
        if next <= of {
            missing.push((next, of));
        }
        Set { plan, of, parts: parts.to_vec(), missing }
    }

    /// What is wrong with the set; beside sets of other plans, which of them is meant and that they
    /// are foreign to each other.
    fn words(&self, foreign: bool) -> Vec<String> {
        let same_index = |a: &Given, b: &Given| {
            a.shard.as_ref().map(|shard| shard.index) == b.shard.as_ref().map(|shard| shard.index)
        };
        let mut words = twice(&self.parts, same_index);
        words.extend(self.other_kernels());
        words.extend(self.other_images());
        let files: Vec<&str> = self.parts.iter().map(|part| part.file.as_str()).collect();
        let files = files.join(", ");
        if !self.missing.is_empty() {
            words.push(format!("missing: {} (there is {files})", self.missing_words()));
        }
        if foreign {
            let plan = self.parts.first().and_then(|part| part.shard.as_ref());
            let plan = plan.map(ShardOf::short_plan).unwrap_or_default();
            let belong = if self.parts.len() == 1 { "belongs" } else { "belong" };
            let of = self.of;
            words.push(format!(
                "foreign: {files} {belong} to plan {plan} in {of} parts, and the others do not"
            ));
        }
        words
    }

    /// A word like `debian:sid` is another kernel tomorrow. Parts that ran two of them tested neither.
    fn other_kernels(&self) -> Vec<String> {
        let mut known: BTreeMap<&str, (&str, &Given)> = BTreeMap::new();
        let mut words = Vec::new();
        for part in &self.parts {
            for (asked, release) in &part.kernels {
                // Where it lies may differ from machine to machine.
                let name = asked.rsplit('/').find(|name| !name.is_empty()).unwrap_or(asked);
                let (other, first) = known.entry(name).or_insert((release, part));
                if *other != release {
                    words.push(format!(
                        "foreign: {asked} was Linux {release} for {}, and {other} for {}",
                        part_words(part),
                        part_words(first)
                    ));
                }
            }
        }
        words
    }

    /// A kernel that was built again in its place has the same release.
    fn other_images(&self) -> Vec<String> {
        let mut known: BTreeMap<&str, (&str, &Given)> = BTreeMap::new();
        let mut words = Vec::new();
        for part in &self.parts {
            for (release, sha256) in &part.images {
                let (other, first) = known.entry(release).or_insert((sha256, part));
                if *other != sha256 {
                    words.push(format!(
                        "foreign: Linux {release} was another image for {} than for {}: give every part the same file",
                        part_words(part),
                        part_words(first)
                    ));
                }
            }
        }
        words
    }

    /// `part 2 of 3`, `parts 1, 4 to 6 of 9`.
    fn missing_words(&self) -> String {
        let ranges: Vec<String> = self
            .missing
            .iter()
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first} to {last}"),
            })
            .collect();
        let one = matches!(self.missing.as_slice(), [(first, last)] if first == last);
        let word = if one { "part" } else { "parts" };
        format!("{word} {} of {}", ranges.join(", "), self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn given(file: &str, index: u64, of: u64, plan: &str, second: u64) -> Given {
        let started = DateTime::UNIX_EPOCH + Duration::from_secs(second);
        let shard = Some(ShardOf { index, of, plan: plan.into() });
        Given {
            file: file.into(),
            shard,
            started,
            kernels: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_lost_doubled_or_foreign_has_a_name() {
        let part = |index| given(&format!("p{index}"), index, 3, "aaaaaaaabb", index);
        let whole = given("w", 1, 1, "aaaaaaaabb", 9);
        let foreign = given("f", 2, 3, "cccccccc", 4);
        let (again, once_more) = (given("x", 2, 3, "aaaaaaaabb", 7), given("v", 1, 1, "b", 9));
        for (given, wrong) in [
            (vec![part(1), part(2), part(3)], &[][..]),
            (vec![part(3), part(1)], &["missing: part 2 of 3 (there is p3, p1)"]),
            (vec![part(2)], &["missing: parts 1, 3 of 3 (there is p2)"]),
            (vec![part(1)], &["missing: parts 2 to 3 of 3 (there is p1)"]),
            (
                vec![part(1), part(2), part(3), again],
                &["doubled: part 2 of 3 (x) is in p2 already"],
            ),
            (
                vec![part(1), foreign, part(3)],
                &[
                    "missing: part 2 of 3 (there is p1, p3)",
                    "foreign: p1, p3 belong to plan aaaaaaaa in 3 parts, and the others do not",
                    "missing: parts 1, 3 of 3 (there is f)",
                    "foreign: f belongs to plan cccccccc in 3 parts, and the others do not",
                ],
            ),
            (
                vec![whole.clone(), part(1), part(2), part(3)],
                &[
                    "doubled: part 1 of 3 (p1) is in the whole run of w as well",
                    "doubled: part 2 of 3 (p2) is in the whole run of w as well",
                    "doubled: part 3 of 3 (p3) is in the whole run of w as well",
                ],
            ),
            (vec![whole.clone(), whole.clone()], &["doubled: part 1 of 1 (w) is in w already"]),
            // Other kernels, and another night.
            (vec![whole.clone(), once_more, given("n", 1, 1, "aaaaaaaabb", 10)], &[]),
            (
                vec![given("z", 4, 3, "a", 0)],
                &[
                    "z says that it is part 4 of 3, which cannot be",
                    "missing: parts 1 to 3 of 3 (there is z)",
                ],
            ),
            // No number that a file names may cost memory or time.
            (
                vec![given("b", 7, u64::MAX, "a", 0)],
                &[
                    "missing: parts 1 to 6, 8 to 18446744073709551615 of 18446744073709551615 (there is b)",
                ],
            ),
        ] {
            assert_eq!(what_is_wrong(&given), wrong, "{given:?}");
        }
        let zero = given("z", 0, 0, "a", 0);
        assert_eq!(what_is_wrong(&[zero]), ["z says that it is part 0 of 0, which cannot be"]);
    }

    #[test]
    fn parts_of_one_run_ran_the_same_kernels() {
        let ran = |index: u64, kernels: &[(&str, &str)]| Given {
            kernels: kernels.iter().map(|(a, r)| ((*a).into(), (*r).into())).collect(),
            ..given(&format!("p{index}"), index, 2, "p", index)
        };
        let here = ran(1, &[("debian:sid", "7.2.1"), ("/a/x.deb", "6.1.0"), (".", "6.9.0")]);
        let there = ran(2, &[("/b/x.deb", "6.1.0"), (".", "6.9.0")]);
        assert_eq!(what_is_wrong(&[here.clone(), there]), [""; 0]);
        let later = ran(2, &[("debian:sid", "7.2.2")]);
        assert_eq!(
            what_is_wrong(&[here, later]),
            [
                "foreign: debian:sid was Linux 7.2.2 for part 2 of 2 (p2), and 7.2.1 for part 1 of 2 (p1)"
            ]
        );
    }

    #[test]
    fn parts_of_one_run_ran_the_same_images() {
        let ran = |index: u64, image: &str| Given {
            images: BTreeMap::from([("6.1.0".to_owned(), image.to_owned())]),
            ..given(&format!("p{index}"), index, 2, "p", index)
        };
        assert_eq!(what_is_wrong(&[ran(1, "aa"), ran(2, "aa")]), [""; 0]);
        let wrong = what_is_wrong(&[ran(1, "aa"), ran(2, "bb")]);
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("foreign: Linux 6.1.0 was another image for part 2 of 2 (p2)")
        );
    }

    #[test]
    fn verdicts_of_before_parts_were_noted_say_nothing_of_parts() {
        let old = Given { shard: None, ..given("old", 1, 1, "", 0) };
        assert!(what_is_wrong(&[old.clone(), Given { file: "older".into(), ..old }]).is_empty());
    }

    proptest! {
        /// Only the parts of one plan, each once, are whole.
        #[test]
        fn a_set_is_whole_only_with_each_part_once(
            of in 2_u64..6, picks in prop::collection::vec(0_u64..6, 1..9),
        ) {
            let picks: Vec<u64> = picks.into_iter().map(|pick| pick % of + 1).collect();
            let parts: Vec<Given> =
                picks.iter().zip(0..).map(|(index, at)| given("f", *index, of, "p", at)).collect();
            let mut sorted = picks.clone();
            sorted.sort_unstable();
            let whole = sorted == (1..=of).collect::<Vec<u64>>();
            prop_assert_eq!(what_is_wrong(&parts).is_empty(), whole, "{:?}", picks);
        }
    }
}
