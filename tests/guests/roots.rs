//! `dixtrap run --root ROOT -- COMMAND`: software in a root file system of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use dixtrap::verdict::CellOutcome;

use crate::booted::{cell, kernel_name, run};
use crate::kit::programs::{output, said};

/// A folder with a static shell and what it needs.
fn small_root(dir: &Path) -> String {
    let root = dir.join("a root, with a comma");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let which = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
    let busybox = String::from_utf8(which.stdout).unwrap();
    fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
    for name in ["sh", "dd", "cat", "id", "sleep", "touch", "ls", "mount"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("../../bin/busybox", root.join("usr/bin/env")).unwrap();
    fs::write(root.join("only-here"), "it came along").unwrap();
    root.to_str().unwrap().to_owned()
}

/// What the script of a cell printed, as the run's folder keeps it.
fn log_of(out: &Path, cell: &str) -> String {
    fs::read_to_string(out.join("boot-1").join(cell)).unwrap()
}

#[test]
fn a_command_writes_in_a_folder_that_is_a_root_and_the_folder_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (small_root(dir.path()), dir.path().join("out"));
    let script = "set -e; cat /only-here; touch /made; \
        dd if=/dev/zero of=file bs=64k count=64 conv=fsync; \
        dd if=/dev/zero of=\"$TARGET\" bs=4k count=16 conv=fsync; \
        sleep 600 & echo 'it is \"done\"'";
    let words = ["--kernel", &kernel_name(), "--seconds", "2", "--out", out.to_str().unwrap()];
    let words = [&words[..], &["--root", &root, "--", "sh", "-c", script]].concat();
    let (output, verdict) = run(dir.path(), &words);
    assert!(output.status.success(), "{}", said(&output));
    let ran = cell(&verdict, "command/ext4");
    assert_eq!(ran.outcome, CellOutcome::Pass);
    // What dd wrote passed the trap: 4 MiB and 64 KiB.
    assert!(ran.blocks_checked.unwrap() >= 8192 + 128, "{:?}", ran.blocks_checked);
    assert!(verdict.cells.iter().any(|cell| cell.control && cell.races.unwrap() > 0));
    let log = log_of(&out, "command.ext4.log");
    assert!(log.contains("it came along") && log.contains("it is \"done\""), "{log}");
    assert!(!Path::new(&root).join("made").exists());
}

#[test]
fn what_a_command_comes_to_is_said_and_no_race_is_blamed_on_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (small_root(dir.path()), dir.path().join("out"));
    let script = "dd if=/dev/zero of=file bs=64k count=8 conv=fsync; exit 7";
    let words = ["--kernel", &kernel_name(), "--seconds", "1", "--out", out.to_str().unwrap()];
    let words = [&words[..], &["--root", &root, "--", "sh", "-c", script]].concat();
    let (output, verdict) = run(dir.path(), &words);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    let ran = cell(&verdict, "command/ext4");
    assert_eq!(ran.outcome, CellOutcome::Error);
    assert!(ran.reason.as_ref().unwrap().contains("ended with exit status 7"), "{:?}", ran.reason);
}

#[test]
fn what_is_no_root_is_one_line_and_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    let cases: [(&[&str], &str); 8] = [
        (&["--root", "/does/not/exist", "--", "true"], "no such folder or image"),
        (&["--root", empty, "--", "true"], "no bin/sh"),
        (&["--root", "/dev/null", "--", "true"], "a root is a folder, or an image"),
        (&["--root", "debian:trixie+--help", "--", "true"], "is no package's name"),
        (&["--root", "debian:../x", "--", "true"], "suite"),
        (&["--root", "host"], "COMMAND"),
        (&["--", "true"], "--root"),
        (&["--root", "host", "--scenario", "mmap-rewrite", "--", "true"], "leave --scenario out"),
    ];
    for (words, message) in cases {
        let output = output(&[&["run", "--kernel", "debian:bookworm"], words].concat());
        let told = said(&output);
        assert_eq!(output.status.code(), Some(129), "{words:?}: {told}");
        assert!(told.contains(message), "{words:?}: {told}");
    }
}
