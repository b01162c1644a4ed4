//! An io_uring with the transfers that are in flight in it.
//!
//! The engine owns the memory of each transfer from its start until the kernel says that it has ended,
//! whatever becomes of who started it. Any thread may start, submit and reap. What a transfer is about
//! is the business of its [`Transfer`], which is told of the end under the engine's lock.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::memory::Buffer;

/// Room in the submission queue.
const ENTRIES: u32 = 256;
/// The most transfers in flight: no more than the completion queue has room for.
const MAX_IN_FLIGHT: usize = 2 * ENTRIES as usize;
/// How many bytes are set off without being asked: the device has work while more is being copied.
const SET_OFF_AT: usize = 64 << 10;
/// How long to wait where the kernel has no memory for a submission.
const RETRY: Duration = Duration::from_micros(200);

/// A transfer's number, among those of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransferId(u64);

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// What the kernel is asked to do.
#[derive(Debug)]
pub struct Job {
    /// Of which file. It stays open until the transfer has ended.
    pub file: RawFd,
    /// Where in the file.
    pub offset: u64,
    /// Which way.
    pub direction: Direction,
    /// All of this memory.
    pub buffer: Buffer,
}

/// What a transfer is about.
pub trait Transfer {
    /// What is told to who collects it.
    type Completion;

    /// The kernel has finished, with a count or an error number, and gives the memory back. Whoever
    /// reaps runs this, under the engine's lock: it must not wait for another transfer.
    fn land(self, buffer: Buffer, result: io::Result<usize>) -> Self::Completion;
}

/// A ring, and what becomes readable when a transfer ends.
pub struct Engine<T: Transfer> {
    inner: Mutex<Inner<T>>,
    completed: EventFd,
}

struct Inner<T: Transfer> {
    ring: IoUring,
    in_flight: HashMap<TransferId, (T, Buffer)>,
    unsubmitted: usize,
    unsubmitted_bytes: usize,
    next: u64,
    /// What has landed and was not collected yet.
    landed: Vec<(TransferId, T::Completion)>,
}

