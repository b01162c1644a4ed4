//! `dixtrap report`: what records hold, and one verdict over the verdicts of all shards.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use dixtrap::report::{Colour, Session, SessionError, plain, session_text, verdict_text};
use dixtrap::runner::host::errors::whole_text;
use dixtrap::runner::host::outdir::{VERDICT, lacks_its_verdict};
use dixtrap::verdict::Verdict;

use crate::formats::Formats;
use crate::print;

/// Arguments of `dixtrap report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Records of dixtrapd (--races), verdicts (--json), or folders of 'dixtrap run --out'; several
    /// verdicts become one
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// How many of the worst blocks are shown with their bytes
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    formats: Formats,
}

/// A verdict has a few kilobytes a cell.
const LARGEST_VERDICT: u64 = 256 << 20;

/// What to do where it is none of that.
const WHAT_IS_READ: &str = "give records (dixtrapd --races), a verdict (dixtrap run --json), or the folder of a run (--out)";

/// What a file holds.
enum Content {
    Session(Box<Session>),
    Verdict(Box<Verdict>),
}

/// Prints every session and the verdict over all verdicts, and writes it where asked. Where there is
/// a verdict, its exit status is ours: the job of a CI that collects the shards goes by it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.formats.check_folders()?;
    let colour = Colour::of_stdout();
    let mut text = String::new();
    let mut verdicts = Vec::new();
    for path in &args.files {
        for file in files_of(path)? {
            match read(&file)? {
                Content::Session(session) => {
                    if args.files.len() > 1 || &file != path {
                        text.push_str(&format!("{}:\n", plain(&file.display().to_string())));
                    }
                    text.push_str(&session_text(&session, args.top, colour));
                    text.push('\n');
                }
                Content::Verdict(verdict) => verdicts.push((file.display().to_string(), *verdict)),
            }
        }
    }
    let cut_short = cut_short(&args.files);
    ensure!(
        args.formats.is_empty() || !verdicts.is_empty(),
        "there is no verdict to write: give the files of 'dixtrap run --json', or its --out folder"
    );
    if verdicts.is_empty() {
        print(&text)?;
        return cut_short.map_or(Ok(ExitCode::SUCCESS), |why| Err(anyhow::anyhow!(why)));
    }
    let mut verdict = Verdict::merge(verdicts)?;
    if let Some(why) = cut_short {
        verdict = verdict.broken(why);
    }
    text.push_str(&verdict_text(&verdict, colour));
    print(&text)?;
    args.formats.write(&verdict, None)?;
    Ok(ExitCode::from(verdict.exit_status))
}

/// Which of the folders are of runs that left no verdict: their records alone must not pass for one.
fn cut_short(paths: &[PathBuf]) -> Option<String> {
    let cut: Vec<String> = paths
        .iter()
        .filter(|path| lacks_its_verdict(path))
        .map(|path| path.display().to_string())
        .collect();
    (!cut.is_empty()).then(|| {
        format!("the run in {} left no verdict: it still runs, or was killed", cut.join(", "))
    })
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
        .chain([path.join("races.jsonl"), path.join(VERDICT)])
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "{} holds neither records nor a verdict", path.display());
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<Content> {
    match Session::read(path) {
        Ok(session) => Ok(Content::Session(Box::new(session))),
        Err(
            error @ (SessionError::NotARecord { line: 1, .. }
            | SessionError::TooLong { line: 1, .. }),
        ) => match verdict(path)? {
            Some(verdict) => Ok(Content::Verdict(Box::new(verdict))),
            None => Err(anyhow::anyhow!("{}; {WHAT_IS_READ}", whole_text(&error))),
        },
        Err(error) => Err(error.into()),
    }
}

/// The verdict in the file, where it holds one.
fn verdict(path: &Path) -> anyhow::Result<Option<Verdict>> {
    // What a pipe held is read, and there is no more to come.
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map(|file| file.take(LARGEST_VERDICT));
    if file.and_then(|mut file| file.read_to_string(&mut text)).is_err() {
        return Ok(None);
    }
    match serde_json::from_str(&text) {
        Ok(verdict) => Ok(Some(verdict)),
        Err(error) if error.is_eof() => bail!(
            "{} ends in the middle ({error}): copy it once more, or run once more; of the folder of a run that was \
             killed (--out) the records can be read",
            path.display()
        ),
        Err(_) => Ok(None),
    }
}
