//! Pages over records as they are written to files.

use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::*;
use crate::record::{
    Culprit, Line, Mark, MarkState, Owner, OwnerKind, Race, RaceId, Record, Side, StackBy,
    StoreSeen,
};
use crate::report::filter::Filter;
use crate::report::offenders::tests::race;
use crate::report::plain::tests::{evil, is_harmless};
use crate::verdict::tests::bare_cell;
use crate::verdict::{Cell, CellOutcome, CulpritGroup};

fn line(record: Record) -> String {
    serde_json::to_string(&Line::from(record)).unwrap() + "\n"
}

/// A boot with `count` races under one label, of an owner and by a function with these names.
fn boot(dir: &Path, (name, said, count): (&str, &str, u64)) -> BootStory {
    let label = format!("{name}#1");
    let mark =
        |state| line(Record::Mark(Mark { t_us: 5, label: label.clone(), state, counters: None }));
    let mut text = mark(MarkState::Begin);
    for id in 1..=count {
        let owner = Some(Owner::new(said, OwnerKind::Metadata));
        let one = Race { label: Some(label.clone()), t_us: id * 37, owner, ..race(id, id * 8) };
        text.push_str(&line(Record::Race(Box::new(one))));
    }
    text.push_str(&mark(MarkState::End));
    let directory: PathBuf = dir.join("boot-1");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("races.jsonl"), text).unwrap();
    let store = StoreSeen {
        offset: 16,
        length: 1,
        side: Side::Kernel,
        symbol: Some(said.to_owned()),
        module: None,
        path: None,
        file_offset: None,
        source: None,
        cpu: 0,
        pid: None,
        tid: None,
        comm: Some(said.to_owned()),
        after_doorbell_us: 1.0,
        certain: true,
        stack: vec![said.to_owned()],
        stack_by: StackBy::Orc,
    };
    let culprit = Culprit {
        race: RaceId(1),
        stores: vec![store],
        store_count: 1,
        submitter: None,
        page: None,
        unseen: None,
    };
    std::fs::write(directory.join("culprits.jsonl"), line(Record::Culprit(Box::new(culprit))))
        .unwrap();
    std::fs::write(directory.join("console.log"), format!("{said}\nlast words {said}")).unwrap();
    let script =
        format!("#!/bin/sh\n# What the run itself started:\n#   qemu {said}\n#     -smp 2\ncd /\n");
    std::fs::write(directory.join("qemu.sh"), script).unwrap();
    BootStory::read(&directory.join("races.jsonl"), &Filter::default()).unwrap()
}

fn verdict(scenario: &str) -> Verdict {
    let stack = vec!["inner+0x1".to_owned(), "entry_SYSCALL_64+0x6e".to_owned()];
    let raced = Cell {
        races: Some(3),
        blocks_checked: Some(9),
        culprits: Some(vec![CulpritGroup { symbol: "store+0x7b, by dd".into(), races: 3, stack }]),
        ..bare_cell(scenario, CellOutcome::Fail)
    };
    let other =
        Cell { fs: "xfs".into(), kernel: "7.0".into(), ..bare_cell("quiet", CellOutcome::Pass) };
    Verdict::over(vec![raced, other], None, DateTime::UNIX_EPOCH, 1.0)
}

#[test]
fn a_page_tells_what_the_records_do() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = verdict("churn");
    let boots = [boot(dir.path(), (&verdict.cells[0].name(), "inode table", 3))];
    let page = verdict_html(&verdict, &boots);
    for said in [
        "<td class=\"fail o-fail k0 f0 s0\"><a href=\"#cell-0\">fail<small>3 raced</small>",
        "id=\"cell-0\"",
        "Races over time",
        "Where on the disk it raced",
        "<title>entry_SYSCALL_64+0x6e: 3 races</title>",
        "0x0010  - 41",
        "inner+0x1",
        "last words inode table",
        "qemu inode table",
        "Subject: ext4: inode table changed while it was being written",
        "id=\"c-o-fail\"",
        "body:has(#c-k1:not(:checked)) .k1{display:none}",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    let alone = verdict_html(&verdict, &[]);
    assert!(alone.contains("need the folder of the run") && !alone.contains("Races over time"));
}

/// What is drawn does not grow with what is counted.
#[test]
fn a_page_of_many_races_is_no_larger() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = verdict("churn");
    let boots = [boot(dir.path(), (&verdict.cells[0].name(), "inode table", 20_000))];
    let page = verdict_html(&verdict, &boots);
    assert!(page.len() < 100_000, "{}", page.len());
}

#[test]
fn a_page_of_very_many_cells_ends() {
    let dir = tempfile::tempdir().unwrap();
    let one = verdict("churn");
    let boots = [boot(dir.path(), (&one.cells[0].name(), &"x".repeat(1_900), 300))];
    let cells = vec![one.cells[0].clone(); 400];
    let page = verdict_html(&Verdict { cells, ..one }, &boots);
    assert!(page.len() < 5 << 20, "{}", page.len());
    assert!(page.contains("there is no room for the records"), "{}", page.len());
}

#[test]
fn strangers_cannot_speak_in_a_page() {
    for evil in evil().into_iter().filter(|evil| evil.len() < 1_000_000) {
        let dir = tempfile::tempdir().unwrap();
        // A line of records has its limit.
        let evil: String = evil.chars().take(20_000).collect();
        let mut verdict = verdict(&evil.chars().take(300).collect::<String>());
        let boots = [boot(dir.path(), (&verdict.cells[0].name(), &evil, 2))];
        for cell in &mut verdict.cells {
            (cell.kernel, cell.fs, cell.device) = (evil.clone(), "ext4".into(), evil.clone());
            cell.culprits = Some(vec![CulpritGroup {
                symbol: evil.clone(),
                races: 1,
                stack: vec![evil.clone()],
            }]);
        }
        let page = verdict_html(&verdict, &boots);
        assert!(is_harmless(&page), "{evil:.40}");
        assert!(!page.contains("<script"), "{evil:.40}");
        assert!(page.len() < 2_500_000, "{evil:.40}: {}", page.len());
    }
}
