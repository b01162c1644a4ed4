//! Who did it, asked of real guests: the second thread, the writer of a mapping, the kernel's own functions.
//!
//! The first run fetches Debian 12's kernel; later ones need no network.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use dixtrap::record::{Culprit, Line, Phase, Race, Record, Side, StackBy, StoreSeen};

use crate::booted::{cell, kernel_name, run, scenario};
use crate::kit::programs::{output, put_plugin_beside_programs, text};

fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().record).collect()
}

/// The races of a label that have a line of the watcher's, with it.
fn joined(boot: &Path, label: &str) -> Vec<(Race, Culprit)> {
    let mut culprits: HashMap<_, _> = records(&boot.join("culprits.jsonl"))
        .into_iter()
        .map(|record| match record {
            Record::Culprit(culprit) => (culprit.race, *culprit),
            other => panic!("{other:?}"),
        })
        .collect();
    let races = records(&boot.join("races.jsonl")).into_iter().filter_map(|record| match record {
        Record::Race(race) if race.label.as_deref() == Some(label) => Some(*race),
        _ => None,
    });
    races.filter_map(|race| culprits.remove(&race.id).map(|culprit| (race, culprit))).collect()
}

/// The stores that are to blame for races of a label. Each is for a run of bytes that the race's own record has, and
/// none is named beside a word that nobody is.
fn blamed(boot: &Path, label: &str) -> Vec<(Race, StoreSeen)> {
    let joined = joined(boot, label);
    for (race, culprit) in &joined {
        assert_eq!(race.phase, Phase::InWindow);
        assert_eq!(culprit.blamed().is_none(), culprit.unseen.is_some(), "{culprit:?}");
        for store in &culprit.stores {
            let is_it = |run: &dixtrap::record::Change| {
                (run.offset, run.len) == (store.offset, store.length)
            };
            assert!(race.changed.iter().any(is_it), "{store:?}: {:?}", race.changed);
        }
    }
    let blamed =
        joined.into_iter().filter_map(|(race, culprit)| Some((race, culprit.blamed()?.clone())));
    blamed.collect()
}

#[test]
fn stores_tasks_and_callers_are_named() {
    put_plugin_beside_programs();
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("out");
    let words = [
        "--kernel",
        &kernel_name(),
        "--culprit",
        "on",
        "--out",
        folder.to_str().unwrap(),
        "--stable-writes",
        "off",
        "--seconds",
        "3",
        "--scenario",
        "direct-rewrite",
        "--scenario",
        "mmap-rewrite",
        "--scenario",
        "metadata-churn",
        "--fs",
        "raw",
        "--fs",
        "ext4",
        "--fs",
        "ext4-nojournal",
    ];
    let (ran, verdict) = run(out.path(), &words);
    assert!(ran.status.success());
    let boot = folder.join("boot-1");

    // The second thread of the program that has the buffer.
    let direct: Vec<_> = ["raw", "ext4", "ext4-nojournal"]
        .into_iter()
        .flat_map(|fs| blamed(&boot, &format!("direct-rewrite/{fs}/stable_writes=off#1")))
        .collect();
    let is_second = |store: &StoreSeen| {
        store.side == Side::User
            && store.path.as_deref().is_some_and(|path| path.ends_with("dixtrap-guest"))
            && store.tid > store.pid
    };
    assert!(direct.iter().any(|(_, store)| is_second(store)), "none of {}", direct.len());

    // The instruction of the writer, in its file, and its task.
    let mapped: Vec<_> = ["raw", "ext4", "ext4-nojournal"]
        .into_iter()
        .flat_map(|fs| blamed(&boot, &format!("mmap-rewrite/{fs}/stable_writes=off#1")))
        .collect();
    let is_writer = |store: &StoreSeen| {
        store.file_offset.is_some_and(|at| at > 0) && store.comm.as_deref() == Some("dixtrap-guest")
    };
    assert!(mapped.iter().any(|(_, store)| is_writer(store)), "none of {}", mapped.len());

    // The kernel's functions, and the way to them from a system call or a kernel thread.
    let label = "metadata-churn/ext4-nojournal/stable_writes=off";
    let churned = blamed(&boot, &format!("{label}#1"));
    let is_ext4 = |store: &StoreSeen| {
        store.stack_by == StackBy::Orc
            && store.stack.iter().any(|frame| frame.contains("ext4_"))
            && store.stack.last().is_some_and(|last| {
                last.starts_with("entry_SYSCALL_64") || last.starts_with("ret_from_fork")
            })
    };
    assert!(churned.iter().any(|(_, store)| is_ext4(store)), "{churned:?}");
    let cell = cell(&verdict, label);
    let counted = cell.culprits.as_ref().unwrap().iter().map(|group| group.races).sum::<u64>();
    assert_eq!(counted, churned.len() as u64, "the verdict counts the same");
    let report = output(&["report", boot.join("races.jsonl").to_str().unwrap()]);
    let report = text(&report.stdout);
    assert!(report.contains(&format!("who changed the bytes in {label}#1:")), "{report}");
}

