//! Whose block it was, asked of real guests: metadata by name, files by path and offset.
//!
//! The first run fetches Debian 12's kernel; later ones need no network.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dixtrap::record::{Line, OwnerKind, Race, RaceOwner, Record};
use dixtrap::verdict::{Cell, Verdict};

use crate::booted::{self, cell, kernel_name};
use crate::kit::programs::text;

/// One boot with the words given; its verdict and what it printed.
fn run(out: &Path, words: &[&str]) -> (Verdict, String) {
    let usual = ["--kernel", &kernel_name(), "--out", out.to_str().unwrap()];
    let (output, verdict) = booted::run(out, &[&usual[..], words].concat());
    assert!(output.status.success(), "{}", output.status);
    (verdict, text(&output.stdout))
}

fn lines(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().record).collect()
}

/// The races of a label with their owners, joined by hand.
fn joined(out: &Path, label: &str) -> Vec<(Race, RaceOwner)> {
    let boot = out.join("boot-1");
    let mut owners: BTreeMap<_, _> = lines(&boot.join("owners.jsonl"))
        .into_iter()
        .map(|record| match record {
            Record::Owner(owner) => (owner.race, owner),
            other => panic!("{other:?}"),
        })
        .collect();
    let races = lines(&boot.join("races.jsonl")).into_iter().filter_map(|record| match record {
        Record::Race(race) => Some(*race),
        _ => None,
    });
    races
        .filter(|race| race.label.as_deref() == Some(label))
        .map(|race| {
            let owner = owners.remove(&race.id).expect("every race has its line");
            (race, owner)
        })
        .collect()
}

/// What the verdict says by owner is what the lines say, and adds up to the races.
fn agrees_with_the_lines(out: &Path, cell: &Cell) {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for (_, line) in joined(out, &format!("{}#1", cell.name())) {
        *counted.entry(line.owner.name).or_default() += 1;
    }
    assert_eq!(cell.owners.as_ref(), Some(&counted));
    assert_eq!(counted.values().sum::<u64>(), cell.races.unwrap());
    let groups = cell.owner_groups.as_ref().unwrap();
    assert_eq!(groups.iter().map(|group| group.healed).sum::<u64>(), cell.healed.unwrap());
}

/// Without a journal, buffers of the device inode change while they are written; each has its name.
#[test]
fn metadata_without_a_journal_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // A scenario that is expected to race ends soon after its first race: this one has all its time.
    let script = dir.path().join("churn-by-name.sh");
    let text = "#!/bin/sh\n# description: A test.\n# fs: ext4-nojournal\n# stable-writes: both\n\
                # expect: survey\n. \"$DIXTRAP_LIB/lib.sh\"\nprepare \"$@\"\n\
                work churn \"$(dirname \"$TARGET\")\"\nfinish\n";
    fs::write(&script, text).unwrap();
    let words = ["--fs", "ext4-nojournal", "--scenario", script.to_str().unwrap()];
    let (verdict, text) = run(dir.path(), &[&words[..], &["--seconds", "6"]].concat());
    let cell = cell(&verdict, "churn-by-name/ext4-nojournal/stable_writes=on");
    agrees_with_the_lines(dir.path(), cell);
    let owners = cell.owners.as_ref().unwrap();
    for name in ["inode table", "inode bitmap", "block bitmap", "group descriptors", "directory"] {
        assert!(owners.get(name) > Some(&0), "{name}: {owners:?}");
        assert!(text.contains(&format!("metadata: {name}, ")), "{text}");
    }
    for group in cell.owner_groups.as_ref().unwrap() {
        let data = ["file", "journal", "disk"].contains(&group.name.as_str());
        assert!(!data, "metadata alone is churned: {group:?}");
    }
}

/// A file that is overwritten is named with its path, and the offset is that of the bytes.
#[test]
fn a_file_is_named_with_path_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--fs", "ext4", "--scenario", "buffered-rewrite", "--seconds", "3"];
    let (verdict, text) = run(dir.path(), &words);
    let cell = cell(&verdict, "buffered-rewrite/ext4/stable_writes=off");
    agrees_with_the_lines(dir.path(), cell);
    assert!(text.contains("data: file /target, "), "{text}");
    let races = joined(dir.path(), "buffered-rewrite/ext4/stable_writes=off#1");
    // The file is one run of blocks as long as the writer left it: address and offset go together.
    let mut starts: BTreeMap<u64, u64> = BTreeMap::new();
    for (race, line) in &races {
        let owner = &line.owner;
        assert_eq!((owner.name.as_str(), owner.kind), ("file", OwnerKind::Data), "{owner:?}");
        assert_eq!(owner.path.as_deref(), Some("/target"));
        let offset = owner.offset.unwrap();
        assert!(offset < 4 << 20 && offset % 512 == 0, "{owner:?}");
        *starts.entry((race.lba.0 * 512).wrapping_sub(offset)).or_default() += 1;
    }
    assert!(starts.len() <= 8, "a fresh file lies in a few pieces: {starts:?}");
}
