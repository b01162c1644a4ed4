//! A running guest: boots it, asks its agent, and notices when it is lost.

mod boot;
pub mod console;
pub mod cries;
pub mod early;
mod error;
pub mod facts;
pub mod files;
pub mod initramfs;
pub mod link;
pub mod notes;
pub mod probe;
mod taint;

pub use boot::{BootRequest, boot};
pub use error::{BootError, GuestError};

pub use crate::runner::host::blame::Blame;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus as ProcessStatus;
use std::time::{Duration, Instant};

use crate::guest::protocol::{Envelope, ExitStatus, Reply, Request, Stream};
use crate::runner::guest::console::{Console, ConsoleTail};
use crate::runner::guest::cries::Trouble;
use crate::runner::guest::link::{Link, Received};
use crate::runner::guest::notes::Notes;
use crate::runner::host::qemu::Qemu;
use taint::{harm, scars};

/// How often the console and QEMU are looked at while a reply is waited for.
const TICK: Duration = Duration::from_millis(100);

/// How long a request is given beyond the time that it asked for itself: the agent's replies travel
/// through a guest that may be busy.
const GRACE: Duration = Duration::from_secs(30);

/// How long the guest may take to be put back: everything that is still to be written is written then.
const RESET_LIMIT: Duration = Duration::from_secs(120);

/// How long a kernel in trouble is given to say the rest.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A program for the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables set on top of the agent's environment.
    pub env: BTreeMap<String, String>,
    /// Its process group is killed after this long.
    pub timeout: Duration,
    /// A file of the guest that is read while the program writes.
    pub watch: Option<String>,
}

/// A line that a program in the guest wrote, or told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Where it was written.
    pub stream: Stream,
    /// The line, without its line feed.
    pub text: String,
}

/// What a watch over a program hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// The program wrote a line.
    Line(OutputLine),
    /// Nothing happened for a while.
    Tick,
}

/// What a watch over a program wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The program goes on.
    GoOn,
    /// The program waits until we have heard that it writes: it goes on.
    Heard,
    /// The program is asked to end.
    Terminate,
    /// Nobody waits for the program any more: its disk is gone, and it may never end.
    Abandon,
}

