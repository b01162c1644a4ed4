//! `dixtrap run` as its users run it: a stock kernel, real guests, exit statuses.
//!
//! The first run fetches Debian 12's kernel; later ones need no network. Rates depend on the machine,
//! so what is asked for is "caught at least once" and "none in at least so many blocks".

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dixtrap::record::{Line, PageHost, Record};
use dixtrap::runner::guest::initramfs::find_program;
use dixtrap::verdict::{Cell, CellOutcome, Expect, Ruling, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::booted::{cell, child_called, kernel, kernel_name, run, scenario};
use crate::kit::eventually;
use crate::kit::programs::{dixtrap, output, text};

/// All scenarios in one boot: what may race is caught, what may not is clean, and the files tell it.
#[test]
fn races_are_caught_and_stable_pages_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let (junit, ktap) = (dir.path().join("v.xml"), dir.path().join("v.ktap"));
    let words = ["--kernel", &kernel_name(), "--seconds", "3", "--out", out.to_str().unwrap()];
    // What is known for certain; the other scenarios tell, and may tell something new.
    let fs = [
        "--fs",
        "raw",
        "--fs",
        "ext4",
        "--scenario",
        "metadata-churn",
        "--scenario",
        "mmap-rewrite",
        "--scenario",
        "buffered-rewrite",
        "--scenario",
        "direct-rewrite",
    ];
    let reports = ["--junit", junit.to_str().unwrap(), "--ktap", ktap.to_str().unwrap()];
    let (output, verdict) = run(dir.path(), &[&words[..], &fs[..], &reports[..]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((verdict.verdict, verdict.exit_status), (Ruling::Pass, 0));
    for name in [
        "mmap-rewrite/ext4/stable_writes=off",
        "buffered-rewrite/ext4/stable_writes=off",
        "direct-rewrite/raw/stable_writes=off",
        "direct-rewrite/ext4/stable_writes=on",
    ] {
        let cell = cell(&verdict, name);
        assert!(cell.races > Some(0) && cell.first_catch_ms.is_some(), "{cell:?}");
    }
    for name in [
        "mmap-rewrite/ext4/stable_writes=on",
        "buffered-rewrite/ext4/stable_writes=on",
        "metadata-churn/ext4/stable_writes=on",
    ] {
        let cell = cell(&verdict, name);
        assert!(cell.races == Some(0) && cell.blocks_checked >= Some(1_000), "{cell:?}");
    }
    the_pages_are_whose_they_should_be(&out.join("boot-1/races.jsonl"));
    for file in ["console.log", "races.jsonl", "qemu.sh"] {
        assert!(out.join("boot-1").join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert!(std::fs::read_to_string(junit).unwrap().contains("failures=\"0\""));
    assert!(std::fs::read_to_string(ktap).unwrap().starts_with("KTAP version 1\n1..1\n"));
    let report = self::output(&["report", "--top", "20", out.to_str().unwrap()]);
    let report = text(&report.stdout);
    assert!(report.contains("mmap-rewrite/ext4/stable_writes=off#1: block"), "{report}");
    assert!(report.contains("verdict: pass"), "{report}");
}

/// What the guest's own kernel says of the pages that raced: a file's under writeback where a mapping was
/// stored to, a program's memory where direct I/O reads from it, and nothing else.
fn the_pages_are_whose_they_should_be(records: &Path) {
    let records = std::fs::read_to_string(records).unwrap();
    let lines = records.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    let races = lines.filter_map(|line| match line.record {
        Record::Race(race) => Some(*race),
        _ => None,
    });
    let (mut of_file, mut of_program) = (0, 0);
    for race in races {
        let (label, Some(page)) = (race.label.unwrap_or_default(), race.page) else { continue };
        assert_eq!(page.pfn, race.gpa >> 12);
        match label.as_str() {
            "mmap-rewrite/ext4/stable_writes=off#1" => {
                assert_eq!(page.host, PageHost::File, "{page:?}");
                assert!(
                    page.inode > Some(0) && page.device.is_some() && page.mapcount > 0,
                    "{page:?}"
                );
                of_file += u64::from(page.flags.iter().any(|flag| flag == "writeback"));
            }
            label if label.starts_with("direct-rewrite/") => {
                assert_eq!((page.host, page.inode), (PageHost::Anon, None), "{page:?}");
                of_program += 1;
            }
            _ => {}
        }
    }
    assert!(of_file > 0 && of_program > 0, "{of_file} {of_program}");
}

/// A race where none may be is status 1, with its bytes; a script that breaks or cannot work is told
/// apart from it; a control is added that proves the trap was armed.
#[test]
fn a_race_where_none_may_be_is_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let race =
        scenario(dir.path(), "race", "stable", "prepare \"$@\"; work direct \"$TARGET\"; finish");
    let skip = scenario(dir.path(), "skip", "stable", "skip 'no such thing here'");
    let broken = scenario(dir.path(), "broken", "stable", "prepare \"$@\"; die 'it broke'");
    let idle = scenario(dir.path(), "idle", "stable", "prepare \"$@\"; finish");
    let late = scenario(
        dir.path(),
        "late",
        "stable",
        "prepare \"$@\"; work direct \"$TARGET\"; skip 'too late'",
    );
    let early = scenario(
        dir.path(),
        "early",
        "stable",
        "prepare \"$@\"; \"$DIXTRAP_GUEST\" work direct \"$TARGET\" --seconds 1; say writing; finish",
    );
    let mut words = vec!["--seconds".to_owned(), "2".into(), "--kernel".into(), kernel_name()];
    for path in [&race, &skip, &broken, &idle, &late, &early] {
        words.extend(["--scenario".to_owned(), path.clone()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (output, verdict) = run(dir.path(), &words);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(verdict.verdict, Ruling::Fail);
    let control = &verdict.cells[0];
    assert!(control.control && control.expect == Expect::Race && control.races > Some(0));
    let told = |name: &str| {
        let cell = cell(&verdict, name);
        (cell.outcome, cell.reason.clone().unwrap_or_default())
    };
    assert_eq!(told("race/raw").0, CellOutcome::Fail);
    assert!(told("race/raw").1.contains("raced where none may"));
    assert_eq!(told("skip/raw"), (CellOutcome::Skip, "no such thing here".to_owned()));
    assert_eq!(told("broken/raw").0, CellOutcome::Error);
    assert!(told("broken/raw").1.contains("it broke"));
    assert_eq!(told("idle/raw").0, CellOutcome::Error);
    assert!(told("idle/raw").1.contains("never said that it writes"), "{:?}", told("idle/raw"));
    // A script cannot take its races back, and its set-up is no evidence of anything.
    assert_eq!(told("late/raw").0, CellOutcome::Fail);
    assert_eq!(told("early/raw").0, CellOutcome::Error);
    assert!(told("early/raw").1.contains("no block was written"), "{:?}", told("early/raw"));
    let shown = text(&output.stdout);
    assert!(shown.contains("race/raw#1: block") && shown.contains("0x0000  - "), "{shown}");
}

/// Without the driver there is no test, and no blame: 125.
#[test]
fn a_kernel_without_virtio_blk_is_status_125() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel();
    let modules = dir.path().join("lib/modules").join(&kernel.release);
    copy_without(kernel.modules.unwrap().dir(), &modules, "virtio_blk");
    let image = kernel.image.to_str().unwrap().to_owned();
    let words = ["--kernel", &image, "--modules", modules.to_str().unwrap()];
    let (output, verdict) = run(dir.path(), &words);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(verdict.verdict, Ruling::Untestable);
    assert!(text(&output.stderr).contains("has no driver virtio_blk"));
    assert!(verdict.cells.iter().all(|cell| cell.races.is_none()));
    assert!(verdict.cells.iter().all(|cell| cell.outcome == CellOutcome::Error));
}

/// Copies a tree without the files whose names begin with `left_out` and without modprobe's indexes.
fn copy_without(from: &Path, to: &Path, left_out: &str) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with(left_out) || ["modules.dep", "modules.dep.bin"].contains(&name.as_str())
        {
            continue;
        }
        if path.is_dir() {
            copy_without(&path, &to.join(name), left_out);
        } else {
            // A link to something that is not there, as packages leave behind, is no loss.
            let _ = std::fs::copy(&path, to.join(name));
        }
    }
}

/// Waits until a cell's label is open in the records of the first boot: its writers are about to begin.
fn await_label(out: &Path, label: &str) {
    let records = out.join("boot-1/races.jsonl");
    let label = format!("\"{label}\"");
    let open = || std::fs::read_to_string(&records).is_ok_and(|text| text.contains(&label));
    eventually("the cell's label", || open().then_some(()));
}

/// Ctrl-C: the guest is stopped, every file is whole, every cell accounted for; status 130.
#[test]
fn an_interrupted_run_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("v.json");
    let mut command = dixtrap(&["run", "--accel", "tcg", "--seconds", "600", "--fs", "ext4"]);
    command.args(["--kernel", &kernel_name(), "--json", json.to_str().unwrap()]);
    command.arg("--out").arg(dir.path().join("out")).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    // The first cell that has no race to end it.
    assert!(lines.any(|line| line.contains("buffered-rewrite/ext4/stable_writes=on")));
    await_label(&dir.path().join("out"), "buffered-rewrite/ext4/stable_writes=on#1");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:#?}");
    let verdict: Verdict = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((verdict.verdict, verdict.exit_status), (Ruling::Error, 130));
    let reason = |name: &str| cell(&verdict, name).reason.clone().unwrap_or_default();
    assert_eq!(reason("buffered-rewrite/ext4/stable_writes=on"), "interrupted while it ran");
    assert_eq!(reason("mmap-rewrite/ext4/stable_writes=on"), "interrupted before it ran");
    let records = std::fs::read_to_string(dir.path().join("out/boot-1/races.jsonl")).unwrap();
    assert!(records.ends_with("}\n") && records.contains("\"type\":\"stop\""));
}

/// A QEMU or a dixtrapd that dies half way is no kernel's fault, and nothing it leaves is clean.
#[test]
fn a_killed_helper_is_status_129() {
    for (victim, message) in
        [("qemu-system-x86", "QEMU ended unasked"), ("dixtrapd", "dixtrapd ended unasked")]
    {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("v.json");
        let mut command = dixtrap(&["run", "--accel", "tcg", "--seconds", "600", "--fs", "ext4"]);
        command.args(["--scenario", "metadata-churn", "--kernel", &kernel_name()]);
        let out = dir.path().join("out");
        command.arg("--json").arg(&json).arg("--out").arg(&out).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("metadata-churn/ext4/stable_writes=off")));
        await_label(&out, "metadata-churn/ext4/stable_writes=off#1");
        kill(child_called(child.id(), victim), Signal::SIGKILL).unwrap();
        let rest: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(129), "{rest:#?}");
        assert!(rest.iter().any(|line| line.contains(message)), "{rest:#?}");
        let verdict: Verdict =
            serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        assert_eq!(verdict.verdict, Ruling::Error);
        let clean =
            |cell: &Cell| cell.expect == Expect::Stable && cell.outcome == CellOutcome::Pass;
        assert!(!verdict.cells.iter().any(clean), "{:?}", verdict.cells);
    }
}

