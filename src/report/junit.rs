//! The verdict as JUnit XML: a suite for each kernel and device, a case for each cell; one
//! more for a verdict that is an error of its own.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite,
};

use crate::verdict::{Cell, CellOutcome, Group, Verdict};

use super::format::Format;
use super::provenance::{beside_the_cells, provenance_rows};
use super::tame::tame;
use super::words::{boot_words, expected_words, noted_words, seen_words};

/// A file of JUnit XML.
pub const FORMAT: Format = Format {
    flag: "junit",
    name: "JUnit XML",
    make: |verdict| Ok(verdict_junit(verdict)?),
    with_records: None,
    #[cfg(test)]
    read: read::cells,
};

/// The verdict as an XML document.
pub(super) fn verdict_junit(verdict: &Verdict) -> Result<String, SerializeError> {
    let verdict = &tame(verdict);
    let mut report = Report::new("dixtrap");
    report.set_timestamp(verdict.started);
    report.set_time(Duration::try_from_secs_f64(verdict.seconds).unwrap_or_default());
    for Group { kernel, device, cells } in verdict.groups() {
        let mut suite = TestSuite::new(format!("{kernel} {device}"));
        for (name, value) in provenance_rows(verdict).into_iter().chain(boot_words(verdict)) {
            suite.add_property(Property::new(name, value));
        }
        suite.add_test_cases(cells.into_iter().map(case));
        report.add_test_suite(suite);
    }
    if let Some(reason) = beside_the_cells(verdict) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(reason.as_str());
        let mut suite = TestSuite::new("verdict");
        suite.add_test_case(TestCase::new("verdict", status));
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn case(cell: &Cell) -> TestCase {
    let mut status = match cell.outcome {
        CellOutcome::Pass => TestCaseStatus::success(),
        CellOutcome::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CellOutcome::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        CellOutcome::Skip => TestCaseStatus::skipped(),
    };
    if let Some(reason) = &cell.reason {
        status.set_message(reason.as_str());
    }
    let mut case = TestCase::new(cell.name(), status);
    case.set_classname(format!("{}.{}", cell.device, cell.scenario));
    let seen = format!("expected {}, seen: {}", expected_words(cell), seen_words(cell));
    let lines: Vec<String> = [seen].into_iter().chain(noted_words(cell)).collect();
    case.set_system_out(lines.join("\n"));
    case
}

#[cfg(test)]
mod read {
    use crate::report::format::ToldCell;
    use crate::verdict::CellOutcome;

    /// What this format tells of each cell.
    pub fn cells(text: &str) -> Vec<ToldCell> {
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
                ToldCell { name: unescape(name), outcome, words: unescape(case) }
            })
            .collect()
    }
}