impl<T: Transfer> Engine<T> {
    /// An engine, where the kernel lets us have one.
    ///
    /// Its ring takes reads and writes of open files, as pread and pwrite do, and for good nothing else:
    /// what goes through a ring is seen by no filter of system calls. (Files are not registered: the
    /// kernel takes a ring apart long after its process has ended, and would keep them locked so long.)
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_r_disabled().build(ENTRIES)?;
        let completed = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let submitter = ring.submitter();
        submitter.register_eventfd(completed.as_fd().as_raw_fd())?;
        submitter.register_restrictions(&mut [
            Restriction::sqe_op(opcode::Read::CODE),
            Restriction::sqe_op(opcode::Write::CODE),
        ])?;
        submitter.register_enable_rings()?;
        let inner = Inner {
            ring,
            in_flight: HashMap::new(),
            unsubmitted: 0,
            unsubmitted_bytes: 0,
            next: 0,
            landed: Vec::new(),
        };
        Ok(Engine { inner: Mutex::new(inner), completed })
    }

    /// Becomes readable whenever a transfer ends.
    pub fn completion_fd(&self) -> RawFd {
        self.completed.as_fd().as_raw_fd()
    }

    /// Puts a transfer in; [`Engine::submit`] sets it off, at the latest.
    pub fn start(&self, job: Job, transfer: T) -> TransferId {
        let Job { file, offset, direction, mut buffer } = job;
        let mut inner = self.lock();
        while inner.in_flight.len() >= MAX_IN_FLIGHT {
            inner.reap(true);
        }
        let id = TransferId(inner.next);
        inner.next += 1;
        // A buffer is as long as a request, which is far less.
        let (start, len) = (buffer.as_mut_ptr(), u32::try_from(buffer.len()).unwrap_or(u32::MAX));
        let file = types::Fd(file);
        let entry = match direction {
            Direction::In => opcode::Read::new(file, start, len).offset(offset).build(),
            Direction::Out => opcode::Write::new(file, start, len).offset(offset).build(),
        };
        inner.unsubmitted_bytes = inner.unsubmitted_bytes.saturating_add(buffer.len());
        // Moving the buffer does not move the memory that it owns.
        inner.in_flight.insert(id, (transfer, buffer));
        inner.push(&entry.user_data(id.0));
        if inner.unsubmitted_bytes >= SET_OFF_AT {
            inner.submit(0);
        }
        id
    }

    /// Sets off what was started.
    pub fn submit(&self) {
        self.lock().submit(0);
    }

    /// Takes what the kernel has finished and lets it land. Waits for one transfer to end where `wait`
    /// says so and any is in flight.
    pub fn reap(&self, wait: bool) {
        self.lock().reap(wait);
    }

    /// As [`Engine::reap`], and adds what has landed to `into`; waits only while there is nothing.
    pub fn collect(&self, wait: bool, into: &mut Vec<(TransferId, T::Completion)>) {
        let mut inner = self.lock();
        let wait = wait && inner.landed.is_empty();
        inner.reap(wait);
        into.append(&mut inner.landed);
    }

    /// Whether there is something to collect, as far as can be told without waiting.
    pub fn has_landed(&self) -> bool {
        self.inner
            .try_lock()
            .is_ok_and(|mut inner| !inner.landed.is_empty() || !inner.ring.completion().is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Transfer> Inner<T> {
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the entry's memory is owned by `in_flight` until its completion is taken, and its
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

    fn reap(&mut self, wait: bool) {
        if wait && !self.in_flight.is_empty() {
            self.submit(1);
        }
        for entry in self.ring.completion() {
            let (id, result) = (TransferId(entry.user_data()), entry.result());
            let Some((transfer, buffer)) = self.in_flight.remove(&id) else { continue };
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            self.landed.push((id, transfer.land(buffer, result)));
        }
    }
}

impl<T: Transfer> Drop for Inner<T> {
    /// The kernel may still write to memory of a transfer: that is freed only after it has ended.
    fn drop(&mut self) {
        while !self.in_flight.is_empty() {
            self.submit(1);
            for entry in self.ring.completion() {
                self.in_flight.remove(&TransferId(entry.user_data()));
            }
        }
    }
}

impl<T: Transfer> std::fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("completed", &self.completed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Answers with the bytes and its own name.
    struct Named(&'static str);

    impl Transfer for Named {
        type Completion = (&'static str, io::Result<usize>, Buffer);

        fn land(self, buffer: Buffer, result: io::Result<usize>) -> Self::Completion {
            (self.0, result, buffer)
        }
    }

    #[test]
    fn what_a_transfer_is_about_comes_back_with_its_memory_and_its_result() {
        let Ok(engine) = Engine::<Named>::new() else { return };
        let file = tempfile::tempfile().unwrap();
        let job =
            |offset, direction, buffer| Job { file: file.as_raw_fd(), offset, direction, buffer };
        file.write_all_at(b"stored", 4096).unwrap();
        let written = engine.start(job(0, Direction::Out, Buffer::with(b"sent")), Named("write"));
        let read = engine.start(job(4096, Direction::In, Buffer::new(100)), Named("read"));
        let bad = Job { file: -1, ..job(0, Direction::In, Buffer::new(1)) };
        let bad = engine.start(bad, Named("bad"));
        let mut landed = Vec::new();
        while landed.len() < 3 {
            engine.collect(true, &mut landed);
        }
        landed.sort_by_key(|(id, _)| id.0);
        assert_eq!(landed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [written, read, bad]);
        let [(_, write), (_, read), (_, bad)] = landed.as_slice() else { panic!() };
        assert_eq!((write.0, write.1.as_ref().unwrap(), &*write.2), ("write", &4, &b"sent"[..]));
        assert_eq!((read.0, *read.1.as_ref().unwrap(), &read.2[..6]), ("read", 6, &b"stored"[..]));
        assert_eq!((bad.0, bad.1.as_ref().unwrap_err().raw_os_error()), ("bad", Some(libc::EBADF)));
        let mut stored = [0; 4];
        file.read_exact_at(&mut stored, 0).unwrap();
        assert_eq!(&stored, b"sent");
        assert!(!engine.has_landed());
    }
}
