//! The log of a cell: what its script printed and told, in the directory of its boot.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use crate::runner::guest::console::clean;

/// How long a log may get: that of a cell which prints more, or runs very often, has its beginning.
const MOST: u64 = 4 << 20;

/// How many of the last lines are shown where something failed.
const LAST: usize = 10;

/// The longest piece of a line that is shown.
const WIDTH: usize = 400;

/// Who says a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The script's standard output.
    Stdout,
    /// The script's standard error.
    Stderr,
    /// The script, to us.
    Told,
    /// We ourselves.
    Dixtrap,
}

impl Source {
    fn word(self) -> &'static str {
        match self {
            Source::Stdout => "out",
            Source::Stderr => "err",
            Source::Told => "told",
            Source::Dixtrap => "--",
        }
    }
}

/// A log that is being written. What cannot be written is lost, and nothing else is.
#[derive(Debug)]
pub(super) struct CellLog {
    file: Option<BufWriter<File>>,
    /// The boot's directory and the file in it.
    name: String,
    room: u64,
    full: bool,
    started: Instant,
    last: VecDeque<String>,
}

impl CellLog {
    /// Goes on with the log of `cell`: its repetitions share one.
    pub(super) fn open(directory: &Path, cell: &str, repetition: u32) -> CellLog {
        let file_name = file_name(cell);
        let opened = OpenOptions::new().create(true).append(true).open(directory.join(&file_name));
        if let Err(error) = &opened {
            log::warn!("what {cell} prints is not kept: {error}");
        }
        let file = opened.ok();
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |m| m.len());
        let boot = directory.file_name().unwrap_or_default().to_string_lossy();
        let mut log = CellLog {
            file: file.map(BufWriter::new),
            name: format!("{boot}/{file_name}"),
            room: MOST.saturating_sub(size),
            full: size >= MOST,
            started: Instant::now(),
            last: VecDeque::new(),
        };
        log.line(Source::Dixtrap, &format!("{cell}, run {repetition}"));
        // What is shown is what the script had to say.
        log.last.clear();
        log
    }

    /// Adds a line.
    pub(super) fn line(&mut self, source: Source, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let line = format!("{seconds:9.3} {:4} {text}\n", source.word());
        if matches!(source, Source::Stdout | Source::Stderr) {
            if self.last.len() >= LAST {
                self.last.pop_front();
            }
            self.last.push_back(clean(text).chars().take(WIDTH).collect());
        }
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if length <= self.room && !self.full {
            self.room = self.room.saturating_sub(length);
            self.write(&line);
        } else if !self.full {
            self.full = true;
            self.write("dixtrap: the rest is left out: the log of a cell ends here\n");
        }
    }

    fn write(&mut self, text: &str) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(text.as_bytes()) {
            log::warn!("what is printed is no longer kept in {}: {error}", self.name);
            self.file = None;
        }
    }

    /// The last lines that the script printed.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// Ends the log, and tells where it is, seen from the directory of all boots.
    pub(super) fn close(mut self) -> Option<String> {
        let written = self.file.as_mut().map(BufWriter::flush);
        if let Some(Err(error)) = &written {
            log::warn!("what was printed is not kept in {}: {error}", self.name);
        }
        matches!(written, Some(Ok(()))).then_some(self.name)
    }
}

/// `mmap-rewrite/ext4/stable_writes=on` becomes `mmap-rewrite.ext4.stable_writes=on.log`.
fn file_name(cell: &str) -> String {
    format!("{}.log", cell.replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_share_a_log_that_tells_who_said_what() {
        let boot = tempfile::tempdir().unwrap();
        for repetition in 1..=2 {
            let mut log = CellLog::open(boot.path(), "s/raw/stable_writes=on", repetition);
            log.line(Source::Stdout, "hello");
            log.line(Source::Stderr, "\u{1b}[31mno such file\u{1b}[0m");
            log.line(Source::Told, "dixtrap: writing");
            assert_eq!(log.last_lines(), ["hello", "no such file"]);
            let name = log.close().unwrap();
            assert!(name.ends_with("/s.raw.stable_writes=on.log"), "{name}");
        }
        let text = std::fs::read_to_string(boot.path().join("s.raw.stable_writes=on.log")).unwrap();
        assert_eq!(text.lines().count(), 8, "{text}");
        assert!(text.contains(" out  hello\n") && text.contains(" told dixtrap: writing\n"));
        assert!(text.contains("run 1\n") && text.contains("run 2\n"));
    }

    #[test]
    fn a_log_has_an_end() {
        let boot = tempfile::tempdir().unwrap();
        for repetition in 1..=3 {
            let mut log = CellLog::open(boot.path(), "s/raw", repetition);
            let long = "x".repeat(60_000);
            (0..100).for_each(|_| log.line(Source::Stdout, &long));
            log.line(Source::Stderr, "the last word");
            assert_eq!(log.last_lines().last().map(String::as_str), Some("the last word"));
            log.close().unwrap();
        }
        let size = boot.path().join("s.raw.log").metadata().unwrap().len();
        assert!(size > MOST - 100_000 && size <= MOST + 100, "{size}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_costs_the_log_only() {
        let mut log = CellLog::open(Path::new("/proc/no/such"), "s/raw", 1);
        log.line(Source::Stdout, "hello");
        assert_eq!(log.last_lines(), ["hello"]);
        assert_eq!(log.close(), None);
    }
}
