//! Mails about records as they are written to files.

use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::*;
use crate::record::{
    Change, Counters, Culprit, Healed, Holds, Line, Mark, MarkState, Owner, OwnerKind, Page,
    PageHost, Phases, Race, RaceId, RaceOwner, Record, Side, StackBy, StoreSeen, Structure,
    Submitter,
};
use crate::report::filter::Filter;
use crate::report::offenders::tests::race;
use crate::report::plain::tests::{evil, is_harmless};
use crate::report::session::Session;
use crate::verdict::tests::bare_cell;
use crate::verdict::{Cell, CellOutcome, Expect, Provenance, Verdict};

fn line(record: Record) -> String {
    serde_json::to_string(&Line::from(record)).unwrap() + "\n"
}

fn store(symbol: &str) -> StoreSeen {
    StoreSeen {
        offset: 130,
        length: 2,
        side: Side::Kernel,
        symbol: Some(symbol.to_owned()),
        module: None,
        path: None,
        file_offset: None,
        source: None,
        cpu: 1,
        pid: Some(7),
        tid: Some(8),
        comm: Some("mkdir".into()),
        after_doorbell_us: 1106.4,
        certain: true,
        stack: vec!["ext4_fill_raw_inode+0x383".into(), "entry_SYSCALL_64+0x6e".into()],
        stack_by: StackBy::Orc,
    }
}

/// Three races of two writes under one label, of 100 writes; two by one store, one by another.
fn written(dir: &Path, name: &str) -> PathBuf {
    let page = Page {
        pfn: 1,
        flags: vec!["dirty".into(), "writeback".into()],
        host: PageHost::Device,
        inode: Some(1),
        device: Some("254:0".into()),
        index: Some(7),
        mapcount: 0,
        refcount: 3,
        read_us: 1.0,
    };
    let one = |id: u64, request: u64| {
        let mut race = Race {
            label: Some(format!("{name}#1")),
            page: Some(page.clone()),
            changed: vec![Change { offset: 130, len: 2, old: "0a0b".into(), new: "0c0d".into() }],
            changed_bytes: 2,
            ..race(id, 8 + id)
        };
        race.request.id = request;
        line(Record::Race(Box::new(race)))
    };
    let mark = |state, counters| {
        line(Record::Mark(Mark { t_us: 1, label: format!("{name}#1"), state, counters }))
    };
    let counters = Counters {
        writes: 100,
        blocks_checked: 800,
        races: Phases { in_window: 3, ..Phases::default() },
        ..Counters::default()
    };
    let healed =
        |race| line(Record::Healed(Healed { t_us: 9, race: RaceId(race), after_us: 4_000 }));
    let text = mark(MarkState::Begin, None)
        + &one(1, 5)
        + &one(2, 5)
        + &one(3, 6)
        + &mark(MarkState::End, Some(counters))
        + &healed(2);
    let path = dir.join("races.jsonl");
    std::fs::write(&path, text).unwrap();
    let owner = |id| {
        let holds = Some(Holds::of(Structure::Ext4Inode, 256, 24));
        let owner = Owner { holds, ..Owner::new("inode table", OwnerKind::Metadata) };
        line(Record::Owner(RaceOwner { race: RaceId(id), owner }))
    };
    std::fs::write(dir.join("owners.jsonl"), owner(1) + &owner(2) + &owner(3)).unwrap();
    let culprit = |id, symbol: &str| {
        let (comm, stack) = ("kworker/u4:1".to_owned(), vec!["submit_bio+0x1".to_owned()]);
        line(Record::Culprit(Box::new(Culprit {
            race: RaceId(id),
            stores: vec![store(symbol)],
            store_count: 1,
            submitter: Some(Submitter { comm, stack }),
            page: None,
            unseen: None,
        })))
    };
    let text = culprit(1, "other+0x1") + &culprit(2, "ext4_inode_csum_set+0x7b");
    std::fs::write(dir.join("culprits.jsonl"), text + &culprit(3, "ext4_inode_csum_set+0x7b"))
        .unwrap();
    path
}

fn verdict(name: &str, expect: Expect, why: &str) -> Verdict {
    let cell = Cell {
        stable_writes: None,
        expect,
        why: Some(why.into()),
        races: Some(3),
        blocks_checked: Some(800),
        ..bare_cell(name, CellOutcome::Pass)
    };
    let control = Cell {
        control: true,
        races: Some(5),
        blocks_checked: Some(9),
        ..bare_cell("direct", CellOutcome::Pass)
    };
    let kernels = [("debian:bookworm".to_owned(), "6.1.0-test".to_owned())].into();
    Verdict::over(vec![cell, control], None, DateTime::UNIX_EPOCH, 1.0)
        .with_provenance(Provenance { kernels, seed: 7, ..Provenance::default() })
}

fn mail(path: &Path, wanted: &Wanted, verdict: Option<&Verdict>) -> String {
    let session = Session::read(path).unwrap();
    let evidence = Evidence::read(path, wanted, &Filter::default()).unwrap().unwrap();
    let cell = verdict.and_then(|verdict| verdict.cells.first());
    let case = Case {
        session: &session,
        evidence: &evidence,
        verdict,
        cell,
        scenario: Some("work churn x\n"),
        checked: &[],
    };
    bug_text(&case)
}

