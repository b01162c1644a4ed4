//! Processes that programs leave behind: they fall to the agent, which ends them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// How long the orphans may take to die.
const DYING: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// How many names are kept.
const NAMED: usize = 32;

/// The agent's own children, and whether those of others fall to it.
#[derive(Debug, Default)]
pub struct Orphans {
    takes_them: bool,
    own: Mutex<BTreeSet<i32>>,
}

impl Orphans {
    /// From now on whatever a program leaves behind, in whatever session, becomes our child.
    ///
    /// # Errors
    /// The system's.
    pub fn take() -> io::Result<Orphans> {
        set_child_subreaper(true)?;
        Ok(Orphans { takes_them: true, own: Mutex::default() })
    }

    /// Starts a program that is nobody's orphan.
    ///
    /// # Errors
    /// That of `start`.
    pub fn start(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        // Locked over the start: an unknown child would be taken for an orphan.
        let mut own = self.own();
        let child = start()?;
        own.extend(i32::try_from(child.id()));
        Ok(child)
    }

    /// The program has ended and was waited for.
    pub fn forget(&self, child: &Child) {
        if let Ok(id) = i32::try_from(child.id()) {
            self.own().remove(&id);
        }
    }

    /// Kills every orphan, and tells the names of those that still lived.
    pub fn end(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        let started = Instant::now();
        while self.takes_them && started.elapsed() < DYING {
            let found = self.find();
            if found.is_empty() {
                break;
            }
            for orphan in found {
                // One that has died meanwhile needs neither.
                let _ = kill(orphan.id, Signal::SIGKILL);
                let _ = waitpid(orphan.id, Some(WaitPidFlag::WNOHANG));
                if !orphan.dead && names.len() < NAMED {
                    names.insert(orphan.name);
                }
            }
            // The children of one that dies are the next round's.
            thread::sleep(LOOK);
        }
        names.into_iter().collect()
    }

    /// Our children that we did not start.
    fn find(&self) -> Vec<Process> {
        let own = self.own();
        let us = i32::try_from(std::process::id()).unwrap_or(0);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let read = |id| Process::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?);
        let ours = |process: &Process| process.parent == us && !own.contains(&process.id.as_raw());
        ids.filter_map(read).filter(ours).collect()
    }

    fn own(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: Pid,
    name: String,
    dead: bool,
    parent: i32,
}

impl Process {
    /// Reads a line of `/proc/PID/stat` (proc(5)); a name may hold anything, parentheses too.
    fn parse(stat: &str) -> Option<Process> {
        let (before, after) = stat.rsplit_once(") ")?;
        let (id, name) = before.split_once(" (")?;
        let mut fields = after.split(' ');
        let dead = fields.next()? == "Z";
        let parent = fields.next()?.parse().ok()?;
        Some(Process { id: Pid::from_raw(id.parse().ok()?), name: name.to_owned(), dead, parent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let read = |stat| Process::parse(stat).map(|p| (p.id.as_raw(), p.name, p.dead, p.parent));
        assert_eq!(read("7 (a) b) S 12 7 7 0"), Some((7, "a) b".to_owned(), false, 12)));
        assert_eq!(read("8 (fio) Z 1 7"), Some((8, "fio".to_owned(), true, 1)));
        assert_eq!(read("7"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn one_that_takes_no_orphans_kills_nobody() {
        let orphans = Orphans::default();
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(orphans.end().is_empty());
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
