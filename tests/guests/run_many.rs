//! `dixtrap run` over several kernels and boots: shards, lost guests, and directories that fail.

use std::path::Path;
use std::process::Command;

use dixtrap::runner::host::outdir::{OutDir, VERDICT};
use dixtrap::verdict::{CellOutcome, Ruling, Verdict};

use crate::booted::{cell, kernel_name, run, scenario};
use crate::kit::programs::{dixtrap, output, text};

/// A directory that looks like a kernel's sources and was never built.
fn unbuilt_tree(dir: &Path) -> String {
    let tree = dir.join("linux");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("Kconfig"), "").unwrap();
    tree.to_str().unwrap().to_owned()
}

/// Two shards of a run over two kernels, of which one cannot be tested, and one verdict over both.
#[test]
fn shards_prove_their_own_arms_and_become_one_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let tree = unbuilt_tree(dir.path());
    let shard = |part: &str, code: i32| -> (String, Verdict) {
        let place = dir.path().join(part.replace('/', "-"));
        std::fs::create_dir(&place).unwrap();
        let words = ["--kernel", &kernel_name(), "--kernel", &tree, "--seconds", "2"];
        let cells = ["--scenario", "metadata-churn", "--fs", "ext4", "--shard", part];
        let out = place.join("out");
        let kept = ["--out", out.to_str().unwrap()];
        let (output, verdict) = run(&place, &[&words[..], &cells[..], &kept[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        (place.join("v.json").to_str().unwrap().to_owned(), verdict)
    };
    let (one, first) = shard("1/2", 0);
    assert!(first.cells[0].control && first.cells[0].races > Some(0));
    assert_eq!(first.cells.len(), 3);
    comes_from(&first, dir.path());
    let (two, second) = shard("2/2", 125);
    assert!(second.cells.iter().all(|cell| cell.outcome == CellOutcome::Error));
    let json = dir.path().join("all.json");
    let merged = output(&["report", &one, &two, "--json", json.to_str().unwrap()]);
    assert_eq!(merged.status.code(), Some(125), "{}", text(&merged.stderr));
    let all: Verdict = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(all.verdict, Ruling::Untestable);
    assert_eq!(all.cells.len(), first.cells.len() + second.cells.len());
    assert!(text(&merged.stdout).contains("is not a built kernel tree"));
    let plans = [&first, &second, &all].map(|verdict| &verdict.shard.as_ref().unwrap().plan);
    assert!(plans[0] == plans[1] && plans[1] == plans[2], "{plans:?}");
    let lost = output(&["report", &one]);
    assert_eq!(lost.status.code(), Some(129));
    assert!(text(&lost.stdout).contains("missing: part 2 of 2"), "{}", text(&lost.stdout));
}

/// What one verdict has no result for runs, and nothing else; the result is whole. What is of another run, or no verdict,
/// is refused before anything is booted.
#[test]
fn a_run_goes_on_where_its_verdict_ends() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel_name();
    let how = ["--kernel", &kernel, "--seconds", "2", "--scenario", "mmap-rewrite", "--fs", "ext4"];
    let go = |name: &str, more: &[&str]| {
        let place = dir.path().join(name);
        std::fs::create_dir(&place).unwrap();
        let out = place.join("out");
        let kept = ["--out", out.to_str().unwrap()];
        let (output, verdict) = run(&place, &[&how[..], more, &kept[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let boots = std::fs::read_dir(&out).unwrap().flatten();
        let boots = boots.filter(|e| e.file_name().to_string_lossy().starts_with("boot-")).count();
        (place.join("v.json").to_str().unwrap().to_owned(), verdict, boots, text(&output.stderr))
    };
    let (part, first, boots, _) = go("part", &["--shard", "1/2"]);
    assert_eq!((first.cells.len(), boots), (1, 1));
    let (whole, all, boots, said) = go("whole", &["--resume", &part]);
    assert_eq!(boots, 1, "{said}");
    assert!(said.contains("resumed: 1 of 2 cells are left to run"), "{said}");
    let on = cell(&all, "mmap-rewrite/ext4/stable_writes=on");
    assert_eq!((on.outcome, on.repeat.map(|repeat| repeat.n)), (CellOutcome::Pass, Some(1)));
    assert_eq!(cell(&all, &first.cells[0].name()), &first.cells[0]);
    let shard = all.shard.as_ref().unwrap();
    assert_eq!((shard.index, shard.of), (1, 1));
    assert_eq!(output(&["report", &whole]).status.code(), Some(0));
    let folder = dir.path().join("whole/out");
    let (_, again, boots, said) = go("again", &["--resume", folder.to_str().unwrap()]);
    assert_eq!((boots, &again.cells), (0, &all.cells), "{said}");

    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "not a verdict\n").unwrap();
    let (notes, none) = (notes.to_str().unwrap(), dir.path().join("none.json"));
    for (file, more, told) in [
        (whole.as_str(), &["--seconds", "3"][..], "and this run would be of plan "),
        (&whole, &["--device", "scsi"], "give the arguments that it was run with ("),
        (notes, &[], "it is no verdict"),
        (none.to_str().unwrap(), &[], "it cannot be read"),
        (dir.path().to_str().unwrap(), &[], "it cannot be read"),
    ] {
        let how = if more.first() == Some(&"--seconds") {
            [&how[..2], &how[4..]].concat()
        } else {
            how.to_vec()
        };
        let refused = output(&[&["run"], &how[..], more, &["--resume", file]].concat());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(129), "{said}");
        assert!(said.contains("cannot resume ") && said.contains(told), "{told}: {said}");
        assert!(!said.contains("booting"), "{said}");
    }
}

/// Where the first shard comes from: enough to run it again.
fn comes_from(verdict: &Verdict, dir: &Path) {
    let origin = verdict.provenance.as_ref().unwrap();
    assert!(origin.command.contains(" run --accel tcg ") && origin.command.contains("--shard 1/2"));
    assert!(origin.qemu.as_ref().unwrap().starts_with("QEMU emulator version"), "{origin:?}");
    assert_eq!((origin.accel.as_deref(), origin.seed), (Some("tcg"), 0));
    assert!(origin.host.cpu.is_some() && origin.host.load.begin.is_some(), "{origin:?}");
    let release = &verdict.cells[0].kernel;
    assert_eq!(&origin.kernels[&kernel_name()], release);
    assert_eq!(origin.kernel_sha256[release].len(), 64);
    let kept = dir.join("1-2/out").join(format!("config-{release}"));
    assert!(std::fs::read_to_string(kept).unwrap().contains("CONFIG_VIRTIO_BLK="));
    assert_eq!(origin.config[release].sha256.len(), 64);
}

/// A cell that leaves something behind for good costs the guest, and nothing else. One that crashes the
/// kernel is untestable, with the console's end. What is left runs in a fresh boot each time, with a
/// control of its own.
#[test]
fn a_lost_guest_costs_its_own_cell_only() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let stain = scenario(
        dir.path(),
        "stain",
        "survey",
        "prepare \"$@\"; work direct \"$TARGET\"; echo 1 >/proc/sys/kernel/kexec_load_disabled; finish",
    );
    let panic = scenario(
        dir.path(),
        "panic",
        "stable",
        "prepare \"$@\"; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60",
    );
    let after =
        scenario(dir.path(), "after", "survey", "prepare \"$@\"; work direct \"$TARGET\"; finish");
    let kernel = kernel_name();
    let mut words = vec!["--kernel", &kernel, "--seconds", "2"];
    for path in [&stain, &panic, &after] {
        words.extend(["--scenario", path]);
    }
    let (output, verdict) =
        run(dir.path(), &[&words[..], &["--out", out.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(125));
    let crashed = cell(&verdict, "panic/raw");
    assert_eq!(crashed.outcome, CellOutcome::Error);
    let said = text(&output.stderr);
    assert!(said.contains("; its console ended with:\n") && said.contains("RIP: "), "{said}");
    assert_eq!(cell(&verdict, "after/raw").outcome, CellOutcome::Pass, "{said}");
    let control = verdict.cells.iter().find(|cell| cell.control).unwrap();
    assert_eq!(control.repeat.map(|r| (r.k, r.n)), Some((3, 3)), "once in each boot");
    assert_eq!(cell(&verdict, "stain/raw").outcome, CellOutcome::Pass, "{said}");
    assert!(
        said.contains("an earlier cell left something behind: setting /proc/sys/kernel/kexec"),
        "{said}"
    );
    assert!(out.join("boot-3/races.jsonl").is_file());
}

/// Programs inherit their control group: who moves what they are children of has changed every cell to come.
#[test]
fn a_control_group_costs_its_own_cell_only() {
    let dir = tempfile::tempdir().unwrap();
    let moves = scenario(
        dir.path(),
        "moves",
        "survey",
        "prepare \"$@\"; work direct \"$TARGET\"; mkdir /tmp/groups; \
         mount -t cgroup2 none /tmp/groups || skip 'no control groups'; \
         mkdir /tmp/groups/slow; echo 1 >/tmp/groups/slow/cgroup.procs; finish",
    );
    let after =
        scenario(dir.path(), "after", "survey", "prepare \"$@\"; work direct \"$TARGET\"; finish");
    let kernel = kernel_name();
    let words = ["--kernel", &kernel, "--seconds", "2", "--scenario", &moves, "--scenario", &after];
    let (output, verdict) = run(dir.path(), &words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("left something behind: control group of process 1: it is 0::/slow and was"),
        "{said}"
    );
    assert_eq!(cell(&verdict, "after/raw").outcome, CellOutcome::Pass, "{said}");
    let control = verdict.cells.iter().find(|cell| cell.control).unwrap();
    assert_eq!(control.repeat.map(|r| (r.k, r.n)), Some((2, 2)), "once in each boot");
}

/// One run at a time in a directory, and one run ever; the second changes nothing there.
/// A script that calls what is not there is its author's to mend: no kernel is blamed, none is passed over.
#[test]
fn a_script_without_its_program_is_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let own = scenario(dir.path(), "misses", "stable", "prepare \"$@\"\nno-such-program\nfinish");
    let words = ["--kernel", &kernel_name(), "--scenario", &own];
    let (output, verdict) = run(dir.path(), &words);
    assert_eq!((output.status.code(), verdict.exit_status), (Some(129), 129));
    let reason = cell(&verdict, "misses/raw").reason.clone().unwrap();
    assert!(reason.contains("(127)") && reason.contains("# needs:"), "{reason}");
    assert!(reason.contains("no-such-program"), "{reason}");
    assert_eq!(cell(&verdict, "direct-rewrite/raw/stable_writes=off").outcome, CellOutcome::Pass);
}

/// Healings that were only counted leave open which of the listed races stand, and everything says so.
#[test]
fn beyond_the_records_limit_nothing_is_said_to_stand() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["--kernel", &kernel_name(), "--scenario", "direct-rewrite", "--fs", "raw"];
    let more = ["--stable-writes", "off", "--races-limit", "1K", "--repeat", "2"];
    let (output, verdict) = run(dir.path(), &[&words[..], &more].concat());
    let told = text(&output.stderr);
    assert_eq!(told.matches("reached --races-limit 1K").count(), 1, "{told}");
    let cell = &verdict.cells[0];
    assert!(cell.races > Some(200) && cell.healed.is_some(), "{cell:?}");
    assert!(cell.standing.is_none_or(|races| races == 0), "{cell:?}");
    let shown = text(&output.stdout);
    if cell.standing.is_none() {
        assert!(shown.contains("+/?") && shown.contains("raise --races-limit"), "{shown}");
        assert!(!shown.contains(" standing\n"), "{shown}");
    }
}

#[test]
fn a_directory_in_use_is_status_129() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let taken = OutDir::take(&out).unwrap();
    let words = ["run", "--kernel", &kernel_name(), "--out", out.to_str().unwrap()];
    let busy = output(&words);
    assert_eq!(busy.status.code(), Some(129));
    assert!(text(&busy.stderr).contains("another run writes to"), "{}", text(&busy.stderr));
    assert!(!out.join("boot-1").exists());
    drop(taken);
    std::fs::create_dir(out.join("boot-1")).unwrap();
    for words in [&words[..], &["sweep", "--kernel", &kernel_name(), "--out", words[4]]] {
        let used = output(words);
        assert_eq!(used.status.code(), Some(129));
        assert!(text(&used.stderr).contains("boot-1 of an earlier run"));
        assert!(!out.join("boot-2").exists() && !out.join(VERDICT).exists());
    }
}

