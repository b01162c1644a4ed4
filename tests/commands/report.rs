//! `dixtrap report` as a CI that collects files calls it: a verdict of all parts, or an error that says
//! which is not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::DateTime;
use dixtrap::report::verdict_json;
use dixtrap::verdict::{Cell, CellOutcome, Expect, Ruling, ShardOf, Verdict};

/// What `dixtrap report` prints, both streams, and its exit status.
fn report(words: &[&Path]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dixtrap"));
    let output = command.arg("report").args(words).stdin(Stdio::null()).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    (said, output.status.code().unwrap())
}

/// The verdict over one cell that passed.
fn clean(shard: Option<ShardOf>, second: u64) -> Verdict {
    let cell = Cell::unmeasured(
        ("6.1.0", "blk"),
        (&format!("scenario-{second}"), "raw", None),
        (Expect::Stable, false),
        (CellOutcome::Pass, None),
    );
    let started = DateTime::UNIX_EPOCH + Duration::from_secs(second);
    Verdict { shard, ..Verdict::over(vec![cell], None, started, 1.0) }
}

fn write(dir: &Path, name: &str, verdict: &Verdict) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, verdict_json(verdict).unwrap()).unwrap();
    path
}

#[test]
fn only_all_parts_together_are_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let part = |index: u64, plan: &str| {
        let shard = ShardOf { index, of: 3, plan: plan.to_owned() };
        write(dir.path(), &format!("{plan}{index}.json"), &clean(Some(shard), index))
    };
    let [one, two, three] = [1, 2, 3].map(|index| part(index, "p"));
    let foreign = part(2, "q");
    let all = dir.path().join("all.json");
    let to = |files: &[&PathBuf]| {
        let flag = [Path::new("--json"), &all];
        let words: Vec<&Path> = files.iter().map(|file| file.as_path()).chain(flag).collect();
        let (said, code) = report(&words);
        let text = std::fs::read_to_string(&all).unwrap();
        let verdict: Verdict = serde_json::from_str(&text).unwrap();
        assert_eq!(i32::from(verdict.exit_status), code, "{said}");
        (said, verdict)
    };
    for (files, words) in [
        (&[&one, &three][..], "missing: part 2 of 3"),
        (&[&one], "missing: parts 2 to 3 of 3"),
        (&[&one, &two, &three, &two], "doubled: part 2 of 3"),
        (&[&one, &foreign, &three], "foreign: "),
    ] {
        let (said, verdict) = to(files);
        assert_eq!((verdict.verdict, verdict.exit_status), (Ruling::Error, 129), "{said}");
        assert!(said.contains(words) && said.contains("verdict: error"), "{said}");
        assert!(verdict.reason.unwrap().contains(words));
    }
    let (said, verdict) = to(&[&three, &one, &two]);
    assert_eq!((verdict.verdict, verdict.cells.len()), (Ruling::Pass, 3), "{said}");
    assert_eq!(verdict.shard, Some(ShardOf::whole("p")));
}

#[test]
fn whole_runs_go_together_and_old_ones_too() {
    let dir = tempfile::tempdir().unwrap();
    let one = write(dir.path(), "a.json", &clean(Some(ShardOf::whole("p")), 1));
    let other = write(dir.path(), "b.json", &clean(Some(ShardOf::whole("q")), 2));
    let old = write(dir.path(), "old.json", &clean(None, 3));
    // As it was written before there were parts.
    let mut value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&old).unwrap()).unwrap();
    let fields = value.as_object_mut().unwrap();
    assert!(fields.remove("shard").is_some() && fields.remove("reason").is_some());
    std::fs::write(&old, value.to_string()).unwrap();
    let (said, code) = report(&[&one, &other, &old]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("3 pass"), "{said}");
    for twice in [&one, &old] {
        let (said, code) = report(&[twice, &other, twice]);
        assert_eq!(code, 129, "{said}");
        assert!(said.contains("doubled: ") && said.contains("2 pass"), "{said}");
    }
}

