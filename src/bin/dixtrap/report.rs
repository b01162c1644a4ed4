//! `dixtrap report`: what records and verdicts hold.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use dixtrap::report::{Colour, Session, SessionError, session_text, verdict_text};
use dixtrap::verdict::Verdict;

use crate::print;

/// Arguments of `dixtrap report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Records of dixtrapd (--races), verdicts (--json), or a folder of 'dixtrap run --out'
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many of the worst blocks are shown with their bytes
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
}

/// Prints a report on every file.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let colour = Colour::of_stdout();
    let mut text = String::new();
    for path in &args.files {
        for file in files_of(path)? {
            if args.files.len() > 1 || &file != path {
                text.push_str(&format!("{}:\n", file.display()));
            }
            text.push_str(&report(&file, args.top, colour)?);
            text.push('\n');
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The file itself, or the reports that a folder of `dixtrap run --out` holds.
fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path().join("races.jsonl"))
        .chain([path.join("races.jsonl"), path.join("verdict.json")])
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} holds neither records nor a verdict", path.display());
    Ok(files)
}

fn report(path: &Path, top: usize, colour: Colour) -> anyhow::Result<String> {
    match Session::read(path) {
        Ok(session) => Ok(session_text(&session, top, colour)),
        Err(error @ SessionError::NotARecord { line: 1, .. }) => match verdict(path) {
            Some(verdict) => Ok(verdict_text(&verdict, colour)),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

fn verdict(path: &Path) -> Option<Verdict> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}
