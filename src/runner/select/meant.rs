//! What somebody may have meant by a name that nothing has.

/// How many letters of a name of so many may be wrong. Short names are easily another's, as `lines` is of
/// `files`.
fn most_slips(letters: usize) -> usize {
    match letters {
        0..=3 => 0,
        4..=5 => 1,
        _ => 2,
    }
}

/// By how many letters `word` misses `name`, where it is a slip of it.
fn slips(word: &str, name: &str) -> Option<usize> {
    let most = most_slips(name.len());
    let near = word.len() <= name.len().saturating_add(most);
    near.then(|| strsim::damerau_levenshtein(word, name)).filter(|slips| *slips <= most)
}

/// Whether `word` is `name` but for a letter or two.
pub fn is_slip(word: &str, name: &str) -> bool {
    slips(word, name).is_some()
}

/// The name that `word` is a slip of, the nearest and of those the first, or else one that it is a part of.
pub fn meant<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let word = word.to_lowercase();
    let names: Vec<&str> = names.into_iter().collect();
    let slip = names.iter().filter_map(|name| Some((slips(&word, name)?, *name)));
    // Three letters are in too many names.
    let part = |name: &&&str| {
        word.len().min(name.len()) > 3 && (name.contains(&word) || word.contains(**name))
    };
    let nearest = slip.min_by_key(|(slips, _)| *slips).map(|(_, name)| name);
    nearest.or_else(|| names.iter().find(part).copied())
}

/// The end of a sentence about `word`: ", did you mean NAME?", or a full stop.
pub fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    meant(word, names).map_or_else(|| ".".to_owned(), |name| format!(", did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 6] =
        ["mmap-rewrite", "buffered-rewrite", "metadata-churn", "ext4", "ext4-1k", "btrfs"];

    #[test]
    fn slips_and_parts_are_understood_and_strangers_are_not() {
        for (word, name) in [
            ("mmap-rewrit", Some("mmap-rewrite")),
            ("mmap_rewrite", Some("mmap-rewrite")),
            ("MMAP-REWRITE", Some("mmap-rewrite")),
            ("churn", Some("metadata-churn")),
            ("ext44", Some("ext4")),
            ("btrsf", Some("btrfs")),
            ("ext5", Some("ext4")),
            ("ntfs", None),
            ("reiserfs", None),
            ("xt4", Some("ext4")),
            ("jbd2", None),
            ("", None),
            ("quux", None),
        ] {
            assert_eq!(meant(word, NAMES), name, "{word}");
        }
        assert_eq!(meant("x", []), None);
        assert_eq!(did_you_mean("ext5", NAMES), ", did you mean ext4?");
        assert_eq!(meant("ext5", ["raw", "ext4", "ext4-1k", "ext2"]), Some("ext4"), "the first");
    }

    proptest! {
        #[test]
        fn whatever_is_proposed_is_a_name(word in ".{0,30}") {
            if let Some(name) = meant(&word, NAMES) {
                prop_assert!(NAMES.contains(&name));
            }
        }
    }
}
