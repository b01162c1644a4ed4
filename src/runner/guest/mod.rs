//! A running guest: boots it, asks its agent, and notices when it is lost.

mod boot;
pub mod console;
pub mod cries;
pub mod early;
mod error;
pub mod exec;
pub mod facts;
pub mod files;
pub mod initramfs;
pub mod link;
pub mod notes;
pub mod probe;
mod taint;
mod talk;

pub use boot::{BootRequest, boot};
pub use error::{BootError, GuestError};
pub use exec::{Exec, ExecEvent, ExecResult, Flow, OutputLine};

pub use crate::runner::host::blame::Blame;

use std::time::Duration;

use crate::guest::protocol::{Reply, Request};
use crate::runner::guest::console::ConsoleTail;
use crate::runner::guest::notes::Notes;
use taint::{harm, scars};
use talk::{Call, Talk};

/// How long a request is given beyond the time that it asked for itself: the agent's replies travel
/// through a guest that may be busy.
const GRACE: Duration = Duration::from_secs(30);

/// How long the guest may take to be put back: everything that is still to be written is written then.
const RESET_LIMIT: Duration = Duration::from_secs(120);

/// What came of putting a guest back to its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// What was not as it had been, and is again.
    pub undone: Vec<String>,
    /// What could not be put back, and why.
    pub left: Vec<String>,
}

/// A guest that runs. Dropped, it is killed.
///
/// QEMU also dies with the thread that booted the guest: keep that thread.
#[derive(Debug)]
pub struct Guest {
    talk: Talk,
    release: String,
    drivers: Vec<String>,
    missing_wishes: Vec<String>,
    boot_timeout: Duration,
    /// Why its kernel could not be trusted when it was last asked.
    taint: u64,
}

impl Guest {
    /// The running kernel's `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The drivers that the kernel has, as its agent saw them.
    pub fn drivers(&self) -> &[String] {
        &self.drivers
    }

    /// The wished drivers that the kernel's modules do not have.
    pub fn missing_wishes(&self) -> &[String] {
        &self.missing_wishes
    }

    /// The console's last lines.
    pub fn console_tail(&self) -> ConsoleTail {
        self.talk.console.tail()
    }

    /// QEMU's process id.
    pub fn qemu_id(&mut self) -> u32 {
        self.talk.qemu.process().id()
    }

    /// Runs a program and hands each line to `output` as it comes. That the program fails is a
    /// result, not an error.
    ///
    /// # Errors
    /// [`GuestError::Refused`] where it cannot be started; the others when the guest is lost.
    pub fn exec(
        &mut self,
        exec: &Exec,
        output: &mut dyn FnMut(OutputLine),
    ) -> Result<ExecResult, GuestError> {
        self.exec_watched(exec, &mut |event| {
            if let ExecEvent::Line(line) = event {
                output(line);
            }
            Flow::GoOn
        })
    }

    /// As [`Guest::exec`], with a watch that also hears when nothing happens, about ten times a
    /// second, and may ask the program to end: its process group gets one SIGTERM.
    ///
    /// # Errors
    /// As [`Guest::exec`].
    pub fn exec_watched(
        &mut self,
        exec: &Exec,
        watch: &mut dyn FnMut(ExecEvent) -> Flow,
    ) -> Result<ExecResult, GuestError> {
        let timeout_ms = u64::try_from(exec.timeout.as_millis()).unwrap_or(u64::MAX);
        let Exec { argv, env, watch: watched, .. } = exec.clone();
        let request = Request::Exec { argv, env, timeout_ms, watch: watched };
        let mut call = Call::new(&exec.argv.join(" "), exec.timeout.saturating_add(GRACE));
        call.id = self.talk.send(request)?;
        let mut asked_to_end = false;
        loop {
            let event = match self.talk.poll(&call)? {
                None => ExecEvent::Tick,
                Some(Reply::Output { stream, text }) => {
                    ExecEvent::Line(OutputLine { stream, text })
                }
                Some(Reply::Exited { status, elapsed_ms, watched, left_behind }) => {
                    let elapsed = Duration::from_millis(elapsed_ms);
                    return Ok(ExecResult { status, elapsed, watched, left_behind });
                }
                Some(other) => return Err(unexpected(other)),
            };
            match watch(event) {
                Flow::Heard => {
                    self.talk.send(Request::Heard { exec: call.id })?;
                }
                Flow::Terminate if !asked_to_end => {
                    self.talk.send(Request::Terminate { exec: call.id })?;
                    asked_to_end = true;
                }
                Flow::Abandon => return Err(GuestError::Abandoned),
                Flow::GoOn | Flow::Terminate => {}
            }
        }
    }

