//! Kernels that die before their guest's agent answers: under TCG that may be QEMU's making.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dixtrap::verdict::Boot;

use crate::booted::{cell, kernel_name, run};
use crate::kit::programs::text;

/// Runs one cell, keeps the boot's files in `dir`/out, and tells the status and what was said.
fn run_a_cell(dir: &Path, more: &[&str]) -> (i32, String, dixtrap::verdict::Verdict) {
    let (kernel, out) = (kernel_name(), dir.join("out"));
    let mut words = vec!["--kernel", &kernel, "--out", out.to_str().unwrap(), "--seconds", "1"];
    words.extend(["--scenario", "direct-rewrite", "--fs", "raw", "--stable-writes", "off"]);
    words.extend_from_slice(more);
    let (output, verdict) = run(dir, &words);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap(), said, verdict)
}

fn only_boot(dir: &Path, verdict: &dixtrap::verdict::Verdict) -> Boot {
    let [boot] = &verdict.boots[..] else { panic!("{:?}", verdict.boots) };
    assert_eq!((boot.directory.as_deref(), boot.device.as_str()), (Some("boot-1"), "blk"));
    for line in &boot.early_deaths {
        // Each says where its console is, and that is its own.
        let (line, file) = line.strip_suffix(')').unwrap().rsplit_once(" (").unwrap();
        let console = std::fs::read(dir.join("out/boot-1").join(file)).unwrap();
        let console = String::from_utf8_lossy(&console);
        assert!(console.contains(line), "{file}: {console}");
        assert_eq!(console.matches("Linux version ").count(), 1, "{file}");
    }
    boot.clone()
}

#[test]
fn a_kernel_that_panics_every_time_is_booted_three_times_and_cannot_be_tested() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said, verdict) = run_a_cell(dir.path(), &["--append", "rdinit=/nosuch"]);
    assert_eq!(status, 125, "{said}");
    let reason = verdict.cells[0].reason.clone().unwrap();
    assert!(reason.contains("in 3 of 3 boots the kernel died before its agent"), "{reason}");
    assert!(reason.contains("possibly of QEMU's own making (TCG)"), "{reason}");
    assert!(reason.contains("Kernel panic - not syncing: VFS: Unable to mount"), "{reason}");
    let boot = only_boot(dir.path(), &verdict);
    assert_eq!((boot.tries, boot.early_deaths.len()), (3, 3), "{boot:?}");
    assert!(boot.early_deaths[0].ends_with("(console-1.log)"), "{boot:?}");
    assert!(boot.early_deaths[2].ends_with("(console.log)"), "{boot:?}");
    assert!(!dir.path().join("out/boot-2").exists());
    assert!(said.contains("for the third time of at most 3"), "{said}");
}

/// QEMU that makes the first of its guests panic.
const PANICS_ONCE: &str = r#"#!/bin/bash
args=()
for word; do
    case $word in
    console=*) [ -e "$0.done" ] || { : >"$0.done"; word="$word rdinit=/nosuch"; } ;;
    esac
    args+=("$word")
done
exec qemu-system-x86_64 "${args[@]}"
"#;

#[test]
fn a_kernel_that_panics_once_is_tested_and_the_panic_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let qemu = dir.path().join("qemu");
    std::fs::write(&qemu, PANICS_ONCE).unwrap();
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (status, said, verdict) = run_a_cell(dir.path(), &["--qemu", qemu.to_str().unwrap()]);
    assert_eq!(status, 0, "{said}");
    assert!(cell(&verdict, "direct-rewrite/raw/stable_writes=off").races > Some(0));
    let boot = only_boot(dir.path(), &verdict);
    assert_eq!((boot.tries, boot.early_deaths.len()), (2, 1), "{boot:?}");
    assert_eq!(boot.kernel, verdict.cells[0].kernel);
    assert!(
        said.contains("1 of 2 tries died before the guest's agent answered")
            && said.contains("possibly of QEMU's own making (TCG)"),
        "{said}"
    );
}
