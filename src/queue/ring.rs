//! A vring: heads out of the available ring, answers into the used ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vhost_user_backend::VringT;
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::chain::{ChainError, Request, collect};
use super::inflight::{InFlight, InFlightError, Indexes};
use super::left::{LastPlace, is_untouched};
use super::token::Token;
use super::vring::{SharedMemory, Vring};
use crate::memory::{MemoryMap, any_guest_lost, is_lost};

/// VIRTIO 1.2 §2.7.6: flags and index come before the entries, two bytes each.
const AVAIL_HEADER: u64 = 4;
const AVAIL_ENTRY: u64 = 2;

/// A ring that cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The available ring makes no sense, or is not guest memory.
    #[error("its available ring cannot be followed: {0}")]
    Available(virtio_queue::Error),
    /// The used ring is not guest memory.
    #[error("its used ring cannot be written: {0}")]
    Used(virtio_queue::Error),
    /// The front end took away the memory that the ring lies in.
    #[error("its memory is gone: the front end made the file behind it shorter")]
    Lost,
    /// A chain that cannot be followed.
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// What should tell which requests are still to be done makes no sense.
    #[error("{0}; none of its requests is touched; reset the guest, or start QEMU anew")]
    InFlight(#[from] InFlightError),
    /// Nobody knows which of its requests are still to be done.
    #[error(
        "it goes on at {base} with {available} available, and not where it was left in order: the \
         process that served it before was killed. Requests from {base} on may be done already, and \
         their buffers the guest's again, so none is touched; reset the guest, or start QEMU anew"
    )]
    Stale {
        /// The entry that the front end would go on with.
        base: u16,
        /// The available index.
        available: u16,
    },
}

/// A ring of one queue. Cheap to clone; all clones are one ring.
#[derive(Clone)]
pub struct Ring {
    vring: Vring,
    memory: SharedMemory,
    last: LastPlace,
    in_flight: InFlight,
}

impl Ring {
    /// Wraps the crate's vring, which lies in `memory`; `last` is where its queue was left last, and
    /// `in_flight` what is known of its requests.
    pub fn new(vring: Vring, memory: SharedMemory, last: LastPlace, in_flight: InFlight) -> Self {
        Ring { vring, memory, last, in_flight }
    }

    /// Refuses a ring of which nobody knows what is still to be done: see `super::left`. Nothing is
    /// taken from one, nor written into it.
    pub fn require_known(&self) -> Result<(), RingError> {
        if self.vring.beginning().is_sound() {
            return Ok(());
        }
        self.judge(self.vring.get_mut().get_queue_mut())
    }

    /// As [`Ring::require_known`], under the ring's lock. What is recorded of the requests in flight
    /// comes before the base that the front end named.
    fn judge(&self, queue: &mut virtio_queue::Queue) -> Result<(), RingError> {
        let beginning = self.vring.beginning();
        if beginning.is_sound() {
            return Ok(());
        }
        let (map, base) = (self.memory.memory().into_inner(), queue.next_avail());
        let now = queue.avail_idx(&*map, Ordering::Acquire).map_err(RingError::Available)?.0;
        let used = queue.used_idx(&*map, Ordering::Acquire).map_err(RingError::Used)?.0;
        let available = beginning.available().unwrap_or(now);
        let known =
            available == base || self.last.is_here(queue, &map) || is_untouched(queue, &map);
        require_there(queue, &self.memory)?;
        let indexes = Indexes { size: queue.size(), used, available: now };
        match self.in_flight.recover(indexes)? {
            Some(next) => queue.set_next_avail(next),
            None if known => {}
            None => return Err(RingError::Stale { base, available }),
        }
        beginning.trust();
        Ok(())
    }

    /// The next request that a process before this one took and did not answer. Its mark stays.
    fn pop_unanswered(&self, queue: &virtio_queue::Queue) -> Result<Option<Request>, RingError> {
        let Some(head) = self.in_flight.next_unanswered() else { return Ok(None) };
        let map = self.memory.memory().into_inner();
        let request = collect(&map, queue.desc_table(), queue.size(), head)?;
        Ok(Some(Request { resubmitted: true, ..request }))
    }

    /// The ring is stopped, or its connection is over: remembers where, for who goes on there.
    pub fn leave(&self) {
        let state = self.vring.get_ref();
        if self.vring.beginning().end() {
            self.last.leave(state.get_queue(), &self.memory.memory().into_inner());
        }
    }

    /// The next request, or `None` when the ring is empty, stopped or disabled.
    ///
    /// The request keeps the map of the guest's memory alive that was in force when it was seen. Memory
    /// that the guest got before it made the request available is always part of that map.
    pub fn pop(&self) -> Result<Option<Request>, RingError> {
        let mut state = self.vring.get_mut();
        // Under its lock: once the front end was told that the ring is disabled, nothing is taken.
        if !state.is_enabled() || !state.get_queue().ready() {
            return Ok(None);
        }
        let queue = state.get_queue_mut();
        self.judge(queue)?;
        if let Some(request) = self.pop_unanswered(queue)? {
            if self.vring.beginning().take() {
                self.last.forget();
            }
            return Ok(Some(request));
        }
        let (table, size, before) = (queue.desc_table(), queue.size(), queue.next_avail());
        let map = self.memory.memory().into_inner();
        let head = {
            let mut heads = queue.iter(Arc::clone(&map)).map_err(RingError::Available)?;
            heads.next().map(|chain| chain.head_index())
        };
        if head.is_some() && self.vring.beginning().take() {
            self.last.forget();
        }
        require_there(queue, &self.memory)?;
        match head {
            // The map again: it may have grown for this very request since it was looked at above.
            Some(head) => {
                let request = collect(&self.memory.memory().into_inner(), table, size, head)?;
                self.in_flight.take(head);
                Ok(Some(request))
            }
            // The crate ends its iterator quietly when the ring's memory cannot be read.
            None => self.confirm_empty(queue, &map, before).map(|()| None),
        }
    }

