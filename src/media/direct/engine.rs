//! An io_uring with the transfers that are under way in it.
//!
//! The engine owns the memory of each transfer from its start until the kernel says that it has ended,
//! whatever becomes of who started it. Any thread may start, submit and reap.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::overlap::{Errand, Landed};
use super::room::Room;

/// Room in the submission queue.
const ENTRIES: u32 = 256;
/// The most transfers under way: no more than the completion queue has room for.
const MAX_UNDER_WAY: usize = 2 * ENTRIES as usize;
/// How many bytes are set off without being asked: the device has work while more is being copied.
const SET_OFF_AT: usize = 64 << 10;
/// How long to wait where the kernel has no memory for a submission.
const RETRY: Duration = Duration::from_micros(200);

/// A transfer's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// What the kernel has finished: the transfer's memory, and a count or an error number.
#[derive(Debug)]
pub struct Finished {
    pub errand: Errand,
    pub room: Room,
    pub result: io::Result<usize>,
}

/// A ring, and what rings when a transfer ends.
pub struct Engine {
    inner: Mutex<Inner>,
    bell: EventFd,
}

struct Inner {
    ring: IoUring,
    under_way: HashMap<Ticket, (Errand, Room)>,
    unsubmitted: usize,
    unsubmitted_bytes: usize,
    next: u64,
    /// What has ended and was not collected yet.
    landed: Vec<(Ticket, Landed)>,
}

impl Engine {
    /// An engine, where the kernel lets us have one.
    pub fn new() -> io::Result<Engine> {
        let ring = IoUring::new(ENTRIES)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        ring.submitter().register_eventfd(bell.as_fd().as_raw_fd())?;
        let (under_way, landed) = (HashMap::new(), Vec::new());
        let inner =
            Inner { ring, under_way, unsubmitted: 0, unsubmitted_bytes: 0, next: 0, landed };
        Ok(Engine { inner: Mutex::new(inner), bell })
    }

    /// Becomes readable whenever a transfer ends.
    pub fn bell(&self) -> RawFd {
        self.bell.as_fd().as_raw_fd()
    }

    /// Puts a transfer of all of `room` in; [`Engine::submit`] sets it off, at the latest. `file` stays open until it
    /// has ended.
    pub fn start(
        &self,
        (file, offset): (RawFd, u64),
        way: Way,
        mut room: Room,
        errand: Errand,
        land: &dyn Fn(Finished) -> Landed,
    ) -> Ticket {
        let mut inner = self.lock();
        while inner.under_way.len() >= MAX_UNDER_WAY {
            inner.reap(true, land);
        }
        let ticket = Ticket(inner.next);
        inner.next += 1;
        // A room is as long as a request, which is far less.
        let (start, len) = (room.as_mut_ptr(), u32::try_from(room.len()).unwrap_or(u32::MAX));
        let file = types::Fd(file);
        let entry = match way {
            Way::In => opcode::Read::new(file, start, len).offset(offset).build(),
            Way::Out => opcode::Write::new(file, start, len).offset(offset).build(),
        };
        // Moving the room does not move the memory that it owns.
        inner.unsubmitted_bytes = inner.unsubmitted_bytes.saturating_add(room.len());
        inner.under_way.insert(ticket, (errand, room));
        inner.push(&entry.user_data(ticket.0));
        if inner.unsubmitted_bytes >= SET_OFF_AT {
            inner.submit(0);
        }
        ticket
    }

    /// Sets off what was started.
    pub fn submit(&self) {
        self.lock().submit(0);
    }

    /// Takes what the kernel has finished and lets it land. Waits for one transfer to end where `wait`
    /// says so and any is under way.
    pub fn reap(&self, wait: bool, land: &dyn Fn(Finished) -> Landed) {
        self.lock().reap(wait, land);
    }

    /// As [`Engine::reap`], and collects what has landed; waits only while there is nothing.
    pub fn collect(&self, wait: bool, land: &dyn Fn(Finished) -> Landed) -> Vec<(Ticket, Landed)> {
        let mut inner = self.lock();
        let wait = wait && inner.landed.is_empty();
        inner.reap(wait, land);
        std::mem::take(&mut inner.landed)
    }

    /// Whether there is something to collect, as far as can be told without waiting.
    pub fn has_landed(&self) -> bool {
        self.inner
            .try_lock()
            .is_ok_and(|mut inner| !inner.landed.is_empty() || !inner.ring.completion().is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the entry's memory is owned by `under_way` until its completion is taken, and its
            // file is open as long (the caller's word).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.unsubmitted += 1;
                return;
            }
            self.submit(0);
        }
    }

    /// Submits, and waits for so many completions. Only a kernel out of memory refuses, for a while.
    fn submit(&mut self, wait: usize) {
        let mut told = false;
        while self.unsubmitted > 0 || wait > 0 {
            match self.ring.submit_and_wait(wait) {
                Ok(taken) => {
                    self.unsubmitted = self.unsubmitted.saturating_sub(taken);
                    if self.unsubmitted == 0 {
                        self.unsubmitted_bytes = 0;
                    }
                    if wait > 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::warn!("io_uring takes no more for now: {error}");
                    }
                    if !self.ring.completion().is_empty() && wait > 0 {
                        return;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn reap(&mut self, wait: bool, land: &dyn Fn(Finished) -> Landed) {
        if wait && !self.under_way.is_empty() {
            self.submit(1);
        }
        let ended: Vec<(Ticket, i32)> = self
            .ring
            .completion()
            .map(|entry| (Ticket(entry.user_data()), entry.result()))
            .collect();
        for (ticket, result) in ended {
            let Some((errand, room)) = self.under_way.remove(&ticket) else { continue };
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            self.landed.push((ticket, land(Finished { errand, room, result })));
        }
    }
}

impl Drop for Inner {
    /// The kernel may still write to memory of a transfer: that is freed only after it has ended.
    fn drop(&mut self) {
        while !self.under_way.is_empty() {
            self.submit(1);
            let ended: Vec<u64> = self.ring.completion().map(|entry| entry.user_data()).collect();
            for ticket in ended {
                self.under_way.remove(&Ticket(ticket));
            }
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("bell", &self.bell).finish_non_exhaustive()
    }
}
