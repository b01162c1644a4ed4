//! What lies beside a verdict and a page about it can tell: each boot's records, logs and command line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::verdict::Cell;

use super::bug::Evidence;
use super::filter::{Filter, cell_of};
use super::lines::SessionError;
use super::session::Session;

/// How much of the end of a log is read, and how many of its lines are told.
const LOG_BYTES: u64 = 16 << 10;
const LOG_LINES: usize = 40;
/// How QEMU's command line begins in `qemu.sh`, and how each of its lines does.
const COMMAND: &str = "# What the run itself started:";
const COMMAND_LINE: &str = "#   ";

/// A boot.
#[derive(Debug)]
pub struct BootStory {
    /// Its directory.
    pub directory: PathBuf,
    /// Its records, with what pictures are drawn from.
    pub session: Session,
    /// By label, the race that stands for the others.
    pub evidence: BTreeMap<String, Evidence>,
    /// QEMU's command line.
    pub command: Vec<String>,
}

impl BootStory {
    /// Reads what lies in the directory of these records.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn read(records: &Path, filter: &Filter) -> Result<BootStory, SessionError> {
        let session = Session::read_with_pictures(records, filter.clone())?;
        let evidence = Evidence::read_each(records, filter)?;
        let directory = records.parent().unwrap_or(Path::new(".")).to_owned();
        let command = command(&directory.join("qemu.sh"));
        Ok(BootStory { directory, session, evidence, command })
    }

    /// The last lines of a file of the boot's.
    pub fn end_of(&self, name: &str) -> Vec<String> {
        end_of(&self.directory.join(name)).unwrap_or_default()
    }

    /// The labels that were opened for a cell, one for each repetition.
    pub fn labels_of<'a>(&'a self, cell: &'a Cell) -> impl Iterator<Item = &'a str> {
        let name = cell.name();
        self.session.labels.keys().map(String::as_str).filter(move |label| cell_of(label) == name)
    }
}

/// The boot that a cell ran in: the one that has its log, or else its label.
pub fn boot_of<'a>(boots: &'a [BootStory], cell: &Cell) -> Option<&'a BootStory> {
    let log = cell.log.as_deref().map(Path::new).and_then(Path::parent).and_then(Path::file_name);
    let has = |boot: &&BootStory| boot.labels_of(cell).next().is_some();
    let all: Vec<&BootStory> = boots.iter().filter(has).collect();
    let here = |boot: &&&BootStory| log.is_some() && boot.directory.file_name() == log;
    let there: Vec<&BootStory> = all.iter().filter(here).copied().collect();
    match (there.as_slice(), all.as_slice()) {
        ([boot], _) | ([], [boot]) => Some(boot),
        _ => None,
    }
}

fn command(script: &Path) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(script).and_then(|file| file.take(LOG_BYTES).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let lines = text.lines().skip_while(|line| *line != COMMAND).skip(1);
    lines.map_while(|line| line.strip_prefix(COMMAND_LINE)).map(str::to_owned).collect()
}

fn end_of(path: &Path) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    Ok(lines.into_iter().skip(first).map(str::to_owned).collect())
}
