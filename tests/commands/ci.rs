//! The scripts in .ci/: the count that CI closes with is true or absent, and a machine that has
//! everything is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn script(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci").join(name)).unwrap()
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs .ci/run where `make test` is this recipe; its last line and its exit status.
fn ci_run(recipe: &[&str]) -> (String, i32) {
    let dir = TempDir::new().unwrap();
    let (_, line, status) = ci_run_in(dir.path(), recipe);
    (line, status)
}

/// The same with everything that it said.
fn ci_run_in(dir: &Path, recipe: &[&str]) -> (String, String, i32) {
    write_program(&dir.join(".ci/run"), &script("run"));
    let makefile: String = recipe.iter().map(|line| format!("\t@{line}\n")).collect();
    fs::write(dir.join("Makefile"), format!("test:\n{makefile}")).unwrap();
    let output = Command::new(dir.join(".ci/run"))
        .env("CI", "true")
        // The make that runs this test must not lend its flags.
        .env_remove("MAKEFLAGS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().last().unwrap_or_default().to_owned();
    (said, line, output.status.code().unwrap())
}

const STARTED: &str = "echo '     Running tests/a.rs (target/debug/deps/a-0)'";
const GOOD: &str = "echo 'test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s'";
const MIXED: &str = "echo 'test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s'";

#[test]
fn the_closing_line_adds_up_every_test_program() {
    assert_eq!(ci_run(&[STARTED, GOOD]), ("12 passed, 0 failed".to_owned(), 0));
    let both = ci_run(&[STARTED, GOOD, STARTED, MIXED, "exit 1"]);
    assert_eq!(both, ("15 passed, 2 failed, 1 skipped".to_owned(), 2));
}

/// What cargo prints of tests that passed and said something.
const SAID: &str = "printf '%s\\n' '' successes: '' '---- a::b stdout ----' 'skipped: no mount here' 'skipped: again' '' \
    '---- c stdout ----' 'said: skipped: no' 'verdict: pass' '' '' successes: '    a::b' '    c' ''";
/// The same of one that failed.
const FAILED: &str = "printf '%s\\n' failures: '' '---- d stdout ----' 'skipped: not really' '' failures: '    d' ''";

#[test]
fn a_test_that_could_do_nothing_is_skipped_and_says_why() {
    let dir = TempDir::new().unwrap();
    let (said, line, status) =
        ci_run_in(dir.path(), &[STARTED, SAID, GOOD, STARTED, FAILED, MIXED, "exit 1"]);
    assert_eq!((line.as_str(), status), ("14 passed, 2 failed, 2 skipped", 2));
    assert!(said.contains("\nskipped: a::b: no mount here\n14 passed"), "{said}");
    assert!(!said.contains("verdict: pass"), "what passed tests print is not shown: {said}");
    assert!(said.contains("---- d stdout ----\nskipped: not really\n"), "{said}");
}

#[test]
fn there_is_no_closing_line_where_it_would_not_be_true() {
    let cases: [&[&str]; 6] = [
        &["exit 1"],
        &["true"],
        // A lint that fails, or a doc test that does not compile.
        &[STARTED, GOOD, "exit 1"],
        // A test program that dies of a signal.
        &[STARTED, GOOD, STARTED, "exit 1"],
        &[STARTED, MIXED, STARTED, "exit 1"],
        // More results than programs: one of them was only printed.
        &[STARTED, GOOD, GOOD],
    ];
    for recipe in cases {
        let (line, status) = ci_run(recipe);
        assert!(!line.contains(" passed, "), "{recipe:?}: {line}");
        assert_ne!(status, 0, "{recipe:?}");
    }
}

#[test]
fn a_machine_that_has_everything_is_left_alone() {
    let dir = TempDir::new().unwrap();
    for forbidden in ["apt-get", "apt-cache", "sudo", "rustup"] {
        write_program(
            &dir.path().join(forbidden),
            "#!/bin/sh\necho \"$0 was called\" >&2\nexit 1\n",
        );
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/setup"))
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "setup: nothing is missing\n");
}