#[test]
fn a_run_that_was_killed_is_no_mere_folder_of_records() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let taken = dixtrap::runner::host::outdir::OutDir::take(&out).unwrap();
    let boot = dixtrap::runner::host::outdir::make_boot_directory(&out).unwrap();
    let mark = r#"{"schema":1,"type":"mark","t_us":1,"label":"a","state":"begin"}"#;
    std::fs::write(boot.join("races.jsonl"), format!("{mark}\n")).unwrap();
    let (said, code) = report(&[&out]);
    assert_eq!(code, 0, "a sweep's folder has no verdict: {said}");
    taken.promise_verdict().unwrap();
    let other = write(dir.path(), "b.json", &clean(Some(ShardOf::whole("q")), 2));
    for words in [&[out.as_path()][..], &[&other, &out]] {
        let (said, code) = report(words);
        assert_eq!(code, 129, "{said}");
        assert!(said.contains("left no verdict: it still runs, or was killed"), "{said}");
    }
}

/// Text of strangers in the names of files and in what they hold.
#[test]
fn nothing_that_a_file_says_acts_on_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "\u{1b}[2J\u{202e}\nverdict: pass (9 pass)\u{7}";
    let mut verdict = clean(Some(ShardOf::whole("p")), 1);
    evil.clone_into(&mut verdict.cells[0].kernel);
    let good = write(dir.path(), "good.json", &verdict);
    let bad = dir.path().join(format!("{}.jsonl", evil.replace('/', "-")));
    std::fs::write(&bad, format!("{{\"schema\":1,\"type\":\"{}\"}}\n", "\u{9b}31m")).unwrap();
    for (words, code) in
        [(&[good.as_path()][..], 0), (&[&bad], 129), (&[Path::new("/dev/zero")], 129)]
    {
        let (said, status) = report(words);
        assert_eq!(status, code, "{said:?}");
        let acts = said.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}'));
        assert!(!acts && said.len() < 10_000, "{said:?}");
        let forged = said.lines().filter(|line| line.starts_with("verdict: pass (9")).count();
        assert_eq!(forged, 0, "{said:?}");
    }
}

/// The system's own `open` of a FIFO would wait for its writer for ever, and without a word.
#[test]
fn a_fifo_is_given_up_where_nobody_writes_and_a_pipe_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("races.fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (said, code) = report(&[&fifo]);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("nobody writes to the FIFO") && said.contains("races.fifo"), "{said}");
    let records = dir.path().join("races.jsonl");
    std::fs::write(
        &records,
        "{\"schema\":1,\"type\":\"mark\",\"t_us\":1,\"label\":\"cell7\",\"state\":\"begin\"}\n",
    )
    .unwrap();
    let (plain, code) = report(&[&records]);
    assert_eq!(code, 0, "{plain}");
    let script = "\"$0\" report <(cat \"$1\")";
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", script, env!("CARGO_BIN_EXE_dixtrap")]).arg(&records).output();
    let piped = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(piped.contains("cell7"), "{piped}");
    assert_eq!(piped, plain);
}