/// A disk that is full before the boot, and one that fills while records are written: 129, a true
/// verdict elsewhere, and no file that ends in the middle.
#[test]
fn a_full_directory_is_status_129() {
    // Once the first cell is judged and the second one has begun, nothing is left for the records.
    let later = "(until [ \"$(ls $out/boot-1 | grep -c '^buffered-rewrite')\" = 2 ]; do sleep 0.1; done; \
        dd if=/dev/zero of=$out/fill bs=64k)";
    for (size, fill) in [("1m", ":"), ("400m", later)] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let json = dir.path().join("v.json");
        let kernel = kernel_name();
        let mut inner = dixtrap(&["run", "--accel", "tcg", "--kernel", &kernel, "--seconds", "8"]);
        inner.args(["--scenario", "buffered-rewrite", "--fs", "raw"]);
        inner.arg("--out").arg(&out).arg("--json").arg(&json);
        // What is left is read before the mount goes away with its last process.
        let script = format!(
            "out={}; mount -t tmpfs -o size={size} tmpfs $out || exit 77; {fill} 2>/dev/null & \
             \"$@\"; code=$?; kill $!; \
             for file in $out/boot-*/races.jsonl; do \
                 [ ! -s $file ] || echo some records; \
                 [ -z \"$(tail -qc 1 $file)\" ] || echo torn: $file; done; \
             ls -A $out; exit $code",
            out.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap();
        let (said, shown) = (text(&output.stderr), text(&output.stdout));
        if said.contains("unshare failed") || output.status.code() == Some(77) {
            eprintln!("skipped: this machine lets nobody mount: {said}");
            return;
        }
        assert_eq!(output.status.code(), Some(129), "{size}: {said}");
        assert!(said.contains("cannot write") || said.contains("No space left"), "{said}");
        assert!(!shown.contains("torn:"), "the records end in the middle: {shown}");
        assert!(fill == ":" || shown.contains("some records"), "{shown}");
        assert!(!shown.contains("verdict.json") && !shown.contains(".dixtrap-"), "{shown}");
        let verdict: Verdict =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        let judged = verdict.cells.iter().any(|cell| cell.outcome == CellOutcome::Pass);
        assert_eq!(judged, fill != ":", "{size}: {verdict:?}");
    }
}

#[test]
fn kernels_are_listed() {
    let listed = text(&output(&["list", "kernels", "--json"]).stdout);
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.iter().any(|row| row["kernel"] == "debian:bookworm"), "{listed}");
    assert!(rows.iter().all(|row| row["ready"].is_boolean()));
}
