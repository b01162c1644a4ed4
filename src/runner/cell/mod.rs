//! One cell on a running guest: label it, run its script, watch the counters, and tell what was seen.

mod end;
pub mod judge;
mod knob;
mod log;
mod monitor;
pub mod owners;
pub mod result;
pub mod runs;
mod site;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::guest::protocol::ExitStatus;
use crate::record::Counters;
use crate::runner::cell::owners::Answers;
use crate::runner::guest::files::{SCRIPTS, script_folder};
use crate::runner::guest::notes::Notes;
use crate::runner::guest::{Exec, Guest};
use crate::runner::host::daemon::DaemonError;
use crate::runner::select::plan::PlannedCell;
use crate::runner::select::scenario::Scenario;
use crate::verdict::StableWrites;
use monitor::{Monitor, Words};
use site::{setup_of, times};

pub use end::End;
use knob::{KNOB, Knob};
use log::{CellLog, Source};
pub use site::Site;

/// Runs the script $2 of the folder $1 on the disk $3, where everything else of the user's is put away
/// after the cell too.
const RUN_COPY: &str = "cp -R \"$1\" /tmp/own && cd /tmp/own && exec sh \"./$2\" \"$3\"";
/// The status of a script that cannot do its work here.
const SKIPPED: i32 = 77;
/// A shell's status for a program that it does not find.
const NOT_FOUND: i32 = 127;
/// One run of a cell.
#[derive(Debug)]
pub struct CellRun {
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
    /// Where what it printed is kept, seen from the directory of all boots.
    pub log: Option<String>,
    /// How that ended.
    pub last_lines: Vec<String>,
    /// The knob as it was while it wrote; `None` where there is none, or it changed meanwhile.
    pub ran_with: Option<StableWrites>,
    /// Why no other cell can run on this guest.
    pub unfit: Option<String>,
    /// What the kernel said of itself meanwhile and went on after.
    pub notes: Notes,
    /// How it ended.
    pub end: End,
}

/// Runs `cell` once. Only the daemon's failure is an error: without it nothing was seen.
pub fn run_once(
    site: &mut Site<'_>,
    guest: &mut Guest,
    cell: &PlannedCell,
    repetition: u32,
) -> Result<CellRun, DaemonError> {
    let label = format!("{}#{repetition}", cell.spec.name());
    let before = site.daemon.stats()?;
    if before.window != site.window {
        site.daemon.set_window(site.window)?;
    }
    site.daemon.begin(&setup_of(&label))?;
    for fault in &cell.faults {
        site.daemon.inject(fault)?;
    }
    let (limit, seconds) = times(cell, site.seconds, site.timeout);
    let exec = script(cell, site.disk, seconds, limit);
    let mut log = CellLog::open(site.directory, &cell.spec.name(), repetition);
    let mut monitor = Monitor::new(site, cell, &label, &before.counters, &mut log);
    let result = guest.exec_watched(&exec, &mut |event| monitor.hear(event));
    let heard = monitor.close();
    if let Some(error) = heard.failed {
        return Err(error);
    }
    let counters = site.daemon.end(&heard.label)?;
    let (end, ran_with) = match &result {
        Ok(result) => {
            left_behind(&mut log, &result.left_behind);
            let knob = Knob::of(&result.watched);
            let end = end_of_script(result.status, limit, &heard);
            (knob.check(cell.spec.stable_writes, end), knob.value())
        }
        Err(_) => (End::Done, None),
    };
    let end = result.err().map_or(end, End::GuestLost);
    log.line(Source::Dixtrap, &end.words());
    for fault in site.daemon.disarm()? {
        log.line(Source::Dixtrap, &format!("this fault never happened: {fault}"));
    }
    let (end, unfit) = put_back(site, guest, &mut log, end);
    let notes = guest.take_notes();
    for note in notes.lines() {
        log.line(Source::Dixtrap, &format!("the kernel says: {note}"));
    }
    Ok(CellRun {
        label: heard.label,
        counters,
        divergent: heard.divergent,
        wrong: heard.wrong,
        answers: heard.answers,
        last_lines: log.last_lines(),
        log: log.close(),
        ran_with,
        unfit,
        notes,
        end,
    })
}

fn left_behind(log: &mut CellLog, names: &[String]) {
    for name in names {
        log.line(Source::Dixtrap, &format!("left behind, and killed: {name}"));
    }
}

/// Puts the guest back to its beginning, unless it is lost already. One that has come to harm meanwhile
/// did so in this cell; one where something stays has only this cell to show for it.
fn put_back(
    site: &Site<'_>,
    guest: &mut Guest,
    log: &mut CellLog,
    end: End,
) -> (End, Option<String>) {
    if matches!(end, End::Hung(_) | End::GuestLost(_)) {
        return (end, None);
    }
    let swept = match guest.reset(site.disk) {
        Ok(swept) => swept,
        Err(error) => return (End::GuestLost(error), None),
    };
    for what in &swept.undone {
        log.line(Source::Dixtrap, &format!("left behind, and taken away: {what}"));
    }
    for what in &swept.left {
        log.line(Source::Dixtrap, &format!("left behind, and still there: {what}"));
    }
    let first = swept.left.first();
    (end, first.map(|what| format!("an earlier cell left something behind: {what}")))
}