/// Two labels, one race each, of two owners.
fn records(dir: &Path) -> PathBuf {
    let mark = |label: &str, state: &str| {
        format!(
            r#"{{"schema":1,"type":"mark","t_us":1000000,"label":"{label}","state":"{state}"}}"#
        )
    };
    let race = |id: u64, label: &str, owner: &str| {
        format!(
            r#"{{"schema":1,"type":"race","id":{id},"t_us":{id}000000,"label":"{label}","device":"blk","queue":0,"request":{{"id":{id},"op":"write","lba":8,"blocks":1}},"lba":{id},"gpa":4096,"phase":"in-window","window_us":9.0,"guard_blind":false,"changed":[],"changed_bytes":1,"overlap":false,"outcome":"stored","owner":{{"name":"{owner}","kind":"metadata"}}}}"#
        )
    };
    let lines = [
        mark("a/ext4#1", "begin"),
        race(1, "a/ext4#1", "inode table"),
        mark("a/ext4#1", "end"),
        mark("b/ext4#1", "begin"),
        race(2, "b/ext4#1", "block bitmap"),
        mark("b/ext4#1", "end"),
    ];
    let path = dir.join("races.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

#[test]
fn only_the_races_that_are_asked_for_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = records(dir.path());
    for (flag, value, one, other) in [
        ("--label", "a/*", true, false),
        ("--owner", "block bitmap", false, true),
        ("--since", "1500ms", false, true),
        ("--until", "1500ms", true, false),
        ("--phase", "after-fetch", false, false),
        ("--phase", "in-window", true, true),
        ("--culprit", "ext4_*", false, false),
        ("--file", "/target", false, false),
    ] {
        let (said, code) = report(&[&path, Path::new(flag), Path::new(value)]);
        assert_eq!(code, 0, "{said}");
        let shown = |number: u32| said.contains(&format!("race {number}:"));
        assert_eq!((shown(1), shown(2)), (one, other), "{flag} {value}: {said}");
        let races = u32::from(one) + u32::from(other);
        assert!(said.contains(&format!("{races} of the 2 races on record")), "{said}");
        assert!(said.contains(&format!("only {flag} ")), "{said}");
    }
    for (flag, value, words) in [
        ("--label", "a[", "is no pattern"),
        ("--since", "soon", "is no moment"),
        ("--phase", "window", "before-doorbell, in-window, after-fetch, after-delivery"),
        ("--since", "2026-01-31T12:00:00Z", "has no 'start' line"),
    ] {
        let (said, code) = report(&[&path, Path::new(flag), Path::new(value)]);
        assert!(code == 129 && said.contains(words), "{flag} {value}: {said}");
    }
    let words = ["--since", "2s", "--until", "1s"].map(Path::new);
    let (said, code) = report(&[&[path.as_path()], &words[..]].concat());
    assert!(code == 129 && said.contains("--since is later than --until"), "{said}");
}

#[test]
fn a_filter_that_hides_what_failed_does_not_hide_that_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut verdict = clean(Some(ShardOf::whole("p")), 1);
    let failed = Cell::unmeasured(
        ("6.1.0", "blk"),
        ("bad", "raw", None),
        (Expect::Stable, false),
        (CellOutcome::Fail, Some("it raced".into())),
    );
    verdict.cells.push(failed);
    let verdict = Verdict::over(verdict.cells, None, verdict.started, 1.0);
    let path = write(dir.path(), "v.json", &verdict);
    let part = dir.path().join("part.json");
    let words = ["--label", "scenario*", "--json"].map(Path::new);
    let (said, code) = report(&[&[path.as_path()], &words[..], &[part.as_path()]].concat());
    assert!(code == 1 && said.contains("verdict: fail (1 pass, 0 fail"), "{said}");
    assert!(said.contains("1 of 2 cells are shown; 1 of those left out failed"), "{said}");
    let (said, code) = report(&[&part]);
    assert!(code == 129 && said.contains("give the verdict that it was made from"), "{said}");
}

#[test]
fn a_mail_is_about_the_race_or_label_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = records(dir.path());
    let bug = Path::new("--bug");
    for (words, race) in [
        (&[bug, Path::new("2"), &path][..], 2),
        (&[bug, Path::new("a/ext4"), &path], 1),
        (&[&path, bug, Path::new("b/ext4#1")], 2),
        // What is read, taken for the race that is asked for.
        (&[Path::new("--label"), Path::new("a/*"), bug, &path], 1),
    ] {
        let (said, code) = report(words);
        assert!(code == 0 && said.contains("Subject: "), "{words:?}: {said}");
        assert!(said.contains(&format!("race {race} of a")), "{words:?}: {said}");
    }
    for (words, reason) in [
        (&[bug, Path::new("7"), &path][..], "no race 7 is on record"),
        (&[bug, Path::new("c"), &path], "there are some of a/ext4#1, b/ext4#1"),
        (
            &[bug, Path::new("--phase"), Path::new("after-fetch"), &path],
            "no race is on record (--phase",
        ),
        (&[bug, &path, Path::new("--script"), &dir.path().join("s.sh")], "--script: the scenario"),
    ] {
        let (said, code) = report(words);
        assert!(code == 129 && said.contains(reason), "{words:?}: {said}");
    }
}
