//! What boots: which kernel the tests take, `dixtrap run` over it, and guests that a test drives itself.
#![allow(dead_code, reason = "each test uses its own part of it")]

pub mod plain;
pub mod shell;
use std::path::{Path, PathBuf};
use std::process::Output;

use dixtrap::runner::kernel::{Kernel, KernelSpec};
use dixtrap::verdict::{Cell, Verdict};
use nix::unistd::Pid;

use crate::kit::programs::{dixtrap, said};

/// The kernel that the tests boot; any other can be put to them by DIXTRAP_TEST_KERNEL.
pub fn kernel_name() -> String {
    std::env::var("DIXTRAP_TEST_KERNEL").unwrap_or("debian:bookworm".into())
}

/// It, from the cache or fetched into it; with the modules of DIXTRAP_TEST_MODULES.
pub fn kernel() -> Kernel {
    let modules = std::env::var_os("DIXTRAP_TEST_MODULES").map(PathBuf::from);
    let spec = KernelSpec::parse(Some(&kernel_name()), modules.as_deref()).unwrap();
    spec.locate(&|line| eprintln!("{line}")).unwrap()
}

/// Runs with a verdict in `dir`, whatever the status.
pub fn run(dir: &Path, words: &[&str]) -> (Output, Verdict) {
    let json = dir.join("v.json");
    let mut command = dixtrap(&["run", "--accel", "tcg", "--json", json.to_str().unwrap()]);
    let output = command.args(words).output().unwrap();
    eprintln!("{}", said(&output));
    let verdict = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    (output, verdict)
}

/// A scenario of the user's own in `dir`: its path.
pub fn scenario(dir: &Path, name: &str, expect: &str, body: &str) -> String {
    let script = format!(
        "#!/bin/sh\n# description: A test.\n# fs: raw\n# stable-writes: any\n# expect: {expect}\n\
         . \"$DIXTRAP_LIB/lib.sh\"\n{body}\n"
    );
    let path = dir.join(format!("{name}.sh"));
    std::fs::write(&path, script).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The cell of that name, which has to be there.
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
