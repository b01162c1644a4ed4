//! What somebody may have meant by a name that nothing has.

/// How alike two names have to be, from 0 to 1, before one is taken for a slip of the other.
const ALIKE: f64 = 0.8;

/// The name that `word` is a slip or a part of, where there is one; of several the most alike.
pub fn meant<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let word = word.to_lowercase();
    let likeness = |name: &str| {
        // Three letters are in too many names.
        let part = word.len() > 3 && (name.contains(&word) || word.contains(name));
        strsim::jaro_winkler(&word, name) + f64::from(u8::from(part))
    };
    let scored = names.into_iter().map(|name| (likeness(name), name));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score >= ALIKE).map(|(_, name)| name)
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
            ("ntfs", None),
            ("", None),
            ("quux", None),
        ] {
            assert_eq!(meant(word, NAMES), name, "{word}");
        }
        assert_eq!(meant("x", []), None);
        assert_eq!(did_you_mean("ext5", NAMES), ", did you mean ext4?");
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