    /// Puts the guest back to the state that it was in when this was first called. Nothing runs in it then.
    ///
    /// # Errors
    /// When the guest is lost, does not come back in time, or its kernel has come to harm.
    pub fn reset(&mut self, disk: &str) -> Result<Swept, GuestError> {
        let request = Request::Reset { disk: disk.to_owned() };
        let (swept, taint) = match self.talk.ask("put everything back", request, RESET_LIMIT)? {
            Reply::Reset { undone, left, taint } => (Swept { undone, left }, taint),
            other => return Err(unexpected(other)),
        };
        let new = taint & !self.taint;
        self.taint = taint;
        if let Some(why) = harm(new) {
            return Err(GuestError::Tainted { why, console: self.talk.console.tail() });
        }
        self.talk.notes_of_console();
        scars(new).for_each(|scar| self.talk.notes.add(scar));
        Ok(swept)
    }

    /// What the kernel said of itself and went on after, since this was last taken.
    pub fn take_notes(&mut self) -> Notes {
        self.talk.notes_of_console();
        std::mem::take(&mut self.talk.notes)
    }

    /// A file's contents; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`GuestError::Refused`] where it cannot be read; the others when the guest is lost.
    pub fn read_file(&mut self, path: &str) -> Result<String, GuestError> {
        let request = Request::ReadFile { path: path.to_owned() };
        match self.talk.ask(&format!("read {path}"), request, GRACE)? {
            Reply::File { text } => Ok(text),
            other => Err(unexpected(other)),
        }
    }

    /// Powers the guest off and waits for QEMU's end.
    ///
    /// # Errors
    /// When the guest is lost, or does not end in time.
    pub fn power_off(&mut self) -> Result<(), GuestError> {
        self.talk.send(Request::PowerOff)?;
        let status = self.talk.qemu.process().wait_at_most(GRACE)?;
        self.talk.console.look()?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.talk.ended(status)?),
            None => Err(self.talk.timed_out("power off", GRACE)),
        }
    }

    /// Restarts the guest inside the same QEMU and waits for its agent. Only for a guest that was
    /// booted with `allow_reboot`: any other ends.
    ///
    /// # Errors
    /// When the guest is lost, or does not come back in time.
    pub fn reboot(&mut self) -> Result<(), GuestError> {
        match self.talk.ask("reboot", Request::Reboot, GRACE)? {
            Reply::Done => {
                self.taint = 0;
                self.hello(self.boot_timeout)
            }
            other => Err(unexpected(other)),
        }
    }

    /// Waits for the agent to introduce itself.
    fn hello(&mut self, limit: Duration) -> Result<(), GuestError> {
        let mut call = Call::new("hello", limit);
        // The agent of a guest that is about to restart may swallow the question: ask again.
        let ask_again = Duration::from_secs(5);
        loop {
            call.id = self.talk.send(Request::Hello)?;
            let mut turn = Call::new("hello", ask_again.min(call.left()));
            turn.id = call.id;
            match self.talk.reply(&turn) {
                Ok(Reply::Hello { release, drivers }) => {
                    (self.release, self.drivers) = (release, drivers);
                    return Ok(());
                }
                Ok(other) => return Err(unexpected(other)),
                Err(GuestError::TimedOut { .. }) if !call.left().is_zero() => {}
                Err(GuestError::TimedOut { .. }) => {
                    return Err(self.talk.timed_out("hello", limit));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn unexpected(reply: Reply) -> GuestError {
    GuestError::Protocol { line: format!("{reply:?}").chars().take(200).collect() }
}
