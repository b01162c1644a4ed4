//! One cell on a running guest: label it, run its script, watch the counters, and tell what was seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::guest::protocol::ExitStatus;
use crate::record::Counters;
use crate::runner::daemon::{Daemon, DaemonError};
use crate::runner::guest::{Exec, ExecEvent, Flow, Guest, GuestError};
use crate::runner::owners::Answers;
use crate::runner::plan::PlannedCell;
use crate::runner::progress::{Progress, Standing};
use crate::verdict::Expect;

/// Where scripts lie in the guest.
pub const SCRIPTS: &str = "/dixtrap";
/// Where a user's own scripts lie in the guest: their names may be those of ours.
pub const OWN_SCRIPTS: &str = "/dixtrap/own";
/// The status of a script that cannot do its work here.
const SKIPPED: i32 = 77;
/// How long a script may take beyond its writing time: mkfs, mount, unmount, under TCG.
const OVERHEAD: Duration = Duration::from_secs(120);
/// How many times longer a scenario may write that is expected to race and has not yet: it ends at
/// its first race, so that only a rare race, or a missing one, costs the time.
const PATIENCE: u32 = 4;
/// How often the daemon is asked for its counters.
const POLL: Duration = Duration::from_millis(200);

/// What every cell of a boot runs with.
#[derive(Debug)]
pub struct Site<'a> {
    /// The disk.
    pub daemon: &'a mut Daemon,
    /// Who listens.
    pub progress: &'a dyn Progress,
    /// The user wants an end.
    pub interrupted: &'a AtomicBool,
    /// The disk's path in the guest.
    pub disk: &'a str,
    /// How long a scenario writes.
    pub seconds: u32,
    /// How long a cell may take in all, where that was asked for.
    pub timeout: Option<Duration>,
}

/// One run of a cell.
#[derive(Debug)]
pub struct Ran {
    /// The label of its records.
    pub label: String,
    /// What the daemon counted.
    pub counters: Counters,
    /// Blocks that differ between the legs of a mirror, where the script compared some.
    pub divergent: Option<u64>,
    /// What the kernel did wrong, in the script's words.
    pub wrong: Option<String>,
    /// What the guest told of owners.
    pub answers: Answers,
    /// How it ended.
    pub end: End,
}

/// How a run of a cell ended.
#[derive(Debug)]
pub enum End {
    /// The script did its work.
    Done,
    /// The script cannot do its work here, and said why.
    Skipped(String),
    /// The script failed.
    Trouble(String),
    /// The script did not end in time; the guest may be at fault, and is not to be trusted.
    Hung(String),
    /// The guest is lost; no other cell can run on it.
    GuestLost(GuestError),
}

/// Runs `cell` once. Only the daemon's failure is an error: without it nothing was seen.
pub fn run_once(
    site: &mut Site<'_>,
    guest: &mut Guest,
    cell: &PlannedCell,
    repetition: u32,
) -> Result<Ran, DaemonError> {
    let label = format!("{}#{repetition}", cell.square.name());
    let before = site.daemon.stats()?.counters;
    site.daemon.begin(&setup_of(&label))?;
    for fault in &cell.square.scenario.faults {
        site.daemon.inject(fault)?;
    }
    let (limit, seconds) = times(cell, site.seconds, site.timeout);
    let exec = script(cell, site.disk, seconds, limit);
    let mut heard = Heard::new(site, cell, &label, &before);
    let result = guest.exec_watched(&exec, &mut |event| heard.hear(event));
    let (failed, label, answers) = (heard.failed, heard.label, heard.answers);
    let (divergent, wrong) = (heard.divergent, heard.wrong);
    let end = match result {
        Ok(result) => end_of_script(result.status, limit, heard.skip, heard.error),
        Err(error) => End::GuestLost(error),
    };
    if let Some(error) = failed {
        return Err(error);
    }
    let counters = site.daemon.end(&label)?;
    Ok(Ran { label, counters, divergent, wrong, answers, end })
}