/// The script's command line and environment.
fn script(cell: &PlannedCell, disk: &str, seconds: u32, limit: Duration) -> Exec {
    let spec = &cell.spec;
    let stable = spec.stable_writes.map_or_else(String::new, |stable| stable.to_string());
    let env = [
        ("DIXTRAP_LIB", SCRIPTS.to_owned()),
        ("DIXTRAP_DEV", disk.to_owned()),
        ("DIXTRAP_FS", spec.fs.name.clone()),
        ("DIXTRAP_STABLE", stable),
        ("DIXTRAP_SECONDS", seconds.to_string()),
        ("DIXTRAP_OWNERS", disk.to_owned()),
    ];
    Exec {
        argv: words_of(&spec.scenario, disk),
        env: env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        timeout: limit,
        watch: disk.rsplit('/').next().map(|name| format!("/sys/class/block/{name}/{KNOB}")),
    }
}

/// The command that runs a script. A user's own runs in a copy of its folder, in which it may do what it
/// likes: the next cell gets another one.
fn words_of(scenario: &Scenario, disk: &str) -> Vec<String> {
    let folder = script_folder(scenario);
    let script = format!("{}.sh", scenario.name);
    if !scenario.own {
        return vec!["sh".to_owned(), format!("{folder}/{script}"), disk.to_owned()];
    }
    ["sh", "-c", RUN_COPY, "sh", &folder, &script, disk].map(str::to_owned).to_vec()
}

fn end_of_script(status: ExitStatus, limit: Duration, words: &Words) -> End {
    let within = format!("within {} s; --timeout gives a cell more", limit.as_secs());
    let trouble = |what: &str| End::Trouble(format!("{what}: {}", words.what_failed()));
    match status {
        ExitStatus::Code(0) => end_of_success(words),
        ExitStatus::Code(SKIPPED) => words.skip.clone().map_or_else(
            // A command of that status is no reason to skip anything.
            || trouble("the script failed (77, and gave no reason to skip it)"),
            End::Skipped,
        ),
        ExitStatus::Code(NOT_FOUND) => End::Broken(format!(
            "the script failed (127), as it calls a program that is not in the guest (name it in its '# needs:'): {}",
            words.what_failed()
        )),
        ExitStatus::Code(code) => trouble(&format!("the script failed ({code})")),
        ExitStatus::Signal(signal) => trouble(&format!("the script died of signal {signal}")),
        ExitStatus::TimedOut { stuck: false } => {
            End::Hung(format!("the script was killed: it did not end {within}"))
        }
        ExitStatus::TimedOut { stuck: true } => {
            End::Hung(format!("the script hangs inside the guest kernel: it did not end {within}"))
        }
    }
}

/// A script that exits with 0 may have lost a part of its work on the way, in the background.
fn end_of_success(words: &Words) -> End {
    if words.error.is_some() {
        End::Trouble(format!("the script went on after a failure: {}", words.what_failed()))
    } else if let Some(reason) = &words.skip {
        End::Trouble(format!("a part of the script cannot work here: {reason}"))
    } else if !words.wrote {
        End::Trouble(
            "the script never said that it writes ('say writing', or work), so nothing that was written counts"
                .to_owned(),
        )
    } else {
        End::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let stderr = ["mount: wrong fs type", "mount failed"].map(str::to_owned).into();
        Words { wrote: true, stderr, ..Words::default() }
    }

    const LIMIT: Duration = Duration::from_secs(77);

    fn trouble(status: ExitStatus, words: &Words) -> String {
        let End::Trouble(why) = end_of_script(status, LIMIT, words) else { panic!("{status:?}") };
        why
    }

    #[test]
    fn a_scripts_status_becomes_its_end() {
        let skips = Words { skip: Some("no mkfs".to_owned()), ..words() };
        assert!(matches!(end_of_script(ExitStatus::Code(0), LIMIT, &words()), End::Done));
        let end = end_of_script(ExitStatus::Code(77), LIMIT, &skips);
        assert!(matches!(end, End::Skipped(why) if why == "no mkfs"));
        let failed = Words { error: Some("cannot mount".to_owned()), ..words() };
        for (status, words, said) in [
            (ExitStatus::Code(1), &failed, "(1): cannot mount: mount: wrong fs type; mount failed"),
            (ExitStatus::Signal(9), &words(), "signal 9: mount: wrong fs type; mount failed"),
            (ExitStatus::Code(3), &Words::default(), "(3): it gave no reason"),
            (ExitStatus::Code(77), &words(), "gave no reason to skip it"),
        ] {
            let why = trouble(status, words);
            assert!(why.contains(said), "{why}");
        }
        let end = end_of_script(ExitStatus::Code(127), LIMIT, &words());
        assert!(matches!(end, End::Broken(why) if why.contains("'# needs:'): mount: wrong fs")));
        for stuck in [false, true] {
            let end = end_of_script(ExitStatus::TimedOut { stuck }, LIMIT, &words());
            let End::Hung(why) = end else { panic!("{stuck}") };
            assert!(why.contains("within 77 s; --timeout"), "{why}");
        }
    }

    #[test]
    fn a_script_that_lost_a_part_of_its_work_did_not_do_it() {
        let well = ExitStatus::Code(0);
        let failed = Words { error: Some("the writer 'mmap' failed".to_owned()), ..words() };
        assert!(
            trouble(well, &failed).contains("went on after a failure: the writer 'mmap' failed")
        );
        let skips = Words { skip: Some("no io_uring".to_owned()), ..words() };
        assert!(trouble(well, &skips).contains("no io_uring"));
        let silent = Words { wrote: false, ..words() };
        assert!(trouble(well, &silent).contains("'say writing'"));
    }
}