/// How a program in the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// How.
    pub status: ExitStatus,
    /// How long it ran, by the guest's clock.
    pub elapsed: Duration,
    /// The different first lines of the watched file while it wrote.
    pub watched: Vec<String>,
    /// The processes that it left behind, which were killed.
    pub left_behind: Vec<String>,
}

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
    qemu: Qemu,
    console: Console,
    link: Link,
    release: String,
    drivers: Vec<String>,
    missing_wishes: Vec<String>,
    boot_timeout: Duration,
    /// Why its kernel could not be trusted when it was last asked.
    taint: u64,
    /// What its kernel said of itself since that was last taken.
    notes: Notes,
    /// When the console and QEMU were last looked at.
    looked: Instant,
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
        self.console.tail()
    }

    /// QEMU's process id.
    pub fn qemu_id(&mut self) -> u32 {
        self.qemu.process().id()
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
        call.id = self.link.send(request)?;
        let mut asked_to_end = false;
        loop {
            let event = match self.poll(&call)? {
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
                    self.link.send(Request::Heard { exec: call.id })?;
                }
                Flow::Terminate if !asked_to_end => {
                    self.link.send(Request::Terminate { exec: call.id })?;
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
        let mut call = Call::new("put everything back", RESET_LIMIT);
        call.id = self.link.send(Request::Reset { disk: disk.to_owned() })?;
        let (swept, taint) = match self.reply(&call)? {
            Reply::Reset { undone, left, taint } => (Swept { undone, left }, taint),
            other => return Err(unexpected(other)),
        };
        let new = taint & !self.taint;
        self.taint = taint;
        if let Some(why) = harm(new) {
            return Err(GuestError::Tainted { why, console: self.console.tail() });
        }
        self.notes_of_console();
        scars(new).for_each(|scar| self.notes.add(scar));
        Ok(swept)
    }

    /// What the kernel said of itself and went on after, since this was last taken.
    pub fn take_notes(&mut self) -> Notes {
        self.notes_of_console();
        std::mem::take(&mut self.notes)
    }

    fn notes_of_console(&mut self) {
        // A console that cannot be read has nothing to add, and costs the guest elsewhere.
        let _ = self.console.look();
        self.notes.extend(&self.console.take_notes());
    }

    /// A file's contents; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`GuestError::Refused`] where it cannot be read; the others when the guest is lost.
    pub fn read_file(&mut self, path: &str) -> Result<String, GuestError> {
        let mut call = Call::new(&format!("read {path}"), GRACE);
        call.id = self.link.send(Request::ReadFile { path: path.to_owned() })?;
        match self.reply(&call)? {
            Reply::File { text } => Ok(text),
            other => Err(unexpected(other)),
        }
    }

    /// Powers the guest off and waits for QEMU's end.
    ///
    /// # Errors
    /// When the guest is lost, or does not end in time.
    pub fn power_off(&mut self) -> Result<(), GuestError> {
        self.link.send(Request::PowerOff)?;
        let status = self.qemu.process().wait_at_most(GRACE)?;
        self.console.look()?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.ended(status)?),
            None => Err(self.timed_out("power off", GRACE)),
        }
    }

    /// Restarts the guest inside the same QEMU and waits for its agent. Only for a guest that was
    /// booted with `allow_reboot`: any other ends.
    ///
    /// # Errors
    /// When the guest is lost, or does not come back in time.
    pub fn reboot(&mut self) -> Result<(), GuestError> {
        let mut call = Call::new("reboot", GRACE);
        call.id = self.link.send(Request::Reboot)?;
        match self.reply(&call)? {
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
            call.id = self.link.send(Request::Hello)?;
            let mut turn = Call::new("hello", ask_again.min(call.left()));
            turn.id = call.id;
            match self.reply(&turn) {
                Ok(Reply::Hello { release, drivers }) => {
                    (self.release, self.drivers) = (release, drivers);
                    return Ok(());
                }
                Ok(other) => return Err(unexpected(other)),
                Err(GuestError::TimedOut { .. }) if !call.left().is_zero() => {}
                Err(GuestError::TimedOut { .. }) => return Err(self.timed_out("hello", limit)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next reply to `call`, with an eye on the console and on QEMU.
    fn reply(&mut self, call: &Call) -> Result<Reply, GuestError> {
        loop {
            if let Some(reply) = self.poll(call)? {
                return Ok(reply);
            }
        }
    }

    /// Waits a short while for a reply to `call`.
    fn poll(&mut self, call: &Call) -> Result<Option<Reply>, GuestError> {
        // Also while the guest talks: it may flood the link and be in trouble.
        if self.looked.elapsed() >= TICK {
            self.check(call)?;
            self.looked = Instant::now();
        }
        match self.link.receive(TICK)? {
            Received::Reply(Envelope { id, body }) if id == call.id => match body {
                Reply::Error { message } => Err(GuestError::Refused { message }),
                reply => Ok(Some(reply)),
            },
            // A late answer to something that was given up, or that nobody waits for.
            Received::Reply(_) | Received::Nothing => Ok(None),
            Received::Garbage(line) => Err(GuestError::Protocol { line }),
            Received::Closed => Err(self.closed()?),
        }
    }

    /// Fails where the guest is in trouble, QEMU has ended or the call's time is up.
    fn check(&mut self, call: &Call) -> Result<(), GuestError> {
        if self.console.look()?.is_some() {
            // Let a panic that follows an Oops, and the call trace, be heard.
            let end = Instant::now().checked_add(LAST_WORDS);
            while end.is_some_and(|end| Instant::now() < end)
                && self.qemu.process().try_wait()?.is_none()
            {
                std::thread::sleep(TICK);
            }
            self.console.look()?;
            return Err(self
                .in_trouble()
                .unwrap_or_else(|| self.timed_out(&call.asked, call.limit)));
        }
        if let Some(status) = self.qemu.process().try_wait()? {
            self.console.look()?;
            return Err(self.ended(status)?);
        }
        if call.left().is_zero() {
            return Err(self.timed_out(&call.asked, call.limit));
        }
        Ok(())
    }

    /// What it means that QEMU closed the link: it ends, or is dead already.
    fn closed(&mut self) -> Result<GuestError, GuestError> {
        match self.qemu.process().wait_at_most(LAST_WORDS)? {
            Some(status) => self.ended(status),
            None => Err(GuestError::Link(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// What it means that QEMU has ended.
    fn ended(&mut self, status: ProcessStatus) -> Result<GuestError, GuestError> {
        self.console.look()?;
        let console = self.console.tail();
        Ok(match self.in_trouble() {
            Some(error) => error,
            None if status.success() => GuestError::Ended { console },
            None => GuestError::QemuExited { status, console },
        })
    }

    fn in_trouble(&mut self) -> Option<GuestError> {
        let console: ConsoleTail = self.console.tail();
        let (kind, line) = self.console.look().ok()??.clone();
        Some(match kind {
            Trouble::Panic => GuestError::Panic { line, console },
            Trouble::Oops => GuestError::Oops { line, console },
            Trouble::HungTask => GuestError::HungTask { line, console },
        })
    }

    fn timed_out(&mut self, asked: &str, limit: Duration) -> GuestError {
        self.notes_of_console();
        let (noted, console) = (self.notes.last().map(str::to_owned), self.console.tail());
        GuestError::TimedOut { asked: asked.to_owned(), limit, noted, console }
    }
}

/// A request that a reply is waited for.
struct Call {
    id: u64,
    asked: String,
    started: Instant,
    limit: Duration,
}

impl Call {
    fn new(asked: &str, limit: Duration) -> Call {
        Call { id: 0, asked: asked.to_owned(), started: Instant::now(), limit }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }
}

fn unexpected(reply: Reply) -> GuestError {
    GuestError::Protocol { line: format!("{reply:?}").chars().take(200).collect() }
}
