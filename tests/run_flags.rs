//! What `dixtrap run` can be told about the guest and its disk: that it reaches them, and that what
//! makes no sense is one line and status 129.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod running;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use running::{output, text};

/// A program that is no QEMU, in one way or another.
fn impostor(dir: &Path, name: &str, script: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn wrong_values_are_one_line_and_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let talks = impostor(dir.path(), "talks", "echo I am a teapot");
    let dies = impostor(dir.path(), "dies", "kill -9 $$");
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap().to_owned();
    let long = "x".repeat(3000);
    let cases: [(&[&str], &str); 25] = [
        (&["--append", "a\nb"], "one line"),
        (&["--append", &long], "too many"),
        (&["--append", &long[..1500], "--append", &long[..1500]], "too many"),
        (&["--memory", "64M"], "needs 128M"),
        (&["--memory", "2T"], "can have 1T"),
        (&["--memory", "lots"], "is not a number"),
        (&["--cpus", "0"], "--cpus"),
        (&["--cpus", "256"], "--cpus"),
        (&["--qemu", "/no/such/qemu"], "there is no program /no/such/qemu"),
        (&["--qemu", "no-such-qemu"], "there is no program no-such-qemu"),
        (&["--qemu", &plain], "there is no program"),
        (&["--qemu", dir.path().to_str().unwrap()], "there is no program"),
        (&["--qemu", &talks], "is not QEMU: asked for its --version it said 'I am a teapot'"),
        (&["--qemu", &dies], "is not QEMU"),
        (&["--qemu", "true"], "is not QEMU"),
        (&["--block-size", "1024"], "use 512 or 4096"),
        (&["--pi-type", "4"], "use 0, 1, 2 or 3"),
        (&["--size", "0"], "out of range"),
        (&["--size", "64K"], "use at least 1M"),
        (&["--size", "1048577", "--block-size", "4096"], "whole blocks"),
        (&["--stable-writes", "maybe"], "use on, off or both"),
        (&["--stable-writes", "off", "--scenario", "aio-rewrite"], "stable_writes off"),
        (&["--timeout", "soon"], "10m"),
        (&["--timeout", "5s"], "lower --seconds"),
        (&["--timeout", "25h"], "to a day"),
    ];
    for (words, message) in cases {
        let output = output(&[&["run", "--kernel", "debian:bookworm"], words].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{words:?}: {said}");
        assert!(said.contains(message), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}: {}", text(&output.stdout));
    }
}
