//! `dixtrap report --bug`: which race the mail is about, and what belongs to it.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use dixtrap::record::RaceId;
use dixtrap::report::bug::{Case, Evidence, Wanted, bug_text, stand_alone};
use dixtrap::report::{Filter, Session, cell_of, plain, write_whole};
use dixtrap::runner::select::catalogue::files_built_in;
use dixtrap::verdict::{Cell, CellOutcome, Verdict};

/// Which race, and where its scenario goes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A mail to a mailing list")]
pub struct BugArgs {
    /// Prints a mail about this race or label (or cell) in place of the report; without a value, about the one
    /// that matters most
    #[arg(long, value_name = "RACE|LABEL", num_args = 0..=1)]
    bug: Option<Option<String>>,
    /// Writes the scenario of that race with all that it reads, as one script
    #[arg(long, value_name = "F", requires = "bug")]
    script: Option<PathBuf>,
}

impl BugArgs {
    /// A mail is asked for.
    pub fn is_asked(&self) -> bool {
        self.bug.is_some()
    }

    /// `--bug out` was meant as `--bug`, and `out` as what is read: takes it back.
    pub fn give_back_path(&mut self) -> Option<PathBuf> {
        let path = self.bug.as_ref()?.as_ref().map(PathBuf::from).filter(|path| path.exists())?;
        self.bug = Some(None);
        Some(path)
    }

    /// The text of the mail; writes the script where one is asked for.
    pub fn mail(
        &self,
        sessions: &[(PathBuf, Session)],
        verdict: Option<&Verdict>,
        filter: &Filter,
    ) -> anyhow::Result<String> {
        ensure!(
            !sessions.is_empty(),
            "--bug needs records: give those of dixtrapd (--races), or the folder of a run (--out)"
        );
        let asked = self.bug.as_ref().and_then(Option::as_deref);
        let (path, session, evidence) = found(asked, sessions, verdict, filter)?;
        let cell = verdict.and_then(|verdict| cell_with(verdict, evidence.label(), path));
        let scenario = cell.and_then(|cell| script_of(cell, verdict));
        let checked = cell.map(|cell| words_of_fsck(cell, path)).unwrap_or_default();
        if let Some(file) = &self.script {
            let name = cell.filter(|_| scenario.is_some()).map(|cell| cell.scenario.as_str());
            let name = name.context(
                "--script: the scenario of this race is none of dixtrap's own, or not on record",
            )?;
            let text =
                stand_alone(name, built_in).context("--script: the scenario is not complete")?;
            write_whole(file, &text)?;
        }
        let case =
            Case { session, evidence: &evidence, verdict, cell, scenario, checked: &checked };
        Ok(bug_text(&case))
    }
}

type Found<'a> = (&'a Path, &'a Session, Evidence);

/// The race that was asked for by its number, its label or cell, or not at all.
fn found<'a>(
    asked: Option<&str>,
    sessions: &'a [(PathBuf, Session)],
    verdict: Option<&Verdict>,
    filter: &Filter,
) -> anyhow::Result<Found<'a>> {
    if let Some(id) = asked.and_then(|text| text.parse().ok()) {
        return numbered(RaceId(id), sessions, filter);
    }
    let mut best: Option<((u8, u64), &Path, &Session, &str)> = None;
    for (path, session) in sessions {
        for (label, summary) in &session.labels {
            let named = asked.is_none_or(|asked| asked == label || asked == cell_of(label));
            let rank = (
                rank_of(verdict.and_then(|verdict| cell_with(verdict, label, path))),
                summary.races,
            );
            let setup = asked.is_none() && label.ends_with("/setup");
            if named && !setup && summary.races > 0 && best.is_none_or(|(known, ..)| rank > known) {
                best = Some((rank, path, session, label));
            }
        }
    }
    let Some((_, path, session, label)) = best else {
        bail!("{}", nothing(asked, sessions, filter))
    };
    let evidence = Evidence::read(path, &Wanted::Of(label.to_owned()), filter)?;
    let evidence = evidence.context("the records have changed while they were read")?;
    Ok((path, session, evidence))
}