    /// Tells an empty ring from one whose next entry could not be read.
    fn confirm_empty(
        &self,
        queue: &virtio_queue::Queue,
        map: &MemoryMap,
        next: u16,
    ) -> Result<(), RingError> {
        let slot = u64::from(next % queue.size().max(1));
        let entry = queue.avail_ring().checked_add(AVAIL_HEADER + slot * AVAIL_ENTRY);
        match entry.map(|addr| map.read_obj::<u16>(GuestAddress(addr))) {
            Some(Ok(_)) => Ok(()),
            _ => Err(RingError::Available(virtio_queue::Error::AddressOverflow)),
        }
    }

    /// Answers a request: `written` bytes of its writable part were filled.
    pub fn complete(&self, token: Token, written: u32) -> Result<(), RingError> {
        let head = token.complete();
        self.in_flight
            .answer(head, || self.vring.add_used(head, written))
            .map_err(RingError::Used)?;
        if any_guest_lost() {
            require_there(self.vring.get_ref().get_queue(), &self.memory)?;
        }
        Ok(())
    }

    /// The number of descriptors: no more requests than this can be in flight.
    pub fn size(&self) -> usize {
        usize::from(self.vring.get_ref().get_queue().size())
    }

    /// Whether the ring is started. A stopped ring's memory belongs to the guest again.
    pub fn is_ready(&self) -> bool {
        self.vring.get_ref().get_queue().ready()
    }

    /// Whether the ring is started and enabled: no request is taken from a disabled one (vhost-user,
    /// "Ring states"). The crate wakes a queue once more that was enabled and is not any longer.
    pub fn is_running(&self) -> bool {
        let state = self.vring.get_ref();
        state.is_enabled() && state.get_queue().ready()
    }

    /// Whether a request is waiting.
    pub fn has_requests(&self) -> Result<bool, RingError> {
        let state = self.vring.get_ref();
        let queue = state.get_queue();
        if !queue.ready() {
            return Ok(false);
        }
        let map = self.memory.memory();
        let index = queue.avail_idx(&*map, Ordering::Acquire).map_err(RingError::Available)?;
        require_there(queue, &self.memory)?;
        Ok(index.0 != queue.next_avail() || self.in_flight.has_unanswered())
    }

    /// Asks the driver not to ring the doorbell while the ring is being emptied.
    pub fn disable_notifications(&self) -> Result<(), RingError> {
        self.vring.disable_notification().map_err(RingError::Used)
    }

    /// Asks for doorbells again; `true` when requests came in meanwhile.
    pub fn enable_notifications(&self) -> Result<bool, RingError> {
        self.vring.enable_notification().map_err(RingError::Available)
    }

    /// Interrupts the driver if there are new answers and it wants to be told of them.
    pub fn notify(&self) -> Result<(), RingError> {
        if !self.vring.take_undecided() {
            return Ok(());
        }
        let mut state = self.vring.get_mut();
        let wanted = if state.get_queue().event_idx_enabled() {
            state.needs_notification().map_err(RingError::Used)?
        } else {
            wants_interrupts(state.get_queue(), &self.memory.memory().into_inner())
        };
        if wanted {
            self.vring.interrupt(&state);
        }
        Ok(())
    }
}

/// After a look at a ring: refuses it where its memory was gone, so that no empty page is taken for
/// the driver's. One relaxed load where all is well.
fn require_there(queue: &virtio_queue::Queue, memory: &SharedMemory) -> Result<(), RingError> {
    if any_guest_lost() && is_ring_lost(queue, &memory.memory().into_inner()) {
        return Err(RingError::Lost);
    }
    Ok(())
}

#[cold]
fn is_ring_lost(queue: &virtio_queue::Queue, map: &MemoryMap) -> bool {
    // Descriptors, available and used ring; each has a header and an event field (VIRTIO 1.2 §2.7).
    let size = u64::from(queue.size());
    let parts = [
        (queue.desc_table(), 16 * size),
        (queue.avail_ring(), 6 + 2 * size),
        (queue.used_ring(), 6 + 8 * size),
    ];
    parts.into_iter().any(|(addr, len)| is_lost(map, addr, len))
}

/// VIRTIO 1.2 §2.7.7: without EVENT_IDX the driver may switch interrupts off by a flag. The crate's
/// `needs_notification` does not look at it.
fn wants_interrupts(queue: &virtio_queue::Queue, map: &MemoryMap) -> bool {
    std::sync::atomic::fence(Ordering::SeqCst);
    let flags = map.read_obj::<u16>(GuestAddress(queue.avail_ring())).map_or(0, u16::from_le);
    u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("size", &self.size()).finish()
    }
}
