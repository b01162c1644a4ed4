//! `make test-fast` runs every test program but that of the guests, and only there is what boots.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::programs::said;

/// What no test can boot a guest or fetch a kernel without.
const BOOTS: [&str; 5] = ["BootRequest", "KernelSpec", "mod booted", "booted::", "qemu-system"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_the_guests_boot() {
    let tests = root().join("tests");
    let mut all = Vec::new();
    sources(&tests, &mut all);
    let is_slow = |path: &Path| {
        path.starts_with(tests.join("guests")) || path.starts_with(tests.join("kit/booted"))
    };
    let (slow, fast): (Vec<_>, Vec<_>) = all.iter().partition(|path| is_slow(path));
    assert!(slow.len() > 15 && fast.len() > 50, "{} and {}", slow.len(), fast.len());
    for path in fast.iter().filter(|path| !path.ends_with("commands/fast.rs")) {
        let text = fs::read_to_string(path).unwrap();
        for word in BOOTS {
            assert!(!text.contains(word), "{}: {word} belongs into tests/guests", path.display());
        }
    }
}

#[test]
fn it_runs_every_other_test_program() {
    let output =
        Command::new("make").args(["-n", "test-fast"]).current_dir(root()).output().unwrap();
    let told = said(&output);
    let words: Vec<&str> = told.split_whitespace().collect();
    let run = words.windows(2).filter(|pair| pair[0] == "--test").map(|pair| pair[1].to_owned());
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists() {
            programs.insert(name);
        }
    }
    assert!(programs.remove("guests"));
    // `make soak` is the only one to run it.
    assert!(programs.remove("soak"));
    assert_eq!(run.collect::<BTreeSet<_>>(), programs, "{told}");
    assert!(words.contains(&"--lib") && words.contains(&"--bins"), "{told}");
}
