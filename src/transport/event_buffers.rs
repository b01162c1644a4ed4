//! Buffers that wait for an event of the device.

use std::collections::VecDeque;

use super::answers::complete;
use super::error::QueueError;
use crate::memory::Segments;
use crate::proto::{Completed, Device, Unanswerable};
use crate::queue::{Ring, Token};

/// A request that waits for an event, and where that goes.
#[derive(Debug)]
pub(super) struct EventBuffer {
    pub(super) into: Segments,
    pub(super) token: Token,
}

/// Those that a queue has, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct EventBuffers {
    waiting: VecDeque<EventBuffer>,
}

impl EventBuffers {
    /// Keeps a buffer for an event to come.
    pub(super) fn keep(&mut self, ring: &Ring, buffer: EventBuffer) -> Result<(), QueueError> {
        let size = ring.size();
        if self.waiting.len() >= size {
            buffer.token.abandon();
            return Err(QueueError::Overfull(size));
        }
        self.waiting.push_back(buffer);
        Ok(())
    }

    /// Answers buffers with events of the device, for as long as there are both.
    pub(super) fn report<D: Device>(&mut self, ring: &Ring, device: &D) -> Result<(), QueueError> {
        while !self.waiting.is_empty()
            && let Some(event) = device.event()
            && let Some(buffer) = self.waiting.pop_front()
        {
            buffer.answer(ring, &event)?;
        }
        Ok(())
    }

    /// Gives a buffer back that no event came for, until there are none.
    pub(super) fn give_back_one(
        &mut self,
        ring: &Ring,
        no_event: &[u8],
    ) -> Option<Result<(), QueueError>> {
        self.waiting.pop_front().map(|buffer| buffer.answer(ring, no_event))
    }

    /// Lets go of all of them without an answer.
    pub(super) fn abandon(&mut self) {
        self.waiting.drain(..).for_each(|buffer| buffer.token.abandon());
    }
}

impl EventBuffer {
    /// Answers with as much of the event as there is room for.
    fn answer(self, ring: &Ring, event: &[u8]) -> Result<(), QueueError> {
        let len = usize::try_from(self.into.len()).unwrap_or(usize::MAX).min(event.len());
        let copied = self.into.copy_in(0, event.get(..len).unwrap_or_default());
        let answered = copied
            .map(|()| Completed { written: u32::try_from(len).unwrap_or(0) })
            .map_err(|error| Unanswerable(error.to_string()));
        complete(ring, self.token, answered)
    }
}
