//! `dixtrap report`: what records hold, and one verdict over the verdicts of all shards.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use dixtrap::record::Phase;
use dixtrap::report::{
    BootStory, Colour, Filter, Glob, Moment, Session, SessionError, parse_phase, plain,
    session_text, verdict_text,
};
use dixtrap::runner::host::errors::whole_text;
use dixtrap::runner::host::outdir::{VERDICT, lacks_its_verdict};
use dixtrap::verdict::Verdict;

use crate::bug::BugArgs;
use crate::formats::Formats;
use crate::print;

/// Arguments of `dixtrap report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Records of dixtrapd (--races), verdicts (--json), or folders of 'dixtrap run --out'; several
    /// verdicts become one
    #[arg(value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// How many of the worst blocks are shown with their bytes
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bug: BugArgs,
    #[command(flatten)]
    formats: Formats,
}

/// Which races and cells are shown. The verdict and the exit status stay those of all.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Only some races and cells (the verdict stays that of all)")]
struct FilterArgs {
    /// Of these labels, or cells: mmap-rewrite/ext4/stable_writes=on, 'mmap*'
    #[arg(long, value_name = "GLOB")]
    label: Option<Glob>,
    /// In the files with these paths: /target, '*.db'
    #[arg(long, value_name = "GLOB")]
    file: Option<Glob>,
    /// In blocks of these owners, by name or kind: 'inode table', journal, metadata
    #[arg(long, value_name = "GLOB")]
    owner: Option<Glob>,
    /// Of these culprits, by function, module, program or task: 'ext4_*', xfs, '*/dixtrap-guest'
    #[arg(long, value_name = "GLOB")]
    culprit: Option<Glob>,
    /// Not before: a time from the records' beginning (250ms, 90s, 10m), or a date (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "T")]
    since: Option<Moment>,
    /// Not after, written alike
    #[arg(long, value_name = "T")]
    until: Option<Moment>,
    /// Of this phase: before-doorbell, in-window, after-fetch or after-delivery
    #[arg(long, value_name = "P", value_parser = parse_phase)]
    phase: Option<Phase>,
}

impl FilterArgs {
    fn filter(&self) -> anyhow::Result<Filter> {
        let FilterArgs { label, file, owner, culprit, since, until, phase } = self.clone();
        if let (Some(Moment::After(since)), Some(Moment::After(until))) = (since, until) {
            ensure!(since <= until, "--since is later than --until: nothing can be between them");
        }
        if let (Some(Moment::At(since)), Some(Moment::At(until))) = (since, until) {
            ensure!(since <= until, "--since is later than --until: nothing can be between them");
        }
        Ok(Filter { label, file, owner, culprit, since, until, phase })
    }
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
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    if args.files.is_empty() {
        args.files.extend(args.bug.give_back_path());
    }
    ensure!(!args.files.is_empty(), "nothing to report on: {WHAT_IS_READ}");
    args.formats.check_folders()?;
    let filter = args.filter.filter()?;
    let (sessions, verdicts) = contents(&args.files, &filter)?;
    let cut_short = cut_short(&args.files);
    ensure!(
        args.formats.is_empty() || !verdicts.is_empty(),
        "there is no verdict to write: give the files of 'dixtrap run --json', or its --out folder"
    );
    if verdicts.is_empty() {
        let text = if args.bug.is_asked() {
            args.bug.mail(&sessions, None, &filter)?
        } else {
            sessions_text(&sessions, &args)
        };
        print(&text)?;
        return cut_short.map_or(Ok(ExitCode::SUCCESS), |why| Err(anyhow::anyhow!(why)));
    }
    let mut verdict = Verdict::merge(verdicts)?;
    if let Some(why) = cut_short {
        verdict = verdict.broken(why);
    }
    // What is not shown counts all the same.
    let status = verdict.exit_status;
    if args.bug.is_asked() {
        print(&args.bug.mail(&sessions, Some(&verdict), &filter)?)?;
    }
    let verdict = filter.of_verdict(verdict);
    if !args.bug.is_asked() {
        let text = sessions_text(&sessions, &args) + &verdict_text(&verdict, Colour::of_stdout());
        print(&text)?;
    }
    args.formats.write(&verdict, None, || {
        let boots = sessions.iter().map(|(file, _)| BootStory::read(file, &filter));
        Ok(boots.collect::<Result<_, _>>()?)
    })?;
    Ok(ExitCode::from(status))
}

/// The records that were read, by their files.
type Sessions = Vec<(PathBuf, Session)>;
/// The verdicts, by theirs.
type Verdicts = Vec<(String, Verdict)>;

fn contents(paths: &[PathBuf], filter: &Filter) -> anyhow::Result<(Sessions, Verdicts)> {
    let (mut sessions, mut verdicts) = (Vec::new(), Vec::new());
    for path in paths {
        for file in files_of(path)? {
            match read(&file, filter)? {
                Content::Session(session) => sessions.push((file, *session)),
                Content::Verdict(verdict) => verdicts.push((file.display().to_string(), *verdict)),
            }
        }
    }
    Ok((sessions, verdicts))
}

fn sessions_text(sessions: &Sessions, args: &Args) -> String {
    let colour = Colour::of_stdout();
    let mut text = String::new();
    for (file, session) in sessions {
        if args.files.len() > 1 || !args.files.contains(file) {
            text.push_str(&format!("{}:\n", plain(&file.display().to_string())));
        }
        text.push_str(&session_text(session, args.top, colour));
        text.push('\n');
    }
    text
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

fn read(path: &Path, filter: &Filter) -> anyhow::Result<Content> {
    match Session::read_part(path, filter.clone()) {
        Ok(session) => Ok(Content::Session(Box::new(session))),
        Err(
            error @ (SessionError::NotARecord { line: 1, .. }
            | SessionError::TooLong { line: 1, .. }),
        ) => match verdict_in(path)? {
            Some(verdict) => Ok(Content::Verdict(Box::new(verdict))),
            None => Err(anyhow::anyhow!("{}; {WHAT_IS_READ}", whole_text(&error))),
        },
        Err(error) => Err(error.into()),
    }
}

/// The verdict in the file, where it holds one.
pub fn verdict_in(path: &Path) -> anyhow::Result<Option<Verdict>> {
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
