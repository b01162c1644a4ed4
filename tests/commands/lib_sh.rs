//! guest-scripts/lib.sh in the shells that run it: what ends a script, and what is said of it. No disk is
//! needed for that, and no guest.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// dixtrap's own guests have bash, called sh; by hand it may be any.
const GUESTS: &[&str] = &["bash", "--posix"];
const BY_HAND: [&[&str]; 2] = [&["dash"], &["busybox", "sh"]];

/// Runs a script that begins with lib.sh; what it ended with, and what it said.
fn run(shell: &[&str], body: &str) -> (Option<i32>, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("case.sh");
    let script = format!("#!/bin/sh\n# fs: raw\n. \"$DIXTRAP_LIB/lib.sh\"\n{body}\n");
    std::fs::write(&path, script).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "30"]).args(shell).arg(&path).stdin(Stdio::null());
    command.env("DIXTRAP_LIB", Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-scripts"));
    let output = command.env_remove("DIXTRAP_TELL").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// What every shell has to see.
#[test]
fn a_command_that_fails_ends_the_script() {
    for shell in BY_HAND.iter().chain([&GUESTS]) {
        for (body, code, words) in [
            ("false\nsay reached", 1, ""),
            ("x=$(false)\nsay reached", 1, ""),
            ("nosuchprogram\nsay reached", 127, ""),
            ("echo \"$unknown\"\nsay reached", -1, ""),
            ("die 'no luck'\nsay reached", 1, "dixtrap: error: no luck\n"),
            ("skip 'no disk'", 77, "dixtrap: skip: no disk\n"),
            ("take_apart() { echo taken apart; }\nfalse", 1, "taken apart\n"),
            // Handled where it happens, each of them.
            ("false || :\nif false; then :; fi\n! true || :\nsay fine", 0, "dixtrap: fine\n"),
            ("f() { false; echo in f; }\nf || :\nsay fine", 0, "in f\ndixtrap: fine\n"),
            ("false & wait $! || say seen", 0, "dixtrap: seen\n"),
            ("(exit 3) & wait $!\nsay reached", 3, ""),
        ] {
            let (status, said) = run(shell, body);
            let right = if code < 0 { status != Some(0) } else { status == Some(code) };
            assert!(right && said.contains(words), "{shell:?}: {body}: {status:?}: {said}");
            assert!(!said.contains("reached"), "{shell:?}: {body}: {said}");
        }
    }
}

/// What only the shell of our own guests can see.
#[test]
fn no_part_of_a_script_fails_unheard_in_a_guest() {
    for (body, words) in [
        ("grep -q zzz /dev/null", "error: grep -q zzz /dev/null (line 4 of case.sh) failed (1)"),
        ("f() {\nsh -c 'exit 9'\n}\nf", "error: sh -c 'exit 9' (line 5 of case.sh) failed (9)"),
        ("ls /nosuch | cat\nsay reached", "a part of the pipeline before line 5"),
        ("sh -c 'exit 9' | cat | cat\nsay reached", "failed (9 0 0)"),
        ("/bin/false & \nwait\nsay reached", "error: "),
        ("sh -c 'exit 4' & sleep 0.2; sh -c 'exit 0' & sleep 0.2\nwait\nsay reached", "error: "),
        ("sh -c 'exit 4' & sleep 0.3\nfinish", "what ran in the background failed (4)"),
        ("sh -c 'exit 4' & sleep 0.3", "what ran in the background failed (4)"),
        ("(false; :) & sleep 0.3\n(true) &\nwait", "error: false (line 4 of case.sh) failed (1)"),
        ("(die 'lost a writer') & sleep 0.3\nfinish", "error: lost a writer"),
        ("echo \"$(false; echo x)\"", "error: false (line 4 of case.sh) failed (1)"),
    ] {
        let (status, said) = run(GUESTS, body);
        assert!(said.contains(words), "{body}: {status:?}: {said}");
        assert!(!said.contains("reached"), "{body}: {said}");
    }
}

/// What is no failure must not be made one.
#[test]
fn what_a_script_sees_to_itself_is_no_failure() {
    for body in [
        "yes | head -n 1",
        "if yes | head -n 99999 | grep -q y; then :; else die 'not found'; fi",
        "x=$(yes | head -n 1)",
        "x=$(grep zzz /dev/null | wc -l)\n[ \"$x\" = 0 ] || die \"$x\"",
        "sh -c 'exit 4' & job=$!\nwait $job || :",
        "sleep 0.1 & sleep 0.2 & wait",
        "sh -c 'exit 4' & wait %1 || :",
        "set +e\nfalse\nls /nosuch | cat\nset -e",
        "(exit 5) || :",
        "x=$(false) || x=none",
        "[ -z x ] && say never\n:",
        "sleep 30 >/dev/null 2>&1 &",
    ] {
        let (status, said) = run(GUESTS, &format!("{body}\nsay fine\nfinish"));
        assert_eq!(status, Some(0), "{body}: {said}");
        assert!(said.contains("dixtrap: fine\n") && !said.contains("error"), "{body}: {said}");
    }
}

/// Who is asked to end has done what was wanted, however its last command took it.
#[test]
fn who_is_asked_to_end_ends_well() {
    for shell in BY_HAND.iter().chain([&GUESTS]) {
        for (body, code) in [
            // As timeout and the agent do it: the whole group.
            ("(sleep 0.3; kill -TERM 0) &\nsleep 20", 0),
            ("(sleep 0.3; kill -TERM 0) &\nsleep 20 &\nsleep 20 | cat", 0),
            ("(sleep 0.3; kill -TERM 0) &\nsleep 20 || :\ndie 'and yet'", 1),
        ] {
            let (status, said) = run(&[&["setsid", "--wait"], *shell].concat(), body);
            assert_eq!(status, Some(code), "{shell:?}: {body}: {said}");
        }
    }
}
