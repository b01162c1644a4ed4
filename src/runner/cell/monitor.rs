//! What a script tells while it runs, and what is made of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::log::{CellLog, Source};
use super::site::{Site, setup_of, times};
use crate::guest::protocol::{Stream, WRITING};
use crate::owner::TOLD;
use crate::record::Counters;
use crate::runner::cell::owners::Answers;
use crate::runner::guest::console::clean;
use crate::runner::guest::{ExecEvent, Flow, OutputLine};
use crate::runner::host::daemon::{Daemon, DaemonError};
use crate::runner::host::progress::{Progress, Standing};
use crate::runner::select::plan::PlannedCell;

/// How often the daemon is asked for its counters.
const POLL: Duration = Duration::from_millis(200);

/// How many lines of standard error a reason may quote.
const QUOTED: usize = 3;

/// The longest piece of such a line.
const WIDTH: usize = 300;

/// What a script said.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The label that is open: the set-up's until the script says that it writes.
    pub label: String,
    /// It said that it writes.
    pub wrote: bool,
    /// What it told of owners.
    pub answers: Answers,
    /// Blocks that differ between the legs of a mirror.
    pub divergent: Option<u64>,
    /// What the kernel did wrong.
    pub wrong: Option<String>,
    /// Why it cannot work here.
    pub skip: Option<String>,
    /// What failed first.
    pub error: Option<String>,
    /// The last lines of its standard error.
    pub stderr: VecDeque<String>,
    /// The disk's daemon failed.
    pub failed: Option<DaemonError>,
}

impl Words {
    /// What failed, with the last words of whoever did.
    pub(super) fn what_failed(&self) -> String {
        let said = self.stderr.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        match &self.error {
            Some(error) if said.is_empty() => error.clone(),
            Some(error) => format!("{error}: {said}"),
            None if said.is_empty() => "it gave no reason".to_owned(),
            None => said,
        }
    }
}

/// Hears a script and watches the counters.
pub(super) struct Monitor<'s> {
    daemon: &'s mut Daemon,
    progress: &'s dyn Progress,
    interrupted: &'s AtomicBool,
    log: &'s mut CellLog,
    /// So many races are enough.
    enough: Option<u64>,
    before: Standing,
    time: Duration,
    writing: Option<Instant>,
    written_as: String,
    polled: Instant,
    words: Words,
}

