//! Every format tells the same of one verdict: the outcome, the figures and the reason of every cell.

use chrono::DateTime;

use super::{Colour, verdict_html, verdict_json, verdict_junit, verdict_ktap, verdict_text};
use crate::record::Phases;
use crate::verdict::tests::bare_cell;
use crate::verdict::{Cell, CellOutcome, Expect, Repeat, ShardOf, StableWrites, Verdict};

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

/// A cell as one format tells it: name, outcome, and the text that holds figures and reason.
type Told = (String, CellOutcome, String);

fn from_ktap(text: &str) -> Vec<Told> {
    let mut told = Vec::new();
    let mut before = "";
    for line in text.lines().filter(|line| line.starts_with("  ")).map(str::trim) {
        let (word, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (CellOutcome::Fail, rest),
            None => match line.strip_prefix("ok ") {
                Some(rest) => (CellOutcome::Pass, rest),
                None => {
                    before = line;
                    continue;
                }
            },
        };
        let (_, rest) = rest.split_once(' ').unwrap();
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let outcome = match directive.split(' ').next() {
            Some("SKIP") => CellOutcome::Skip,
            Some("ERROR") => CellOutcome::Error,
            _ => word,
        };
        told.push((name.to_owned(), outcome, format!("{before} {directive}")));
    }
    told
}

fn from_junit(text: &str) -> Vec<Told> {
    let unescape = |t: &str| t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    text.split("<testcase ")
        .skip(1)
        .map(|case| {
            let (_, rest) = case.split_once("name=\"").unwrap();
            let (name, _) = rest.split_once('"').unwrap();
            let outcome = [
                ("<failure", CellOutcome::Fail),
                ("<error", CellOutcome::Error),
                ("<skipped", CellOutcome::Skip),
            ]
            .into_iter()
            .find(|(tag, _)| case.contains(tag))
            .map_or(CellOutcome::Pass, |(_, outcome)| outcome);
            (unescape(name), outcome, unescape(case))
        })
        .collect()
}

fn from_html(page: &str) -> Vec<Told> {
    let unescape = |t: &str| t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    // The heads of the tables have no `td`.
    let rows = page.split("<tr>").filter(|row| row.contains("<td"));
    rows.map(|row| {
        let columns: Vec<String> = row
            .split("<td")
            .skip(1)
            .map(|column| {
                unescape(column.split_once('>').unwrap().1.split("</td>").next().unwrap())
            })
            .collect();
        let stable_writes = match columns[2].as_str() {
            "-" => None,
            setting => Some(if setting == "on" { StableWrites::On } else { StableWrites::Off }),
        };
        let name = crate::verdict::cell_name(&columns[0], &columns[1], stable_writes);
        let outcome = [CellOutcome::Pass, CellOutcome::Fail, CellOutcome::Error, CellOutcome::Skip]
            .into_iter()
            .find(|outcome| columns[9].starts_with(&outcome.to_string()))
            .unwrap();
        (name, outcome, columns.join(" "))
    })
    .collect()
}

#[test]
fn every_format_tells_the_same_of_every_cell() {
    let verdict = verdict();
    let json: Verdict = serde_json::from_str(&verdict_json(&verdict).unwrap()).unwrap();
    assert_eq!(json, verdict);
    let ktap = from_ktap(&verdict_ktap(&verdict));
    let junit = from_junit(&verdict_junit(&verdict).unwrap());
    let html = from_html(&verdict_html(&verdict));
    let text = verdict_text(&verdict, Colour::Never);
    assert_eq!(html.len(), verdict.cells.len());
    assert_eq!((ktap.len(), junit.len()), (verdict.cells.len(), verdict.cells.len()));
    for (at, cell) in verdict.cells.iter().enumerate() {
        let row = text.lines().find(|line| line.trim_start().starts_with(&cell.scenario)).unwrap();
        assert!(row.contains(&cell.outcome.to_string()), "{row}");
        for (name, outcome, words) in [&ktap[at], &junit[at], &html[at]] {
            assert_eq!((name, *outcome), (&cell.name(), cell.outcome));
            for fact in facts(cell) {
                assert!(words.contains(&fact), "{fact} is missing in {words}");
            }
        }
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
    cell.reason.iter().chain(&cell.why).cloned().chain([seen]).collect()
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
    assert!(verdict_html(&lost).contains(&format!("<p class=\"error\">{reason}</p>")));
    let text = verdict_text(&lost, Colour::Never);
    assert!(text.contains(&format!("\nerror: {reason}\nverdict: error (")), "{text}");
    let json: Verdict = serde_json::from_str(&verdict_json(&lost).unwrap()).unwrap();
    assert_eq!(json, lost);
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