/// The label of a cell's set-up.
fn setup_of(label: &str) -> String {
    format!("{label}/setup")
}

/// How long the cell may take in all, and how many seconds of that it may write.
fn times(cell: &PlannedCell, asked: u32, limit: Option<Duration>) -> (Duration, u32) {
    let patient = match cell.expectation.expect {
        Expect::Race => asked.saturating_mul(PATIENCE),
        Expect::Stable | Expect::Survey => asked,
    };
    match limit {
        None => (OVERHEAD.saturating_add(Duration::from_secs(patient.into())), patient),
        // Patience ends early enough to leave half of the time for everything else.
        Some(limit) => {
            let half = u32::try_from(limit.as_secs() / 2).unwrap_or(u32::MAX);
            (limit, patient.min(half.max(asked)))
        }
    }
}

/// The script's command line and environment.
fn script(cell: &PlannedCell, disk: &str, seconds: u32, limit: Duration) -> Exec {
    let square = &cell.square;
    let folder = if square.scenario.own { OWN_SCRIPTS } else { SCRIPTS };
    let path = format!("{folder}/{}.sh", square.scenario.name);
    let stable = square.stable_writes.map_or_else(String::new, |stable| stable.to_string());
    let env = [
        ("DIXTRAP_LIB", SCRIPTS.to_owned()),
        ("DIXTRAP_DEV", disk.to_owned()),
        ("DIXTRAP_FS", square.fs.name.clone()),
        ("DIXTRAP_STABLE", stable),
        ("DIXTRAP_SECONDS", seconds.to_string()),
        ("DIXTRAP_OWNERS", disk.to_owned()),
    ];
    Exec {
        argv: vec!["sh".to_owned(), path, disk.to_owned()],
        env: env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        timeout: limit,
    }
}

fn end_of_script(
    status: ExitStatus,
    limit: Duration,
    skip: Option<String>,
    error: Option<String>,
) -> End {
    let within = format!("within {} s; --timeout gives a cell more", limit.as_secs());
    let said = || error.unwrap_or_else(|| "it gave no reason".to_owned());
    match status {
        ExitStatus::Code(0) => End::Done,
        ExitStatus::Code(SKIPPED) => {
            End::Skipped(skip.unwrap_or_else(|| "the script gave no reason".to_owned()))
        }
        ExitStatus::Code(code) => End::Trouble(format!("the script failed ({code}): {}", said())),
        ExitStatus::Signal(signal) => {
            End::Trouble(format!("the script died of signal {signal}: {}", said()))
        }
        ExitStatus::TimedOut { stuck: false } => {
            End::Hung(format!("the script was killed: it did not end {within}"))
        }
        ExitStatus::TimedOut { stuck: true } => {
            End::Hung(format!("the script hangs inside the guest kernel: it did not end {within}"))
        }
    }
}

/// What is heard while a script runs.
struct Heard<'s> {
    daemon: &'s mut Daemon,
    progress: &'s dyn Progress,
    interrupted: &'s AtomicBool,
    /// One race is enough.
    stop_at_first: bool,
    before: Standing,
    time: Duration,
    writing: Option<Instant>,
    /// The label that is open: the set-up's until the script says that it writes.
    label: String,
    written_as: String,
    answers: Answers,
    polled: Instant,
    divergent: Option<u64>,
    wrong: Option<String>,
    skip: Option<String>,
    error: Option<String>,
    failed: Option<DaemonError>,
}

