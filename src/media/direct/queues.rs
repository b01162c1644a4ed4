//! The engines of a device's queues. A queue has one for all disks, so that its worker has one place to
//! submit to, to collect from and to wait for.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::engine::{Engine, TransferId};
use super::transfer::{BlockTransfer, Completion};
use crate::units::QueueIndex;

/// An engine for each queue whose requests may be in flight while it does something else.
#[derive(Debug, Clone, Default)]
pub struct IoQueues {
    first: u16,
    engines: Arc<Vec<Engine<BlockTransfer>>>,
}

/// What the worker of one queue has of them.
#[derive(Debug, Clone)]
pub struct QueueIo {
    queues: IoQueues,
    queue: QueueIndex,
}

impl IoQueues {
    /// No engines: every read and write is made with a call of its own.
    pub fn none() -> IoQueues {
        IoQueues::default()
    }

    /// An engine for each of these queues, where the kernel has io_uring for us; else none.
    pub fn open(queues: Range<u16>) -> IoQueues {
        let first = queues.start;
        match queues.map(|_| Engine::new()).collect::<io::Result<Vec<_>>>() {
            Ok(engines) => IoQueues { first, engines: Arc::new(engines) },
            Err(error) => {
                log::warn!(
                    "io_uring cannot be used ({error}): direct reads and writes are made one at a \
                     time, which is slow"
                );
                IoQueues::none()
            }
        }
    }

    /// Whether there are any engines.
    pub fn has_engines(&self) -> bool {
        !self.engines.is_empty()
    }

    /// What the worker of a queue needs.
    pub fn of(&self, queue: QueueIndex) -> QueueIo {
        QueueIo { queues: self.clone(), queue }
    }

    /// Lets everything land that the kernel has finished, whichever queue it belongs to.
    pub(in crate::media) fn reap_all(&self) {
        self.engines.iter().for_each(|engine| engine.reap(false));
    }

    pub(in crate::media) fn engine(&self, queue: QueueIndex) -> Option<&Engine<BlockTransfer>> {
        self.engines.get(usize::from(queue.0.checked_sub(self.first)?))
    }
}

impl QueueIo {
    /// Sets off what the queue's requests have started.
    pub fn submit(&self) {
        if let Some(engine) = self.engine() {
            engine.submit();
        }
    }

    /// Adds what has landed to `into`; waits for one transfer where `wait` says so and any is in
    /// flight.
    pub fn collect(&self, wait: bool, into: &mut Vec<(TransferId, Completion)>) {
        if let Some(engine) = self.engine() {
            engine.collect(wait, into);
        }
    }

    /// Whether there is something to collect.
    pub fn has_landed(&self) -> bool {
        self.engine().is_some_and(Engine::has_landed)
    }

    /// What becomes readable whenever a transfer of the queue has landed.
    pub fn completion_fd(&self) -> Option<RawFd> {
        self.engine().map(Engine::completion_fd)
    }

    fn engine(&self) -> Option<&Engine<BlockTransfer>> {
        self.queues.engine(self.queue)
    }
}
