//! docs/ARCHITECTURE.md says what is there: its steps can be opened, and its tables name every file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may state what they know"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/ARCHITECTURE.md";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn document() -> String {
    fs::read_to_string(at(DOCUMENT)).unwrap()
}

/// What stands between backticks.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_journey_has_at_most_fifteen_steps_and_each_can_be_opened() {
    let document = document();
    for title in ["a checked write", "a run"] {
        let journey = document.split(&format!("## The journey of {title}\n")).nth(1).unwrap();
        let journey = journey.split("\n## ").next().unwrap();
        let steps: Vec<&str> =
            journey.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert!((8..=15).contains(&steps.len()), "{title}: {} steps", steps.len());
        for step in steps {
            opens(step);
        }
    }
}

/// The step's file is there, and has its function.
fn opens(step: &str) {
    let [file, function, ..] = quoted(step)[..] else { panic!("no file and function: {step}") };
    let source = fs::read_to_string(at(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let defined = ["(", "<"].iter().any(|end| source.contains(&format!("fn {function}{end}")));
    assert!(defined, "{file} has no function {function}: {DOCUMENT} is out of date");
}

/// A recipe that sends people to a place that is gone is worse than none.
#[test]
fn every_place_that_a_recipe_names_is_there() {
    let text = fs::read_to_string(at("CONTRIBUTING.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let starts = ["src/", "tests/", "guest-scripts/", "docs/"];
    let is_place = |word: &&str| starts.iter().any(|start| word.starts_with(start));
    let places: Vec<&str> =
        quoted.filter(is_place).filter(|place| !place.contains("NAME")).collect();
    assert!(places.len() > 15, "{places:?}");
    for place in places {
        assert!(at(place).exists(), "{place} is named in CONTRIBUTING.md, and is not there");
    }
}

#[test]
fn each_room_names_every_file_once() {
    let document = document();
    let rooms: Vec<&str> = document.split("\n### `").skip(1).collect();
    assert!(rooms.len() > 7);
    for room in rooms {
        let (folder, rest) = room.split_once('`').unwrap();
        let table = rest.split("\n#").next().unwrap();
        let mut told: Vec<String> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(file, _)| file.to_owned())
            .collect();
        told.sort();
        let there: BTreeSet<String> = fs::read_dir(at(folder))
            .unwrap_or_else(|error| panic!("{folder}: {error}"))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|file| file.ends_with(".rs") && file != "mod.rs" && file != "tests.rs")
            .collect();
        let there: Vec<String> = there.into_iter().collect();
        assert_eq!(
            told, there,
            "the table of {folder} in {DOCUMENT}, and the files that are there"
        );
    }
}
