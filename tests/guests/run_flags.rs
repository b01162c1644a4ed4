//! What `dixtrap run` can be told about the guest and its disk: that it reaches them, and that what
//! makes no sense is one line and status 129.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dixtrap::verdict::{CellOutcome, Ruling, Verdict};

use crate::booted::{cell, kernel_name, run, scenario};
use crate::kit::programs::{dixtrap, output, text};

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
    let cases: [(&[&str], &str); 26] = [
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
        (&["--jobs", "0"], "use 1 or more"),
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

#[test]
fn wrong_names_are_met_with_what_may_have_been_meant_and_all_there_are() {
    for (words, said) in [
        (&["run", "mmap-rewrite"][..], "did you mean --scenario mmap-rewrite?"),
        (&["run", "mmap_rewrit"], "did you mean --scenario mmap-rewrite?"),
        (&["run", "ext4"], "did you mean --fs ext4?"),
        (&["run", "scsi"], "did you mean --device scsi?"),
        (&["run", "debian:trixie"], "did you mean --kernel debian:trixie?"),
        (&["run", "debain:trixie"], "did you mean --kernel debian:trixie?"),
        (&["run", "--kernel", "debain:trixie"], "did you mean debian:trixie? Give a bzImage"),
        (&["sweep", "--kernel", "debain:trixie"], "did you mean debian:trixie? Give a bzImage"),
        (&["run", "quux"], "dixtrap list scenarios"),
        (
            &["run", "--scenario", "mmap-rewrit"],
            "did you mean mmap-rewrite? There are aio-rewrite,",
        ),
        (&["run", "--fs", "etx4"], "did you mean ext4? There are raw,"),
        (&["run", "--fs", "ext5"], "did you mean ext4? There are raw,"),
        (&["sweep", "--fs", "btrf"], "did you mean btrfs? There are raw,"),
        (&["run", "--device", "scsy"], "possible values: blk, scsi"),
        (&["run", "--accel", "kmv"], "use auto, kvm or tcg"),
        (&["run", "--expect", "stabl"], "use stable, race or survey"),
        (&["run", "--jnuit", "f"], "a similar argument exists: '--junit'"),
        (&["list"], "(scenarios, cells, kernels"),
        (&["list", "scenario"], "'scenarios'"),
        (&["list", "quux"], "(scenarios, cells, kernels"),
        (
            &["lst"],
            "'list'; --help lists what can be given (run, sweep, report, list, image, ctl, completions)",
        ),
        (&[], "(run, sweep, report, list, image, ctl, completions)"),
    ] {
        let output = output(words);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{words:?}: {line}");
        assert!(line.contains(said), "{words:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{words:?}: {line}");
    }
}

/// A program or a driver that is not there is known before the boot; then there is none.
#[test]
fn no_guest_is_booted_for_a_skip() {
    let dir = tempfile::tempdir().unwrap();
    let one = scenario(dir.path(), "program", "stable", "die 'it ran'");
    let two = scenario(dir.path(), "driver", "stable", "die 'it ran'");
    let header = |path: &str, line: &str| {
        let script = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, script.replacen("# fs:", &format!("{line}\n# fs:"), 1)).unwrap();
    };
    header(&one, "# needs: no-such-program");
    header(&two, "# drivers: no_such_driver");
    let three = scenario(dir.path(), "interpreter", "stable", "die 'it ran'");
    header(&three, "# needs: ./helper");
    std::fs::write(dir.path().join("helper"), "#!/no/such/interpreter\n").unwrap();
    let out = dir.path().join("out");
    let words = ["--kernel", &kernel_name(), "--out", out.to_str().unwrap()];
    let (output, verdict) = run(
        dir.path(),
        &[
            &words[..],
            &["--device", "blk", "--scenario", &one, "--scenario", &two, "--scenario", &three],
        ]
        .concat(),
    );
    assert_eq!((output.status.code(), verdict.verdict), (Some(125), Ruling::Untestable));
    assert!(!out.join("boot-1").exists() && out.join("verdict.json").is_file());
    assert!(text(&output.stderr).contains("is not booted: none of 3 cells can run"));
    let told: Vec<(CellOutcome, String)> = verdict
        .cells
        .iter()
        .map(|cell| (cell.outcome, cell.reason.clone().unwrap_or_default()))
        .collect();
    assert_eq!(told.len(), 3, "no control: {told:?}");
    assert!(told.iter().all(|(outcome, _)| *outcome == CellOutcome::Skip), "{told:?}");
    assert!(told[0].1.contains("no-such-program is not on this machine"), "{told:?}");
    assert!(told[1].1.contains("no driver no_such_driver"), "{told:?}");
    assert!(told[2].1.contains("its interpreter /no/such/interpreter is not on this"), "{told:?}");
    let shown = text(&output.stdout);
    assert!(shown.contains("no-such-program is not on this machine"), "{shown}");

    let output = self::output(&["sweep", "--kernel", &kernel_name(), "--scenario", &one]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("no-such-program") && !said.contains("booting"), "{said}");
}

