//! Scenarios of users' own that got a wrong verdict once, or could: tests/cases/, in one boot.

use std::path::{Path, PathBuf};

use dixtrap::runner::guest::initramfs::find_program;
use dixtrap::verdict::{Cell, CellOutcome, Verdict};

use crate::booted::{kernel_name, run};
use crate::kit::programs::text;

/// A script with what its header says that it has to come to.
struct Case {
    path: PathBuf,
    script: String,
}

impl Case {
    fn all() -> Vec<Case> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_script = |path: &PathBuf| path.extension().is_some_and(|e| e == "sh");
        let mut paths: Vec<PathBuf> = entries.filter(is_script).collect();
        paths.sort();
        let read = |path: PathBuf| Case { script: std::fs::read_to_string(&path).unwrap(), path };
        paths.into_iter().map(read).collect()
    }

    fn name(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    fn lines(&self, key: &str) -> Vec<&str> {
        let start = format!("# {key}: ");
        self.script.lines().filter_map(|line| line.strip_prefix(&start)).collect()
    }

    /// What is not as the header says.
    fn wrong(&self, cell: &Cell, out: &Path) -> Vec<String> {
        let reason = cell.reason.clone().unwrap_or_default();
        let log = cell.log.as_ref().map(|log| std::fs::read_to_string(out.join(log)).unwrap());
        let log = log.unwrap_or_default();
        let mut wrong = Vec::new();
        let [outcome] = self.lines("outcome")[..] else {
            panic!("{}: which outcome?", self.name())
        };
        if let Some(program) = self.lines("may-lack").iter().find(|p| find_program(p).is_none()) {
            eprintln!("skipped: {}: {program} is not on this machine", self.name());
            let skipped = cell.outcome == CellOutcome::Skip;
            return if skipped {
                wrong
            } else {
                vec![format!("{} without {program}", cell.outcome)]
            };
        }
        if cell.outcome.to_string() != outcome {
            wrong.push(format!("{} is not {outcome}: {reason}", cell.outcome));
        }
        for knob in self.lines("ran-with") {
            if cell.ran_with.map(|was| was.to_string()).as_deref() != Some(knob) {
                wrong.push(format!("it ran with {:?}, not {knob}", cell.ran_with));
            }
        }
        let lacks = |what: &str, text: &str, words: &str| {
            (!text.contains(words)).then(|| format!("the {what} has no '{words}':\n{text}"))
        };
        wrong.extend(self.lines("reason").iter().filter_map(|w| lacks("reason", &reason, w)));
        let notes = cell.notes.join("\n");
        wrong.extend(self.lines("note").iter().filter_map(|w| lacks("note", &notes, w)));
        wrong.extend(self.lines("log").iter().filter_map(|w| lacks("log", &log, w)));
        wrong
    }
}

fn cells_of<'v>(verdict: &'v Verdict, case: &Case) -> Vec<&'v Cell> {
    let cells = verdict.cells.iter().filter(|cell| cell.scenario == case.name());
    let cells: Vec<_> = cells.collect();
    assert!(!cells.is_empty(), "{} did not run", case.name());
    cells
}

#[test]
fn every_case_comes_to_what_its_header_says() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let cases = Case::all();
    let mut words =
        vec!["--seconds".to_owned(), "2".into(), "--kernel".into(), kernel_name(), "--out".into()];
    words.push(out.to_str().unwrap().to_owned());
    for case in &cases {
        words.extend(["--scenario".to_owned(), case.path.to_str().unwrap().to_owned()]);
    }
    let (output, verdict) = run(dir.path(), &words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for case in &cases {
        for cell in cells_of(&verdict, case) {
            let found = case.wrong(cell, &out);
            wrong.extend(found.into_iter().map(|what| format!("{}: {what}", cell.name())));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), text(&output.stderr));
    let boots = std::fs::read_dir(&out).unwrap().flatten();
    let boots = boots.filter(|entry| entry.file_name().to_string_lossy().starts_with("boot-"));
    assert_eq!(boots.count(), 1, "no case costs a guest");
    // What the kernel says and goes on after is also kept beside its console.
    let kept = std::fs::read_to_string(out.join("boot-1/notes.log")).unwrap();
    assert!(kept.contains("BUG: MAX_LOCKDEP_CHAINS too low!"), "{kept}");
    // Who writes his output elsewhere loses nothing: not even whose the blocks were.
    let elsewhere = cases.iter().find(|case| case.name() == "output-elsewhere").unwrap();
    let owners = cells_of(&verdict, elsewhere)[0].owners.as_ref().unwrap();
    assert!(owners.keys().any(|name| name != "unknown"), "{owners:?}");
}
