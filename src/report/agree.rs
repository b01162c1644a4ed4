//! Every format tells the same of one verdict: the outcome, the figures and the reason of every cell.

use std::collections::BTreeMap;

use chrono::DateTime;

use super::html::verdict_html;
use super::junit::verdict_junit;
use super::ktap::verdict_ktap;
use super::plain::tests::{evil, is_harmless};
use super::session::{LabelSummary, Session};
use super::text::session_text;
use super::{Colour, FORMATS, verdict_json, verdict_text};
use crate::record::{Broken, Owner, OwnerKind, Phases, Race};
use crate::verdict::tests::bare_cell;
use crate::verdict::{
    Boot, Cell, CellOutcome, CulpritGroup, Expect, OwnerGroup, Provenance, Repeat, ShardOf,
    StableWrites, Verdict,
};

fn verdict() -> Verdict {
    let seen = |scenario, outcome, races: u64| Cell {
        writes: Some(300),
        blocks_checked: Some(4_321),
        races: Some(races),
        phases: Some(Phases { in_window: races, ..Phases::default() }),
        repeat: Some(Repeat { k: u32::from(races > 0), n: 1 }),
        ..bare_cell(scenario, outcome)
    };
    let cells = vec![
        seen("alpha", CellOutcome::Pass, 17),
        Cell {
            stable_writes: Some(StableWrites::On),
            expect: Expect::Stable,
            divergent: Some(7),
            notes: vec!["rcu: INFO: rcu_preempt self-detected stall on CPU".into()],
            why: Some("the journal writes a frozen copy".into()),
            ..seen("beta", CellOutcome::Fail, 23)
        },
        bare_cell("gamma", CellOutcome::Skip),
        Cell {
            expect: Expect::Survey,
            why: Some("known to go either way".into()),
            ..seen("epsilon", CellOutcome::Pass, 5)
        },
        Cell { kernel: "7.0.0-other".into(), ..bare_cell("delta <&>", CellOutcome::Error) },
    ];
    Verdict::over(cells, None, DateTime::UNIX_EPOCH, 12.0)
}

#[test]
fn every_format_tells_the_same_of_every_cell() {
    let verdict = verdict();
    let json: Verdict = serde_json::from_str(&verdict_json(&verdict).unwrap()).unwrap();
    assert_eq!(json, verdict);
    let text = verdict_text(&verdict, Colour::Never);
    for format in &FORMATS {
        let told = (format.read)(&(format.make)(&verdict).unwrap());
        assert_eq!(told.len(), verdict.cells.len(), "{format:?}");
        for (told, cell) in told.iter().zip(&verdict.cells) {
            assert_eq!((&told.name, told.outcome), (&cell.name(), cell.outcome), "{format:?}");
            for fact in facts(cell) {
                assert!(told.words.contains(&fact), "{fact} is missing in {told:?}, {format:?}");
            }
        }
    }
    for cell in &verdict.cells {
        let row = text.lines().find(|line| line.trim_start().starts_with(&cell.scenario)).unwrap();
        assert!(row.contains(&cell.outcome.to_string()), "{row}");
        for fact in facts(cell) {
            assert!(text.contains(&fact), "{fact} is missing in {text}");
        }
    }
    assert!(
        text.ends_with("verdict: fail (2 pass, 1 fail, 1 error, 1 skip), exit status 1, 12 s\n")
    );
}

fn facts(cell: &Cell) -> Vec<String> {
    let seen = match cell.races {
        Some(races) => format!("{races} of 4321 blocks raced"),
        None => "not run".to_owned(),
    };
    cell.reason.iter().chain(&cell.why).chain(&cell.notes).cloned().chain([seen]).collect()
}

#[test]
fn a_verdict_that_is_an_error_of_its_own_is_one_in_every_format() {
    let whole = verdict();
    let shard = ShardOf { index: 2, of: 3, plan: "p".into() };
    let lost = Verdict::merge(vec![("b.json".into(), whole.of_shard(shard))]).unwrap();
    let reason = "missing: parts 1, 3 of 3 (there is b.json)";
    let junit = verdict_junit(&lost).unwrap();
    assert!(junit.contains("errors=\"2\"") && junit.contains(reason), "{junit}");
    let ktap = verdict_ktap(&lost);
    assert!(ktap.starts_with("KTAP version 1\n1..3\n"), "{ktap}");
    assert!(ktap.ends_with(&format!("\nnot ok 3 verdict # ERROR {reason}\n")), "{ktap}");
    assert!(verdict_html(&lost, &[]).contains(&format!("<p class=\"error\">{reason}</p>")));
    let text = verdict_text(&lost, Colour::Never);
    assert!(text.contains(&format!("\nerror: {reason}\nverdict: error (")), "{text}");
    let json: Verdict = serde_json::from_str(&verdict_json(&lost).unwrap()).unwrap();
    assert_eq!(json, lost);
}

#[test]
fn every_format_tells_what_kernels_said_before_their_first_cell() {
    let notes = vec!["BUG: MAX_LOCKDEP_CHAINS too low!".to_owned()];
    let (kernel, device) = ("6.1.0-test".to_owned(), "blk".to_owned());
    let early_deaths = vec!["Oops: double fault: 0000 [#1] SMP (console-1.log)".to_owned()];
    let directory = Some("boot-1".into());
    let boot = Boot { kernel, device, directory, tries: 2, early_deaths, notes };
    let verdict = verdict().with_boots(vec![boot, Boot::default()]);
    assert_eq!(verdict.boots.len(), 1);
    let told = "boot of 6.1.0-test, device blk, boot-1";
    let made = FORMATS.iter().filter(|format| format.flag != "json");
    let made = made.map(|format| (format.make)(&verdict).unwrap());
    for text in made.chain([verdict_text(&verdict, Colour::Never)]) {
        assert!(text.contains(told) && text.contains("MAX_LOCKDEP_CHAINS"), "{text}");
        assert!(text.contains("1 of 2 tries died before the guest"), "{text}");
        assert!(text.contains("making (TCG)") && text.contains("(console-1.log)"), "{text}");
    }
}