/// Whoever reads what a run says may go away: the run goes on to its verdict, and leaves nothing behind.
#[test]
fn a_reader_that_goes_away_costs_no_folder_and_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let one = scenario(dir.path(), "program", "stable", "die 'it ran'");
    let script = std::fs::read_to_string(&one).unwrap();
    std::fs::write(&one, script.replacen("# fs:", "# needs: no-such-program\n# fs:", 1)).unwrap();
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mut command = dixtrap(&["run", "--kernel", &kernel_name(), "--scenario", &one]);
    for (stdout, stderr) in [(true, false), (false, true), (true, true)] {
        let pipe = |gone: bool| if gone { gone_pipe() } else { Stdio::null() };
        command.env("TMPDIR", &scratch).stdout(pipe(stdout)).stderr(pipe(stderr));
        assert_eq!(command.status().unwrap().code(), Some(125), "{stdout} {stderr}");
        let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The end for writing of a pipe that nobody reads.
fn gone_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

/// A QEMU that knows its version and dies is no kernel's fault; its last words are told.
#[test]
fn a_qemu_that_dies_is_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let script = "[ \"$1\" = --version ] && echo QEMU emulator version 99 && exit
        echo it has no bananas >&2; exit 3";
    let qemu = impostor(dir.path(), "qemu", script);
    let words = ["--kernel", &kernel_name(), "--scenario", "direct-rewrite", "--fs", "raw"];
    let (output, verdict) = run(dir.path(), &[&words[..], &["--qemu", &qemu]].concat());
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), verdict.verdict), (Some(129), Ruling::Error), "{said}");
    assert!(said.contains("QEMU would not start (exit status: 3): it has no bananas"), "{said}");
    // A word that QEMU does not know ends it, too.
    let (output, _) = run(dir.path(), &[&words[..], &["--qemu-arg", "-bananas"]].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(129), "{said}");
    assert!(said.contains("QEMU would not start") && said.contains("-bananas"), "{said}");
}

/// What every cell of a 4096-byte disk has to show: whole blocks, owners in the right unit.
fn told_in_blocks_of_4096(verdict: &Verdict, name: &str, owner: &str) {
    let cell = cell(verdict, name);
    assert_eq!(cell.outcome, CellOutcome::Pass, "{cell:?}");
    assert!(cell.races > Some(0) && cell.blocks_checked >= cell.writes, "{cell:?}");
    let owners = cell.owners.as_ref().unwrap();
    assert_eq!(owners.get(owner).copied(), cell.races, "{cell:?}");
}