impl<'s> Heard<'s> {
    fn new(
        site: &'s mut Site<'_>,
        cell: &PlannedCell,
        label: &str,
        before: &Counters,
    ) -> Heard<'s> {
        Heard {
            daemon: site.daemon,
            progress: site.progress,
            interrupted: site.interrupted,
            stop_at_first: cell.expectation.expect == Expect::Race,
            before: standing(before, Duration::ZERO),
            time: Duration::from_secs(times(cell, site.seconds, site.timeout).1.into()),
            writing: None,
            label: setup_of(label),
            written_as: label.to_owned(),
            answers: Answers::default(),
            polled: Instant::now(),
            divergent: None,
            wrong: None,
            skip: None,
            error: None,
            failed: None,
        }
    }

    fn hear(&mut self, event: ExecEvent) -> Flow {
        if let ExecEvent::Line(line) = event {
            self.line(&line.text);
        }
        if self.failed.is_some() {
            return Flow::Abandon;
        }
        if self.polled.elapsed() >= POLL {
            self.polled = Instant::now();
            return self.poll();
        }
        Flow::GoOn
    }

    /// The words of lib.sh.
    fn line(&mut self, text: &str) {
        log::debug!("guest: {text}");
        match text.strip_prefix("dixtrap: ") {
            Some("writing") => self.writing_begins(),
            Some(rest) => match (rest.strip_prefix("skip: "), rest.strip_prefix("error: ")) {
                (Some(reason), _) => self.skip = Some(reason.to_owned()),
                (_, Some(reason)) => self.error = Some(reason.to_owned()),
                _ => match rest.strip_prefix("fail: ") {
                    Some(what) => self.wrong = Some(what.to_owned()),
                    None => self.divergent = divergent(rest).or(self.divergent),
                },
            },
            None => self.owners(text),
        }
    }

    /// What came before (mkfs and mount, through a page cache that knows no stable pages) is neither
    /// the cell's evidence nor its fault: from here on the blocks count under the cell's own label.
    fn writing_begins(&mut self) {
        if self.writing.replace(Instant::now()).is_some() {
            return;
        }
        let (setup, label) = (self.label.clone(), self.written_as.clone());
        if self.keep(|daemon| daemon.end(&setup)).is_some()
            && self.keep(|daemon| daemon.begin(&label)).is_some()
            && let Some(stats) = self.keep(Daemon::stats)
        {
            self.before = standing(&stats.counters, Duration::ZERO);
            self.label = label;
        }
    }

    /// The words of the helper, at the end.
    fn owners(&mut self, text: &str) {
        let mut answers = std::mem::take(&mut self.answers);
        answers.hear(text, || self.keep(Daemon::stats).map(|stats| stats.t_us));
        self.answers = answers;
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
        let enough = self.stop_at_first && seen.races > 0;
        if enough || self.interrupted.load(Ordering::Relaxed) {
            Flow::Terminate
        } else {
            Flow::GoOn
        }
    }

    /// Asks the daemon; the first failure is kept.
    fn keep<T>(&mut self, ask: impl FnOnce(&mut Daemon) -> Result<T, DaemonError>) -> Option<T> {
        ask(self.daemon).map_err(|error| self.failed = Some(error)).ok()
    }
}

/// The count in `divergent 3 of 8192`, the words of `dixtrap-guest compare`.
fn divergent(words: &str) -> Option<u64> {
    words.strip_prefix("divergent ")?.split_once(" of ")?.0.parse().ok()
}

fn standing(counters: &Counters, left: Duration) -> Standing {
    let races = counters.races.before_doorbell.saturating_add(counters.races.in_window);
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

    #[test]
    fn a_scripts_status_becomes_its_end() {
        let some = |text: &str| Some(text.to_owned());
        let limit = Duration::from_secs(77);
        let end = |status| end_of_script(status, limit, some("no mkfs"), some("mount failed"));
        assert!(matches!(end(ExitStatus::Code(0)), End::Done));
        assert!(matches!(end(ExitStatus::Code(77)), End::Skipped(why) if why == "no mkfs"));
        for (status, words) in [
            (ExitStatus::Code(1), "failed (1): mount failed"),
            (ExitStatus::Signal(9), "signal 9: mount failed"),
        ] {
            let End::Trouble(why) = end(status) else { panic!("{status:?}") };
            assert!(why.contains(words), "{why}");
        }
        for stuck in [false, true] {
            let End::Hung(why) = end(ExitStatus::TimedOut { stuck }) else { panic!("{stuck}") };
            assert!(why.contains("within 77 s; --timeout"), "{why}");
        }
    }
}
