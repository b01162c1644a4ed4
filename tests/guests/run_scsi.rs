//! `dixtrap run --device scsi`: a stock kernel that generates its own protection information, one boot.

use std::path::Path;

use dixtrap::verdict::{Cell, CellOutcome, Expect, Verdict};

use crate::booted::{self, kernel_name};

/// A scenario of the user's own that expects a fault nobody injected.
const NO_FAULT: &str = "#!/bin/sh\n# description: A fault that nobody injected.\n# device: scsi\n\
    # fs: raw\n# stable-writes: any\n# expect: survey\n. \"$DIXTRAP_LIB/lib.sh\"\nprepare \"$@\"\n\
    say writing\nexpect_of ok write 2048\nexpect_of EILSEQ read 2048\nall_as_expected\nfinish\n";

fn run(dir: &Path, words: &[&str]) -> (Option<i32>, Verdict) {
    run_on(&kernel_name(), dir, words)
}

fn run_on(kernel: &str, dir: &Path, words: &[&str]) -> (Option<i32>, Verdict) {
    let usual = ["--device", "scsi", "--seconds", "2", "--kernel", kernel];
    let (output, verdict) = booted::run(dir, &[&usual[..], words].concat());
    (output.status.code(), verdict)
}

fn cells<'v>(verdict: &'v Verdict, scenario: &'v str) -> impl Iterator<Item = &'v Cell> {
    verdict.cells.iter().filter(move |cell| cell.scenario == scenario)
}

/// Tuples that nobody disturbs verify, on the whole disk and on a partition.
fn assert_clean(verdict: &Verdict) {
    for scenario in ["dix-verify", "dix-partition"] {
        let clean = cells(verdict, scenario).next().unwrap();
        assert_eq!((clean.outcome, clean.races), (CellOutcome::Pass, Some(0)), "{clean:?}");
        assert!(clean.blocks_checked >= Some(1_000), "{clean:?}");
    }
}

/// The kernel counts in sectors of 512 bytes; reference tags count larger intervals.
#[test]
fn tags_of_4096_byte_intervals_verify() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ["--block-size", "4096", "--pi-type", "2", "--fs", "ext4"];
    let (status, verdict) = run(dir.path(), &[&disk[..], &["--scenario", "dix-*"]].concat());
    assert_eq!(status, Some(0));
    assert_clean(&verdict);
}

/// Races are caught before the doorbell and in the window, tuples that nobody disturbs verify, every
/// injected fault ends as it should, and one that is missing is a failure.
#[test]
fn races_faults_and_clean_tuples_over_dix() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("no-fault.sh");
    std::fs::write(&own, NO_FAULT).unwrap();
    let words = ["direct-rewrite", "dix-*", "*-faults", own.to_str().unwrap()];
    let mut all = vec!["--fs", "raw", "--fs", "ext4"];
    all.extend(words.iter().flat_map(|word| ["--scenario", *word]));
    let (status, verdict) = run(dir.path(), &all);
    assert_eq!(status, Some(1));
    assert!(verdict.cells.iter().all(|cell| cell.device == "scsi"));

    let phases = |of: fn(&dixtrap::record::Phases) -> u64| -> u64 {
        cells(&verdict, "direct-rewrite").filter_map(|cell| cell.phases.as_ref()).map(of).sum()
    };
    assert!(phases(|phases| phases.before_doorbell) > 0, "{:#?}", verdict.cells);
    assert!(phases(|phases| phases.in_window) > 0, "{:#?}", verdict.cells);

    assert_clean(&verdict);
    for scenario in ["read-faults", "write-faults"] {
        let cell = cells(&verdict, scenario).next().unwrap();
        assert_eq!((cell.outcome, cell.races), (CellOutcome::Pass, Some(0)), "{cell:?}");
    }
    let missing = cells(&verdict, "no-fault").next().unwrap();
    assert_eq!(missing.outcome, CellOutcome::Fail, "{missing:?}");
    assert_eq!(missing.reason.as_deref(), Some("read of sector 2048 ended with ok, not EILSEQ"));
}

/// A kernel of a version that holds pages for the sake of their protection information, and that registers
/// none, is judged by what it does: like one on a plain disk. What needs protection information is skipped.
#[test]
fn a_guest_without_integrity_is_no_ones_fault() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let hba = ["--qemu-arg=-set", "--qemu-arg=device.hba0.t10_pi=off", "--out"];
    let names = ["mmap-rewrite", "dix-verify", "read-faults", "write-faults"];
    let scenarios = names.iter().flat_map(|name| ["--scenario", *name]);
    let mut words = vec!["--fs", "raw", "--fs", "ext4"];
    words.extend(scenarios.chain(hba).chain([out.to_str().unwrap()]));
    let (status, verdict) = run_on("debian:trixie", dir.path(), &words);
    assert_eq!(status, Some(0));
    let facts = std::fs::read_to_string(out.join("boot-1/guest.json")).unwrap();
    assert!(facts.contains(r#""format":"none""#), "{facts}");
    let on_ext4 = |cell: &&Cell| cell.fs == "ext4" && cell.races > Some(0);
    let raced: Vec<_> = cells(&verdict, "mmap-rewrite").filter(on_ext4).collect();
    assert_eq!(raced.len(), 1, "{raced:?}");
    assert_eq!((raced[0].expect, raced[0].outcome), (Expect::Race, CellOutcome::Pass));
    assert!(raced[0].why.is_some(), "{raced:?}");
    for cell in verdict.cells.iter().filter(|cell| cell.scenario != "mmap-rewrite") {
        let reason = cell.reason.as_deref().unwrap_or_default();
        assert_eq!(cell.outcome, CellOutcome::Skip, "{cell:?}");
        assert!(reason.contains("registered no protection information"), "{reason}");
    }
}