impl<'s> Monitor<'s> {
    pub(super) fn new(
        site: &'s mut Site<'_>,
        cell: &PlannedCell,
        label: &str,
        before: &Counters,
        log: &'s mut CellLog,
    ) -> Monitor<'s> {
        Monitor {
            daemon: site.daemon,
            progress: site.progress,
            interrupted: site.interrupted,
            log,
            enough: cell.enough_races(),
            before: standing(before, Duration::ZERO),
            time: Duration::from_secs(times(cell, site.seconds, site.timeout).1.into()),
            writing: None,
            written_as: label.to_owned(),
            polled: Instant::now(),
            words: Words { label: setup_of(label), ..Words::default() },
        }
    }

    /// Everything that was said.
    pub(super) fn close(self) -> Words {
        Words { wrote: self.writing.is_some(), ..self.words }
    }

    pub(super) fn hear(&mut self, event: ExecEvent) -> Flow {
        let flow = match event {
            ExecEvent::Line(line) => self.line(&line),
            ExecEvent::Tick => Flow::GoOn,
        };
        if self.words.failed.is_some() {
            return Flow::Abandon;
        }
        if flow == Flow::GoOn && self.polled.elapsed() >= POLL {
            self.polled = Instant::now();
            return self.poll();
        }
        flow
    }

    fn line(&mut self, line: &OutputLine) -> Flow {
        let text = line.text.as_str();
        match line.stream {
            Stream::Stdout => self.log.line(Source::Stdout, text),
            Stream::Stderr => self.complaint(text),
            Stream::Told if text.starts_with(TOLD) => self.owners(text),
            Stream::Told => return self.told(text),
        }
        Flow::GoOn
    }

    fn complaint(&mut self, text: &str) {
        self.log.line(Source::Stderr, text);
        if text.trim().is_empty() {
            return;
        }
        if self.words.stderr.len() >= QUOTED {
            self.words.stderr.pop_front();
        }
        self.words.stderr.push_back(clean(text).chars().take(WIDTH).collect());
    }

    /// The words of lib.sh.
    fn told(&mut self, text: &str) -> Flow {
        self.log.line(Source::Told, text);
        if text == WRITING {
            self.writing_begins();
            return Flow::Heard;
        }
        let Some(words) = text.strip_prefix("dixtrap: ") else { return Flow::GoOn };
        let said = |what: &str| words.strip_prefix(what).map(clean);
        let first = |known: &mut Option<String>, said: Option<String>| {
            if known.is_none() {
                *known = said;
            }
        };
        first(&mut self.words.skip, said("skip: "));
        first(&mut self.words.error, said("error: "));
        first(&mut self.words.wrong, said("fail: "));
        self.words.divergent = divergent(words).or(self.words.divergent);
        Flow::GoOn
    }

    /// What came before (mkfs and mount, through a page cache that knows no stable pages) is neither
    /// the cell's evidence nor its fault: from here on the blocks count under the cell's own label.
    fn writing_begins(&mut self) {
        if self.writing.replace(Instant::now()).is_some() {
            return;
        }
        let (setup, label) = (self.words.label.clone(), self.written_as.clone());
        if self.keep(|daemon| daemon.end(&setup)).is_some()
            && self.keep(|daemon| daemon.begin(&label)).is_some()
            && let Some(stats) = self.keep(Daemon::stats)
        {
            self.before = standing(&stats.counters, Duration::ZERO);
            self.words.label = label;
        }
    }

    /// The words of the helper, at the end.
    fn owners(&mut self, text: &str) {
        let mut answers = std::mem::take(&mut self.words.answers);
        answers.hear(text, || self.keep(Daemon::stats).map(|stats| stats.t_us));
        self.words.answers = answers;
    }

    fn poll(&mut self) -> Flow {
        let Some(stats) = self.keep(Daemon::stats) else { return Flow::Abandon };
        let left =
            self.writing.map_or(self.time, |since| self.time.saturating_sub(since.elapsed()));
        let now = standing(&stats.counters, left);
        let seen = Standing {
            blocks: now.blocks.saturating_sub(self.before.blocks),
            races: now.races.saturating_sub(self.before.races),
            left,
        };
        self.progress.update(seen);
        // What the set-up raced is no evidence, and no reason to end.
        let enough =
            self.writing.is_some() && self.enough.is_some_and(|enough| seen.races >= enough);
        if enough || self.interrupted.load(Ordering::Relaxed) {
            Flow::Terminate
        } else {
            Flow::GoOn
        }
    }

    /// Asks the daemon; the first failure is kept.
    fn keep<T>(&mut self, ask: impl FnOnce(&mut Daemon) -> Result<T, DaemonError>) -> Option<T> {
        ask(self.daemon).map_err(|error| self.words.failed = Some(error)).ok()
    }
}

/// The count in `divergent 3 of 8192`, the words of `dixtrap-guest compare`.
fn divergent(words: &str) -> Option<u64> {
    words.strip_prefix("divergent ")?.split_once(" of ")?.0.parse().ok()
}

fn standing(counters: &Counters, left: Duration) -> Standing {
    let races = counters.races.seen_by_hardware();
    Standing { blocks: counters.blocks_checked, races, left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_helper_are_understood() {
        use crate::guest::mirror::Comparison;
        let seen = Comparison { blocks: 8192, divergent: 3, ..Comparison::default() };
        let words = seen.words();
        let said = words.trim_end().strip_prefix("dixtrap: ").unwrap();
        assert_eq!(divergent(said), Some(3));
        assert_eq!(divergent("divergence of opinions"), None);
    }
}