/// Everything that is the user's fault or ours is 129, in one line, and no test is run.
#[test]
fn bad_input_is_one_line_and_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("garbage"), "not a record\n").unwrap();
    std::fs::write(at("cut.json"), "{\n  \"schema\": 1,\n  \"vers").unwrap();
    std::fs::write(at("headless.sh"), "#!/bin/sh\necho\n").unwrap();
    let reaching = scenario(dir.path(), "reaching", "stable", "finish");
    let script = std::fs::read_to_string(&reaching).unwrap();
    std::fs::write(&reaching, script.replacen("# fs:", "# files: ../secrets\n# fs:", 1)).unwrap();
    let cases: [(&[&str], &str); 14] = [
        (&["run", "--kernel", &at("nowhere")], "there is no kernel"),
        (&["run", "--kernel", &at("garbage")], "not an x86-64 kernel image"),
        (&["run", "--scenario", "nosuch"], "no scenario matches 'nosuch'"),
        (&["run", "--scenario", &at("nosuch.sh")], "cannot read scenario"),
        (&["run", "--scenario", &at("headless.sh")], "has no line '# expect:'"),
        (&["run", "--scenario", &reaching], "'../secrets' is no path below the script's folder"),
        (&["run", "--fs", "ntfs"], "file system 'ntfs' is not known"),
        (&["run", "--scenario", "metadata-churn", "--fs", "raw"], "none of the chosen scenarios"),
        (&["run", "--window", "hold"], "never ends by itself"),
        (&["run", "--json", &at("none/v.json")], "there is no folder"),
        (&["report", &at("garbage")], "line 1: not a record"),
        (&["report", &at("garbage")], "give records (dixtrapd --races), a verdict"),
        (&["report", &at("cut.json")], "ends in the middle"),
        (&["report", &at("nowhere")], "cannot read"),
    ];
    for (words, message) in cases {
        let output = output(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(129), "{words:?}: {said}");
        assert!(said.contains(message), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    }
    for words in
        [&["run", "--window", "soon"][..], &["run", "--seconds", "0"], &["run", "--device", "nvme"]]
    {
        assert_eq!(output(words).status.code(), Some(129), "{words:?}");
    }
}

