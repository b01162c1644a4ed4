//! The talk with a guest's agent: a request, and the wait for its reply with an eye on the console and on
//! QEMU.

use std::io;
use std::process::ExitStatus as ProcessStatus;
use std::time::{Duration, Instant};

use crate::guest::protocol::{Envelope, Reply, Request};
use crate::runner::guest::GuestError;
use crate::runner::guest::console::{Console, ConsoleTail};
use crate::runner::guest::cries::Trouble;
use crate::runner::guest::link::{Link, Received};
use crate::runner::guest::notes::Notes;
use crate::runner::host::qemu::Qemu;

/// How often the console and QEMU are looked at while a reply is waited for.
const TICK: Duration = Duration::from_millis(100);

/// How many replies in a row nobody waited for: answers to what was given up are few.
const MOST_STRAY: u32 = 1000;

/// How long a kernel in trouble is given to say the rest.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A request that a reply is waited for.
#[derive(Debug)]
pub(super) struct Call {
    /// Its number, once it was sent.
    pub id: u64,
    asked: String,
    started: Instant,
    limit: Duration,
}

impl Call {
    /// Begins now, and may take this long.
    pub fn new(asked: &str, limit: Duration) -> Call {
        Call { id: 0, asked: asked.to_owned(), started: Instant::now(), limit }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }
}

/// Replies in a row that nobody waited for.
#[derive(Debug, Default)]
struct Stray(u32);

impl Stray {
    /// A few are late; an agent that goes on with them is not heard until the call's time is up.
    fn add_one(&mut self) -> Result<(), GuestError> {
        self.0 = self.0.saturating_add(1);
        if self.0 > MOST_STRAY {
            let line = format!("{} replies in a row that nobody waits for", self.0);
            return Err(GuestError::Protocol { line });
        }
        Ok(())
    }
}

/// QEMU with its console and the link to the agent.
#[derive(Debug)]
pub(super) struct Talk {
    pub qemu: Qemu,
    pub console: Console,
    link: Link,
    /// What the kernel said of itself since that was last taken.
    pub notes: Notes,
    /// When the console and QEMU were last looked at.
    looked: Instant,
    /// How many replies came in a row that nobody waited for.
    stray: Stray,
}

impl Talk {
    /// Nothing was said yet.
    pub fn new(qemu: Qemu, console: Console, link: Link) -> Talk {
        Talk {
            qemu,
            console,
            link,
            notes: Notes::default(),
            looked: Instant::now(),
            stray: Stray::default(),
        }
    }

    /// Sends a request; its number is that of its replies.
    pub fn send(&mut self, request: Request) -> Result<u64, GuestError> {
        Ok(self.link.send(request)?)
    }

    /// Asks, and waits for the one reply.
    pub fn ask(
        &mut self,
        asked: &str,
        request: Request,
        limit: Duration,
    ) -> Result<Reply, GuestError> {
        let mut call = Call::new(asked, limit);
        call.id = self.send(request)?;
        self.reply(&call)
    }

    /// Takes in what the kernel said on its console.
    pub fn notes_of_console(&mut self) {
        // A console that cannot be read has nothing to add, and costs the guest elsewhere.
        let _ = self.console.look();
        self.notes.extend(&self.console.take_notes());
    }

    /// Waits for the next reply to `call`, with an eye on the console and on QEMU.
    pub fn reply(&mut self, call: &Call) -> Result<Reply, GuestError> {
        loop {
            if let Some(reply) = self.poll(call)? {
                return Ok(reply);
            }
        }
    }

    /// Waits a short while for a reply to `call`.
    pub fn poll(&mut self, call: &Call) -> Result<Option<Reply>, GuestError> {
        // Also while the guest talks: it may flood the link and be in trouble.
        if self.looked.elapsed() >= TICK {
            self.check(call)?;
            self.looked = Instant::now();
        }
        match self.link.receive(TICK)? {
            Received::Reply(Envelope { id, body }) if id == call.id => {
                self.stray = Stray::default();
                match body {
                    Reply::Error { message } => Err(GuestError::Refused { message }),
                    reply => Ok(Some(reply)),
                }
            }
            // A late answer to something that was given up, or that nobody waits for.
            Received::Reply(_) => self.stray.add_one().map(|()| None),
            Received::Nothing => Ok(None),
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
    pub fn ended(&mut self, status: ProcessStatus) -> Result<GuestError, GuestError> {
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

    /// What it means that an answer did not come in time.
    pub fn timed_out(&mut self, asked: &str, limit: Duration) -> GuestError {
        self.notes_of_console();
        let (noted, console) = (self.notes.last().map(str::to_owned), self.console.tail());
        GuestError::TimedOut { asked: asked.to_owned(), limit, noted, console }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_replies_are_passed_over_and_a_flood_of_them_is_given_up() {
        let mut stray = Stray::default();
        for _ in 0..MOST_STRAY {
            stray.add_one().unwrap();
        }
        assert!(matches!(stray.add_one(), Err(GuestError::Protocol { .. })));
    }
}
