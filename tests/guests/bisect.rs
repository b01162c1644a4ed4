//! `git bisect run` over a repository whose commits name kernels: it finds the commit at which direct
//! I/O on btrfs became stable.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The commits, oldest first: their subject and the kernel that they name. Debian 12's 6.1 races and
/// Debian 13's 6.12 does not; a tree that nobody has built can be tested on neither side.
const COMMITS: [(&str, &str); 6] = [
    ("the first", "debian:bookworm"),
    ("another file", "debian:bookworm"),
    ("a comment", "debian:bookworm"),
    ("the fix", "debian:trixie"),
    ("does not build", "./unbuilt"),
    ("the last", "debian:trixie"),
];

/// What `git bisect run` runs at every commit: the README's command, but for the kernel's name, a
/// time bound, and one file system.
const QUESTION: &str = r#"timeout 300 "$DIXTRAP" run --kernel "$(cat KERNEL)" --accel tcg --fs btrfs \
    --scenario direct-rewrite --expect race"#;

fn git(repository: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
        .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"])
        .args(words)
        .current_dir(repository)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("DIXTRAP", env!("CARGO_BIN_EXE_dixtrap"))
        .env("DIXTRAPD", env!("CARGO_BIN_EXE_dixtrapd"))
        .env("DIXTRAP_GUEST", env!("CARGO_BIN_EXE_dixtrap-guest"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "git {words:?}: {told}");
    told
}

fn repository(at: &Path) {
    git(at, &["init", "-q", "-b", "main"]);
    // A kernel's tree, as far as a clone goes.
    fs::create_dir(at.join("unbuilt")).unwrap();
    fs::write(at.join("unbuilt/Makefile"), "VERSION = 6\n").unwrap();
    fs::write(at.join("unbuilt/Kconfig"), "").unwrap();
    for (number, (subject, kernel)) in COMMITS.iter().enumerate() {
        fs::write(at.join("KERNEL"), kernel).unwrap();
        // Two commits may name the same kernel.
        fs::write(at.join("NUMBER"), number.to_string()).unwrap();
        git(at, &["add", "-A"]);
        git(at, &["commit", "-q", "-m", subject]);
    }
}

#[test]
fn git_finds_the_commit_that_fixed_direct_io_on_btrfs() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    repository(at);
    // What was fixed is looked for: the old state races, the new one is stable.
    git(at, &["bisect", "start", "--term-old=races", "--term-new=stable"]);
    git(at, &["bisect", "stable", "HEAD"]);
    git(at, &["bisect", "races", &format!("HEAD~{}", COMMITS.len() - 1)]);
    let told = git(at, &["bisect", "run", "sh", "-c", QUESTION]);
    eprintln!("{told}");
    let fix = git(at, &["rev-parse", "main~2"]);
    assert!(told.contains(&format!("{} is the first stable commit", fix.trim())), "{told}");
    let log = git(at, &["bisect", "log"]);
    assert!(log.contains("# stable: [") && log.contains("# races: ["), "{log}");
}
