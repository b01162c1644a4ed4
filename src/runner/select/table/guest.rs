//! What a guest told of itself, and the words of the table that ask for it.

use super::numbers::Numbers;
use crate::guest::facts::Facts;

/// A guest that has told what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// What it told.
    pub facts: Facts,
    /// Its kernel's number, and whose it is.
    pub numbers: Numbers,
}

impl Guest {
    /// Concludes whose kernel it is, from its configuration too where that is known.
    pub fn new(facts: Facts, config: Option<&str>) -> Guest {
        let signed = [facts.build.as_str(), facts.signature.as_deref().unwrap_or("")];
        let numbers = Numbers::of(&facts.release, &signed, config);
        Guest { facts, numbers }
    }

    /// Whether a word of the table is true of it.
    pub fn is(&self, word: &Word) -> bool {
        let disk = self.facts.disk.as_ref();
        let integrity = disk.and_then(|disk| disk.integrity.as_ref());
        let knob = disk.and_then(|disk| disk.stable_writes);
        let seen = match &word.fact {
            Fact::Integrity => integrity.is_some_and(|integrity| integrity.is_made()),
            Fact::StableAtStart => knob.is_some_and(|knob| knob.at_start),
            Fact::Knob => knob.is_some_and(|knob| knob.settable != Some(false)),
            Fact::Feature { driver, name } => self
                .facts
                .features
                .get(driver)
                .is_some_and(|features| features.iter().any(|feature| feature == name)),
        };
        seen == word.holds
    }

    /// What it is, in a line for people.
    pub fn words(&self) -> String {
        let Facts { release, page_size, disk, .. } = &self.facts;
        let integrity = disk.as_ref().and_then(|disk| disk.integrity.as_ref());
        let integrity = match integrity {
            None => "no CONFIG_BLK_DEV_INTEGRITY",
            Some(integrity) if integrity.is_made() => &integrity.format,
            Some(_) => "no protection information registered",
        };
        let knob = match disk.as_ref().and_then(|disk| disk.stable_writes) {
            None => "no stable_writes".to_owned(),
            Some(knob) => {
                let stuck = if knob.settable == Some(false) { ", which cannot be set" } else { "" };
                format!("stable_writes {}{stuck}", u8::from(knob.at_start))
            }
        };
        let numbers = self.numbers.words();
        format!("Linux {release} ({numbers}): {integrity}, {knob}, pages of {page_size} bytes")
    }
}

/// A fact that has to hold, or with `!` must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    fact: Fact,
    holds: bool,
}

/// What can be asked of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    /// It registered protection information for the disk and makes it itself.
    Integrity,
    /// The queue asked for stable pages before anybody set the knob.
    StableAtStart,
    /// The queue has the knob, and it takes both settings.
    Knob,
    /// A file system's driver knows a feature.
    Feature { driver: String, name: String },
}

impl Word {
    /// Reads it; `None` where there is no such fact.
    pub fn parse(text: &str) -> Option<Word> {
        let (name, holds) = match text.strip_prefix('!') {
            Some(name) => (name, false),
            None => (text, true),
        };
        let fact = match name.split_once(':') {
            Some((driver, name)) if !driver.is_empty() && !name.is_empty() => {
                Fact::Feature { driver: driver.to_owned(), name: name.to_owned() }
            }
            Some(_) => return None,
            None => match name {
                "integrity" => Fact::Integrity,
                "stable-at-start" => Fact::StableAtStart,
                "knob" => Fact::Knob,
                _ => return None,
            },
        };
        Some(Word { fact, holds })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::guest::facts::{Disk, Integrity, Knob};

    /// A guest whose kernel is upstream's `release`, on a plain disk that has the knob.
    pub(crate) fn guest(release: &str) -> Guest {
        let knob = Knob { at_start: false, settable: Some(true) };
        let disk = Disk { stable_writes: Some(knob), ..Disk::default() };
        Guest::new(
            Facts {
                release: release.to_owned(),
                page_size: 4096,
                disk: Some(disk),
                ..Facts::default()
            },
            None,
        )
    }

    /// The same with protection information; `at_start` is what the knob read.
    pub(crate) fn protected(release: &str, at_start: bool) -> Guest {
        let mut guest = guest(release);
        let disk = guest.facts.disk.as_mut().unwrap();
        disk.stable_writes = Some(Knob { at_start, settable: Some(true) });
        disk.integrity = Some(Integrity {
            format: "T10-DIF-TYPE1-CRC".to_owned(),
            write_generate: true,
            read_verify: true,
            interval: Some(512),
        });
        guest
    }

    #[test]
    fn words_ask_for_what_was_told() {
        let mut protected = protected("6.12.0", false);
        protected.facts.features.insert("btrfs".into(), vec!["block_group_tree".into()]);
        let plain = guest("6.12.0");
        for (word, of_protected, of_plain) in [
            ("integrity", true, false),
            ("!integrity", false, true),
            ("stable-at-start", false, false),
            ("!stable-at-start", true, true),
            ("knob", true, true),
            ("btrfs:block_group_tree", true, false),
            ("!btrfs:block_group_tree", false, true),
        ] {
            let asked = Word::parse(word).unwrap();
            assert_eq!(
                (protected.is(&asked), plain.is(&asked)),
                (of_protected, of_plain),
                "{word}"
            );
        }
        for word in ["", "!", "Integrity", ":x", "btrfs:", "!!knob"] {
            assert_eq!(Word::parse(word), None, "{word}");
        }
    }

    #[test]
    fn a_guest_is_told_in_one_line() {
        assert_eq!(
            protected("6.12.0", true).words(),
            "Linux 6.12.0 (upstream 6.12.0): T10-DIF-TYPE1-CRC, stable_writes 1, pages of 4096 bytes"
        );
        let words = guest("5.14.0-427.el9").words();
        assert!(words.contains("(red-hat 5.14.0): no CONFIG_BLK_DEV_INTEGRITY"), "{words}");
    }
}