/// A dixtrapd that is missing, or that ends at once, is our fault: 129, with its last words.
#[test]
fn a_daemon_that_will_not_run_is_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("v.json");
    for (daemon, message) in
        [("/no/such/dixtrapd", "cannot start"), ("/bin/false", "ended unasked")]
    {
        let mut command = dixtrap(&["run", "--accel", "tcg", "--kernel", &kernel_name()]);
        command.env("DIXTRAPD", daemon).args([PathBuf::from("--json"), json.clone()]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(129));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        let verdict = std::fs::read_to_string(&json).unwrap();
        assert!(verdict.contains("\"verdict\": \"error\""), "{verdict}");
    }
}

/// Without QEMU nothing can be said of any kernel. It is hidden behind a mount that only the test sees.
#[test]
fn no_qemu_is_status_129() {
    let qemu = find_program("qemu-system-x86_64").unwrap();
    let hidden = format!("mount --bind /dev/null {} && exec \"$@\"", qemu.display());
    let kernel = kernel_name();
    let inner = dixtrap(&["run", "--accel", "tcg", "--kernel", &kernel]);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &hidden, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    if said.contains("unshare failed") || said.contains("Operation not permitted") {
        eprintln!("skipped: this machine lets nobody hide a program: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(129), "{said}");
    assert!(said.contains("qemu-system-x86_64 is not installed: install the package"), "{said}");
    assert_eq!(text(&output.stdout).lines().count(), 1, "{}", text(&output.stdout));
}

#[test]
fn the_scenarios_are_listed() {
    let listed = text(&output(&["list", "scenarios", "--json"]).stdout);
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    for name in ["direct-rewrite", "metadata-churn", "mmap-rewrite", "md-raid1", "swap-pressure"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(text(&output(&["list", "scenarios"]).stdout).contains("O_DIRECT"));
}