/// 4096-byte blocks over virtio-blk, without protection information; and whatever else the guest was
/// to be given.
#[test]
fn a_guest_is_given_what_was_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let own = "prepare \"$@\"
        grep -q ' dixtrap.test=1 dixtrap.more=\"a b\"$' /proc/cmdline || fail \"$(cat /proc/cmdline)\"
        [ \"$(nproc)\" = 3 ] || fail \"$(nproc) CPUs\"
        [ \"$(awk '/MemTotal/ { print int($2 / 1048576 + 0.5) }' /proc/meminfo)\" = 1 ] || fail \"$(cat /proc/meminfo)\"
        [ \"$(cat /sys/class/block/vda/queue/logical_block_size)\" = 4096 ] || fail 'small blocks'
        [ \"$(cat /sys/class/block/vda/size)\" = 4194304 ] || fail \"$(cat /sys/class/block/vda/size) sectors\"
        grep -q flagged /sys/class/dmi/id/product_serial || fail 'no word of --qemu-arg came through'
        work direct \"$TARGET\"; finish";
    let own = scenario(dir.path(), "given", "survey", own);
    let out = dir.path().join("out");
    let kernel = kernel_name();
    let words = [
        &["--kernel", &kernel, "--out", out.to_str().unwrap(), "--seconds", "2"][..],
        &[
            "--block-size",
            "4096",
            "--pi-type",
            "0",
            "--size",
            "2G",
            "--memory",
            "1G",
            "--cpus",
            "3",
        ],
        &[
            "--append",
            "dixtrap.test=1",
            "--append",
            "dixtrap.more=\"a b\"",
            "--stable-writes",
            "off",
        ],
        &[
            "--qemu",
            "qemu-system-x86_64",
            "--qemu-arg",
            "-smbios",
            "--qemu-arg",
            "type=1,serial=flagged",
        ],
        &["--fs", "raw", "--fs", "ext4*", "--scenario", &own, "--scenario", "direct-rewrite"],
        &["--timeout", "100s"],
    ];
    let (output, verdict) = run(dir.path(), &words.concat());
    assert_eq!(output.status.code(), Some(0), "{verdict:#?}");
    assert_eq!(cell(&verdict, "given/raw").outcome, CellOutcome::Pass);
    told_in_blocks_of_4096(&verdict, "direct-rewrite/raw/stable_writes=off", "disk");
    told_in_blocks_of_4096(&verdict, "direct-rewrite/ext4/stable_writes=off", "file");
    let small = cell(&verdict, "direct-rewrite/ext4-1k/stable_writes=off");
    assert_eq!(small.outcome, CellOutcome::Skip);
    assert!(small.reason.as_ref().unwrap().contains("4096-byte blocks"), "{small:?}");
    assert!(verdict.cells.iter().all(|cell| !cell.name().ends_with("=on")), "{verdict:#?}");
    // The folder may have moved since.
    let moved = dir.path().join("it's moved");
    std::fs::rename(out.join("boot-1"), &moved).unwrap();
    starts_again(&moved);
}

/// The script of a boot starts the same guest once more, with a shell and a disk of its own.
fn starts_again(boot: &Path) {
    let before = std::fs::read(boot.join("races.jsonl")).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "200"]).arg(boot.join("qemu.sh"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    // What is typed before anybody reads the line is lost.
    while !text(&said).contains("dixtrap# ") {
        let count = output.read(&mut chunk).unwrap();
        assert!(count > 0, "no prompt: {}", text(&said));
        said.extend_from_slice(&chunk[..count]);
    }
    let typed = "cat /proc/cmdline; cat /sys/class/block/vda/queue/logical_block_size; nproc
        export DIXTRAP_OWNERS=/dev/vda DIXTRAP_FS=ext4 DIXTRAP_SECONDS=2
        sh /dixtrap/direct-rewrite.sh /dev/vda; tty; exit\n";
    input.write_all(typed.as_bytes()).unwrap();
    output.read_to_end(&mut said).unwrap();
    let said = text(&said).replace('\r', "");
    assert!(child.wait().unwrap().success(), "{said}");
    for part in ["dixtrap.more=\"a b\" dixtrap.shell\n4096\n3\n", "dixtrap: done\n", "/dev/ttyS0\n"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(std::fs::read(boot.join("races.jsonl")).unwrap(), before);
    let records = std::fs::read_to_string(boot.join("again.jsonl")).unwrap();
    assert!(records.contains("\"type\":\"race\"") && records.contains("\"block_size\":4096"));
    assert!(records.contains("\"type\":\"stop\""), "the disk was not ended in order");
    names_owners_by_hand(boot, &said);
}

/// What the helper printed in the guest, saved beside the records, names the owners; what the run found out
/// of its own races does not name those of others.
fn names_owners_by_hand(boot: &Path, said: &str) {
    let report = || output(&["report", boot.join("again.jsonl").to_str().unwrap()]);
    assert!(boot.join("owners.jsonl").is_file());
    assert!(!text(&report().stdout).contains("whose blocks raced"), "{}", text(&report().stdout));
    let told = said.lines().filter(|line| line.starts_with("{\"owners\":"));
    let told: String = told.map(|line| format!("{line}\n")).collect();
    std::fs::write(boot.join("again.owners.jsonl"), &told).unwrap();
    let named = text(&report().stdout);
    assert!(report().status.success(), "{}", text(&report().stderr));
    assert!(named.contains("whose blocks raced in (no label):\n"), "{told}{named}");
    assert!(named.contains("  data: file /target, "), "{told}{named}");
}

/// 4096-byte blocks and Type 3 over virtio-scsi: the guest's tuples verify, every fault ends as that
/// type has it, and races are told in blocks.
#[test]
fn a_drive_of_large_blocks_and_type_3_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel_name();
    let words = [
        &["--kernel", &kernel, "--device", "scsi", "--block-size", "4096", "--pi-type", "3"][..],
        &["--fs", "raw", "--fs", "ext4", "--seconds", "2", "--stable-writes", "off"],
        &["--scenario", "direct-rewrite", "--scenario", "dix-verify", "--scenario", "*-faults"],
    ];
    let (output, verdict) = run(dir.path(), &words.concat());
    assert_eq!(output.status.code(), Some(0), "{verdict:#?}");
    told_in_blocks_of_4096(&verdict, "direct-rewrite/raw/stable_writes=off", "disk");
    told_in_blocks_of_4096(&verdict, "direct-rewrite/ext4/stable_writes=off", "file");
    for name in ["dix-verify/ext4", "read-faults/raw", "write-faults/raw"] {
        let cell = cell(&verdict, name);
        assert_eq!((cell.outcome, cell.races), (CellOutcome::Pass, Some(0)), "{cell:?}");
    }
}

/// A race answers `--expect stable`: its cell ends, no further run or cell is begun, and the status is 1.
#[test]
fn the_first_race_answers_a_bisection() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel_name();
    let words = ["--kernel", &kernel, "--fs", "ext4", "--scenario", "direct-rewrite"];
    let how = ["--expect", "stable", "--seconds", "600", "--repeat", "3"];
    let (output, verdict) = run(dir.path(), &[&words[..], &how[..]].concat());
    assert_eq!((output.status.code(), verdict.verdict), (Some(1), Ruling::Fail), "{verdict:#?}");
    let first = cell(&verdict, "direct-rewrite/ext4/stable_writes=off");
    assert_eq!(
        (first.outcome, first.repeat.map(|r| (r.k, r.n))),
        (CellOutcome::Fail, Some((1, 1)))
    );
    let second = cell(&verdict, "direct-rewrite/ext4/stable_writes=on");
    assert_eq!(second.outcome, CellOutcome::Skip);
    assert!(second.reason.as_ref().unwrap().contains("has answered already"), "{second:?}");
}

/// `list cells` takes what `run` takes, and its parts are those that `run --shard` runs.
#[test]
fn cells_are_listed_with_their_time_and_parts_take_equally_long() {
    let words = ["--kernel", "debian:bookworm", "--kernel", "debian:trixie", "--device", "scsi"];
    let more = ["--device", "blk", "--stable-writes", "off", "--seconds", "9"];
    let rows = |shard: &[&str]| -> Vec<serde_json::Value> {
        let all = [&["list", "cells", "--json"], &words[..], &more[..], shard].concat();
        let output = output(&all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let whole = rows(&[]);
    let parts: Vec<_> = ["1/3", "2/3", "3/3"].map(|part| rows(&["--shard", part])).into();
    let seconds = |rows: &[serde_json::Value]| -> f64 {
        rows.iter().map(|row| row["seconds"].as_f64().unwrap()).sum()
    };
    let without_time = |rows: &[serde_json::Value]| -> Vec<serde_json::Value> {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| row["seconds"] = 0.into());
        rows
    };
    let together: Vec<_> = parts.iter().flat_map(|part| without_time(part)).collect();
    assert_eq!(together, without_time(&whole));
    for part in &parts {
        // A part may begin with a boot of its own, and ends with a whole cell.
        assert!((seconds(part) - seconds(&whole) / 3.0).abs() < 40.0, "{}", seconds(part));
    }
    assert!(whole.iter().any(|row| row["device"] == "blk" && row["kernel"] == "debian:trixie"));
    assert!(whole.iter().all(|row| row["stable_writes"] != "on" && row["fs"].is_string()));
    let told = output(&[&["list", "cells"], &words[..]].concat());
    assert!(text(&told.stdout).contains("debian:trixie scsi dix-verify/btrfs ("));
    let wrong = output(&["list", "cells", "--scenario", "mmap-rewrit"]);
    assert!(text(&wrong.stderr).contains("did you mean mmap-rewrite?"));
    assert_eq!(wrong.status.code(), Some(129));
}