/// A scenario that writes from a buffer which a second thread changes, and says that nothing may race.
fn sure_of_itself(dir: &Path) -> String {
    scenario(dir, "sure", "stable", "prepare \"$@\"; work direct \"$TARGET\"; finish")
}

/// What raced where none may runs once more with every store watched, without being asked; the verdict is that of the
/// first look.
#[test]
fn the_first_failure_names_its_culprit() {
    put_plugin_beside_programs();
    let dir = tempfile::tempdir().unwrap();
    let (out, kernel) = (dir.path().join("out"), kernel_name());
    let sure = sure_of_itself(dir.path());
    let words = ["--kernel", &kernel, "--seconds", "3", "--scenario", &sure];
    let (ran, verdict) = run(dir.path(), &[&words[..], &["--out", out.to_str().unwrap()]].concat());
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("looking again at it, with every store watched"), "{said}");
    let cell = cell(&verdict, "sure/raw");
    let note = cell.notes.first().unwrap();
    assert!(note.starts_with("second look: the culprits are those of "), "{note}");
    let groups = cell.culprits.as_ref().unwrap();
    assert!(groups.iter().any(|group| group.symbol.contains("dixtrap-guest")), "{groups:?}");
    // Nothing else of the cell is of the second look.
    let first = records(&out.join("boot-1/races.jsonl"));
    let ends = first.iter().find_map(|record| match record {
        Record::Mark(mark) if mark.label == "sure/raw#1" => mark.counters.clone(),
        _ => None,
    });
    assert_eq!(cell.races, Some(ends.unwrap().races.seen_by_hardware()));
    assert_eq!(cell.repeat.map(|repeat| (repeat.k, repeat.n)), Some((1, 1)));
    assert!(!out.join("boot-1/culprits.jsonl").exists());
    assert!(out.join("boot-2/culprits.jsonl").is_file() && !out.join("boot-3").exists());
    let shown = text(&ran.stdout);
    assert!(shown.contains("second look: the culprits are") && shown.contains(&groups[0].symbol));
    assert!(!shown.contains("the kernel said, and went on: second"), "{shown}");
}

/// Nobody looks again who was told not to, or asks one question of every kernel.
#[test]
fn no_second_look_where_none_is_wanted() {
    put_plugin_beside_programs();
    let dir = tempfile::tempdir().unwrap();
    let (kernel, sure) = (kernel_name(), sure_of_itself(dir.path()));
    for more in [["--culprit", "off"], ["--expect", "stable"]] {
        let words = ["--kernel", &kernel, "--seconds", "1", "--scenario", &sure];
        let (ran, verdict) = run(dir.path(), &[&words[..], &more].concat());
        assert_eq!(ran.status.code(), Some(1), "{more:?}");
        let cell = cell(&verdict, "sure/raw");
        assert!(cell.notes.is_empty() && cell.culprits.is_none(), "{cell:?}");
    }
}

#[test]
fn a_qemu_without_plugins_runs_without_a_watcher() {
    put_plugin_beside_programs();
    use dixtrap::runner::guest::initramfs::find_program;
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    let qemu = out.path().join("qemu");
    let real = find_program("qemu-system-x86_64").unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' -plugin '*) exit 1 ;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    fs::write(&qemu, script).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let (kernel, sure) = (kernel_name(), sure_of_itself(out.path()));
    let words = ["--kernel", &kernel, "--qemu", qemu.to_str().unwrap(), "--seconds", "1"];
    let direct = ["--scenario", "direct-rewrite", "--fs", "raw", "--stable-writes", "off"];
    for (how, scenario, status) in [("on", &direct[..], 0), ("auto", &["--scenario", &sure], 1)] {
        let (ran, verdict) = run(out.path(), &[&words[..], &["--culprit", how], scenario].concat());
        assert_eq!(ran.status.code(), Some(status));
        let said = text(&ran.stderr);
        assert_eq!(said.matches("nobody will be named for races: ").count(), 1, "{said}");
        assert!(verdict.cells.iter().all(|cell| cell.culprits.is_none()));
        let notes: Vec<_> = verdict.cells.iter().flat_map(|cell| &cell.notes).collect();
        assert_eq!(notes.len(), usize::from(how == "auto"), "{notes:?}");
        assert!(notes.iter().all(|note| note.starts_with("second look: there was none: ")));
    }
}