fn numbered<'a>(
    id: RaceId,
    sessions: &'a [(PathBuf, Session)],
    filter: &Filter,
) -> anyhow::Result<Found<'a>> {
    let mut all = Vec::new();
    for (path, session) in sessions {
        if let Some(evidence) = Evidence::read(path, &Wanted::Race(id), filter)? {
            all.push((path.as_path(), session, evidence));
        }
    }
    let names: Vec<String> = all.iter().map(|(path, ..)| path.display().to_string()).collect();
    ensure!(
        names.len() < 2,
        "there is a race {} in each of {}: give the file that is meant",
        id.0,
        names.join(", ")
    );
    all.pop().with_context(|| format!("no race {} is on record{}", id.0, of_filter(filter)))
}

/// What went wrong comes before what nobody judges, that before what was expected, and controls last.
fn rank_of(cell: Option<&Cell>) -> u8 {
    use dixtrap::verdict::Expect::{Race, Stable, Survey};
    match cell {
        Some(cell) if cell.control => 0,
        Some(cell) if cell.outcome == CellOutcome::Fail && cell.expect == Stable => 4,
        Some(cell) if cell.expect == Survey => 3,
        Some(cell) if cell.expect == Race => 1,
        _ => 2,
    }
}

fn nothing(asked: Option<&str>, sessions: &[(PathBuf, Session)], filter: &Filter) -> String {
    let of_filter = of_filter(filter);
    let raced: Vec<String> = sessions
        .iter()
        .flat_map(|(_, session)| &session.labels)
        .filter(|(_, summary)| summary.races > 0)
        .map(|(label, _)| plain(label))
        .take(12)
        .collect();
    match asked {
        _ if raced.is_empty() => {
            format!("no race is on record{of_filter}: there is nothing to report")
        }
        Some(label) => format!(
            "no race of label '{label}' is on record{of_filter}; there are some of {}",
            raced.join(", ")
        ),
        None => format!("none but setups raced{of_filter}; name one of {}", raced.join(", ")),
    }
}

fn of_filter(filter: &Filter) -> String {
    let words = filter.words();
    if words.is_empty() { words } else { format!(" ({words})") }
}

/// The cell of a label, of the boot that the records lie in where that can be told.
fn cell_with<'a>(verdict: &'a Verdict, label: &str, records: &Path) -> Option<&'a Cell> {
    let name = cell_of(label.strip_suffix("/setup").unwrap_or(label));
    let boot = records.parent().and_then(Path::file_name);
    let here = |cell: &&Cell| {
        let log =
            cell.log.as_deref().map(Path::new).and_then(Path::parent).and_then(Path::file_name);
        log.is_some() && log == boot
    };
    let named: Vec<&Cell> = verdict.cells.iter().filter(|cell| cell.name() == name).collect();
    let there = named.iter().copied().find(here);
    there.or_else(|| named.first().copied().filter(|_| named.len() == 1))
}

/// The script of a cell, unless it was run from a file of the user's own.
fn script_of(cell: &Cell, verdict: Option<&Verdict>) -> Option<&'static str> {
    let file = format!("{}.sh", cell.scenario);
    let command = verdict?.provenance.as_ref().map(|known| known.command.as_str());
    if command.is_some_and(|command| command.contains(&file)) {
        return None;
    }
    built_in(&file)
}

fn built_in(name: &str) -> Option<&'static str> {
    let (_, text) = files_built_in().find(|(path, _)| *path == Path::new(name))?;
    std::str::from_utf8(text).ok()
}

/// How much of a log is looked through, and how many lines of it are told.
const LOG: u64 = 4 << 20;
const LINES: usize = 12;
/// How lines of programs begin that check a file system.
const CHECKERS: [&str; 6] =
    ["fsck", "e2fsck", "xfs_repair", "xfs_scrub", "btrfs scrub", "btrfs check"];

/// What a checker said in the log of the cell.
fn words_of_fsck(cell: &Cell, records: &Path) -> Vec<String> {
    let boot = records.parent();
    let name = cell.log.as_deref().map(Path::new).and_then(Path::file_name);
    let Some(path) = boot.zip(name).map(|(boot, name)| boot.join(name)) else { return Vec::new() };
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LOG).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let said = text.lines().filter(|line| CHECKERS.iter().any(|name| line.contains(name)));
    said.take(LINES).map(str::to_owned).collect()
}
