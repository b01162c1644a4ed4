//! `dixtrap` as a child process, and what its tests ask of it.

// Every test program takes what it needs.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use dixtrap::runner::kernel::{Kernel, KernelSpec};
use dixtrap::verdict::{Cell, Verdict};
use nix::unistd::Pid;

pub fn kernel_name() -> String {
    std::env::var("DIXTRAP_TEST_KERNEL").unwrap_or("debian:bookworm".into())
}

pub fn kernel() -> Kernel {
    let spec = KernelSpec::parse(Some(&kernel_name()), None).unwrap();
    spec.locate(&|line| eprintln!("{line}")).unwrap()
}

pub fn dixtrap(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dixtrap"));
    command.args(words).env("DIXTRAPD", env!("CARGO_BIN_EXE_dixtrapd"));
    command.env("DIXTRAP_GUEST", env!("CARGO_BIN_EXE_dixtrap-guest")).stdin(Stdio::null());
    command
}

pub fn output(words: &[&str]) -> Output {
    dixtrap(words).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with a verdict in `dir`, whatever the status.
pub fn run(dir: &Path, words: &[&str]) -> (Output, Verdict) {
    let json = dir.join("v.json");
    let mut command = dixtrap(&["run", "--accel", "tcg", "--json", json.to_str().unwrap()]);
    let output = command.args(words).output().unwrap();
    eprintln!("{}{}", text(&output.stdout), text(&output.stderr));
    let verdict = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    (output, verdict)
}

pub fn scenario(dir: &Path, name: &str, expect: &str, body: &str) -> String {
    let script = format!(
        "#!/bin/sh\n# description: A test.\n# fs: raw\n# stable-writes: any\n# expect: {expect}\n\
         . \"$DIXTRAP_LIB/lib.sh\"\n{body}\n"
    );
    let path = dir.join(format!("{name}.sh"));
    std::fs::write(&path, script).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn cell<'v>(verdict: &'v Verdict, name: &str) -> &'v Cell {
    verdict.cells.iter().find(|cell| cell.name() == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The child process of `parent`, whichever of its threads started it, whose name begins with `name`.
pub fn child_called(parent: u32, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten();
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
    let all: Vec<String> = tasks.flat_map(children).collect();
    let called = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|comm| comm.starts_with(name))
    };
    let mut pids = all.iter().flat_map(|text| text.split_whitespace());
    let pid = pids.find(called).unwrap_or_else(|| panic!("no {name}"));
    Pid::from_raw(pid.parse().unwrap())
}