fn of(label: &str) -> Wanted {
    Wanted::Of(label.to_owned())
}

#[test]
fn a_mail_says_what_a_maintainer_asks() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "churn/ext4");
    let verdict = verdict("churn", Expect::Survey, "the table's own reason");
    let text = mail(&path, &of("churn/ext4#1"), Some(&verdict));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "On Linux 6.1.0-test, during churn on ext4, 2 bytes of block 10 (inode table) changed between the doorbell \
         and the fetch of the data by the disk, 1.0 ms later",
        "This may be known: of this case dixtrap's table of expectations judges nothing, and says: the table's own reason.",
        "Linux 6.1.0-test (debian:bookworm)",
        "3 of 800 blocks raced. 2 of 100 writes had one: 20000 per million writes (5502 to 70012 at 95 %, Wilson",
        "direct/ext4/stable_writes=off: 5 of 9 blocks raced (pass)",
        "ext4 inode 24: i_checksum_hi 0xb0a -> 0xd0c",
        "ext4_inode_csum_set+0x7b ext4_fill_raw_inode+0x383 entry_SYSCALL_64+0x6e",
        "2: ext4_inode_csum_set+0x7b, by mkdir < ext4_fill_raw_inode+0x383 1: other+0x1",
        "kworker/u4:1: submit_bio+0x1",
        "All 3 pages were under writeback and belonged to the block device's inode: only the file system could have \
         kept them stable",
        "a later write covered them 4ms on. Of the label's 3 races 1 were covered, 2 stand.",
        "guard 1234 computed and abcd found",
        "the scenario ran none",
        "dixtrap run --kernel debian:bookworm --fs ext4 --scenario churn --seed 7",
        "--culprit on The scenario is",
        "work churn x",
    ] {
        assert!(words.contains(said), "{said}\n{text}");
    }
    assert!(text.contains("0x0080  - .. .. 0a 0b"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
}

#[test]
fn a_race_that_is_asked_for_is_the_one_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "churn/ext4");
    let text = mail(&path, &Wanted::Race(RaceId(1)), None);
    assert!(text.contains("race 1 of a") && text.contains("other+0x1"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("no later write that is on record"), "{text}");
    let read = |wanted| Evidence::read(&path, &wanted, &Filter::default()).unwrap();
    assert!(read(Wanted::Race(RaceId(4))).is_none() && read(of("other")).is_none());
    let only = Filter { culprit: Some("other".parse().unwrap()), ..Filter::default() };
    let found = Evidence::read(&path, &of("churn/ext4#1"), &only).unwrap().unwrap();
    assert_eq!(found.race.id, RaceId(1), "the filter decides among races");
}

#[test]
fn what_is_not_on_record_is_said_and_not_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("races.jsonl");
    std::fs::write(&path, line(Record::Race(Box::new(race(1, 8))))).unwrap();
    let text = mail(&path, &Wanted::Race(RaceId(1)), None);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "owner not on record",
        "there is no verdict beside these records",
        "nobody has counted its writes",
        "nobody watched the guest's stores",
        "it could not be read from the guest's memory",
        "the records are of no run of dixtrap's",
    ] {
        assert!(words.contains(said), "{said}\n{text}");
    }
    assert!(!words.contains("per million"), "{text}");
}

#[test]
fn expectations_are_named_with_their_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "churn/ext4");
    for (expect, said) in [
        (Expect::Stable, "No block should have raced here: reason."),
        (Expect::Race, "This is known: dixtrap expects a race here: reason."),
    ] {
        let text = mail(&path, &of("churn/ext4#1"), Some(&verdict("churn", expect, "reason")));
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn strangers_cannot_speak_in_a_mail() {
    for evil in evil().into_iter().filter(|evil| evil.len() < 1_000_000) {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("churn{}", evil.chars().take(500).collect::<String>());
        let path = written(dir.path(), &name);
        let mut verdict = verdict(&evil, Expect::Survey, &evil);
        for cell in &mut verdict.cells {
            (cell.kernel, cell.fs, cell.device) = (evil.clone(), evil.clone(), evil.clone());
        }
        let text = mail(&path, &of(&format!("{name}#1")), Some(&verdict));
        assert!(is_harmless(&text), "{evil:.40}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH || line.contains("--")),
            "{evil:.40}"
        );
    }
}

#[test]
fn a_scenario_alone_has_all_that_it_reads() {
    let files = |name: &str| match name {
        "a.sh" => Some(". \"${DIXTRAP_LIB:-$(dirname \"$0\")}/lib.sh\"\nhello \"$@\""),
        "lib.sh" => {
            Some("hello() { echo \"hello $1 $(wc -l <\"$(dirname \"$0\")/filesystems\")\"; }\n")
        }
        "filesystems" => Some("ext4\nxfs\n"),
        _ => None,
    };
    let text = stand_alone("a", files).unwrap();
    assert!(stand_alone("b", files).is_none());
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("alone.sh");
    std::fs::write(&script, text).unwrap();
    let output = std::process::Command::new("sh").arg(&script).arg("/dev/vdb").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "hello /dev/vdb 2", "{output:?}");
    assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1);
}