/// A verdict that has `evil` wherever a stranger's text may stand.
fn said_everywhere(evil: &str) -> Verdict {
    let mut verdict = verdict().broken(evil.to_owned());
    let group = OwnerGroup::of(&owner_of(evil), 3);
    if evil.len() > 10_000 {
        // One of them is enough, and a good deal faster.
        verdict.cells.truncate(1);
    }
    for cell in &mut verdict.cells {
        for text in [&mut cell.kernel, &mut cell.scenario, &mut cell.fs, &mut cell.device] {
            evil.clone_into(text);
        }
        (cell.reason, cell.why) = (Some(evil.to_owned()), Some(evil.to_owned()));
        cell.notes = vec![evil.to_owned()];
        cell.owner_groups = Some(vec![group.clone()]);
        cell.owners = Some(BTreeMap::from([(evil.to_owned(), 3)]));
        let (symbol, stack) = (evil.to_owned(), vec![evil.to_owned()]);
        cell.culprits = Some(vec![CulpritGroup { symbol, races: 3, stack }]);
    }
    let (kernel, device) = (evil.to_owned(), evil.to_owned());
    let (directory, notes) = (Some(evil.to_owned()), vec![evil.to_owned()]);
    let early_deaths = notes.clone();
    verdict.boots = vec![Boot { kernel, device, directory, tries: 9, early_deaths, notes }];
    let word = || BTreeMap::from([(evil.to_owned(), evil.to_owned())]);
    verdict.provenance = Some(Provenance {
        command: evil.to_owned(),
        qemu: Some(evil.to_owned()),
        kernels: word(),
        kernel_sha256: word(),
        ..Provenance::default()
    });
    verdict
}

fn owner_of(evil: &str) -> Owner {
    Owner { path: Some(evil.to_owned()), ..Owner::new(evil, OwnerKind::Data) }
}

/// Every line of KTAP is one of its own: a stranger's text makes no result, plan or directive.
fn is_sound_ktap(text: &str, cells: usize) -> bool {
    let results = text.lines().filter(|line| {
        let line = line.trim_start();
        line.starts_with("ok ") || line.starts_with("not ok ")
    });
    let ours = |line: &str| {
        let line = line.trim_start();
        let starts = ["ok ", "not ok ", "# ", "KTAP version 1", "1.."];
        starts.iter().any(|start| line.starts_with(start)) && line.matches(" # ").count() <= 1
    };
    // A line for each cell, one for their group, and one for the verdict itself.
    results.count() == cells + 2 && text.lines().all(ours)
}

#[test]
fn text_of_strangers_does_nothing_in_any_format() {
    for evil in evil() {
        let verdict = said_everywhere(&evil);
        let (text, ktap) = (verdict_text(&verdict, Colour::Never), verdict_ktap(&verdict));
        let (junit, html) = (verdict_junit(&verdict).unwrap(), verdict_html(&verdict, &[]));
        for shown in [&text, &ktap, &junit, &html] {
            let start: String = evil.chars().take(40).collect();
            assert!(is_harmless(shown), "{start:?}");
            assert!(shown.len() < 2_500_000, "{start:?}: {}", shown.len());
        }
        assert!(is_sound_ktap(&ktap, verdict.cells.len()), "{}", &ktap[..ktap.len().min(4_000)]);
        assert!(!html.contains("<script") && !junit.contains("]]>"), "{evil:.80}");
        assert_eq!(text.lines().filter(|line| line.starts_with("verdict: ")).count(), 1);
        let json = verdict_json(&verdict).unwrap();
        assert!(is_harmless(&json));
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
        is_well_formed(&junit);
    }
}

/// By libxml2's word, where its program is installed.
fn is_well_formed(xml: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), xml).unwrap();
    let lint = std::process::Command::new("xmllint").arg("--noout").arg(file.path()).output();
    if let Ok(output) = lint {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn text_of_strangers_does_nothing_in_a_session() {
    for evil in evil() {
        let mut session = Session::default();
        let race = Race {
            label: Some(evil.clone()),
            page: None,
            owner: Some(owner_of(&evil)),
            ..super::offenders::tests::race(1, 2)
        };
        session.offenders.add(race);
        session.incidents.add_broken(Broken { t_us: 1, queue: None, reason: evil.clone() });
        let owners = vec![OwnerGroup::of(&owner_of(&evil), 1)];
        session.labels.insert(evil.clone(), LabelSummary { owners, ..LabelSummary::default() });
        let text = session_text(&session, 5, Colour::Never);
        assert!(is_harmless(&text) && text.len() < 100_000, "{evil:.40}");
    }
}

#[test]
fn ktap_counts_its_lines() {
    let text = verdict_ktap(&verdict());
    assert!(text.starts_with(
        "KTAP version 1\n1..2\n  KTAP version 1\n  # Subtest: 6.1.0-test blk\n  1..4\n"
    ));
    assert!(
        text.contains("\nnot ok 1 6.1.0-test blk\n")
            && text.ends_with("\nnot ok 2 7.0.0-other blk\n")
    );
}
