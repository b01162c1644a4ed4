//! The rings as the vhost-user crate keeps them, with wake-ups that would get lost.
//!
//! A wake-up that is lost once is lost for good: Linux's virtio drivers wait for ever.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{Error as QueueError, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::events::{call, only_events, ring_own, take_ring};

/// The guest's memory as the vhost-user crate passes it around: the front end may change the map at
/// any time.
pub type SharedMemory = GuestMemoryAtomic<GuestMemoryMmap<()>>;

/// How often in a row a ring may be woken with nothing rung. A front end that replaces its doorbell can
/// go on ringing the old one, which nobody reads any more: that would never end.
const MAX_FALSE_ALARMS: u32 = 1000;

/// A ring, shared by the connection's thread and the queue's own.
#[derive(Clone)]
pub struct Vring {
    inner: VringMutex<SharedMemory>,
    memory: SharedMemory,
    notify: Arc<NotifyState>,
    beginning: Arc<Beginning>,
}

/// What is known of the place where a ring is started. Looked at and changed under the ring's lock.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// The available index when the ring was started, or [`UNSEEN`].
    available: AtomicU32,
    /// One of the three below.
    trust: AtomicU8,
}

/// No available index: they have 16 bits.
const UNSEEN: u32 = u32::MAX;
/// Nobody has looked yet whether the ring may be worked on.
const UNJUDGED: u8 = 0;
/// It may be.
const SOUND: u8 = 1;
/// It may be, and an entry was taken from it.
const AT_WORK: u8 = 2;

impl Beginning {
    /// The ring starts, or goes on elsewhere. Looked at here and not where it is judged: a driver goes
    /// on filling its ring meanwhile.
    fn note(&self, state: &VringState<SharedMemory>, memory: &SharedMemory) {
        let queue = state.get_queue();
        let seen = queue.ready().then(|| queue.avail_idx(&*memory.memory(), Ordering::Acquire));
        let available = seen.and_then(Result::ok).map_or(UNSEEN, |index| u32::from(index.0));
        self.available.store(available, Ordering::Relaxed);
        self.trust.store(UNJUDGED, Ordering::Relaxed);
    }

    /// The available index when the ring was started, where it could be read then.
    pub(super) fn available(&self) -> Option<u16> {
        u16::try_from(self.available.load(Ordering::Relaxed)).ok()
    }

    /// Whether the ring may be worked on, as far as anybody looked.
    pub(super) fn is_sound(&self) -> bool {
        self.trust.load(Ordering::Relaxed) != UNJUDGED
    }

    /// The ring may be worked on.
    pub(super) fn trust(&self) {
        self.trust.store(SOUND, Ordering::Relaxed);
    }

    /// An entry is taken; answers whether it is the first.
    pub(super) fn take(&self) -> bool {
        let first = self.trust.load(Ordering::Relaxed) != AT_WORK;
        if first {
            self.trust.store(AT_WORK, Ordering::Relaxed);
        }
        first
    }

    /// The ring is left; answers whether it could be trusted until here.
    pub(super) fn end(&self) -> bool {
        self.trust.swap(UNJUDGED, Ordering::Relaxed) != UNJUDGED
    }
}

/// What is known of the notifications of a ring, the driver's and the device's (VIRTIO 1.2 §2.7.7).
#[derive(Debug, Default)]
struct NotifyState {
    /// There are used buffers since it was last decided whether to notify the driver.
    undecided: AtomicBool,
    /// A notification was due while there was no call descriptor.
    undelivered: AtomicBool,
    /// The call descriptor has been found to be of no use; said once.
    useless: AtomicBool,
    /// How often the ring was woken since it was rung last.
    false_alarms: AtomicU32,
}

impl Vring {
    /// Interrupts the driver of the ring whose `state` is locked. With no call descriptor the interrupt
    /// waits for the next one.
    pub fn interrupt(&self, state: &VringState<SharedMemory>) {
        let Some(notifier) = state.get_call() else {
            // Under the ring's lock, so before `set_call` looks, or after it has set the descriptor.
            self.notify.undelivered.store(true, Ordering::Relaxed);
            return;
        };
        if let Err(error) = call(notifier)
            && !self.notify.useless.swap(true, Ordering::Relaxed)
        {
            log::warn!("the driver cannot be interrupted: {error}");
        }
    }

    /// What is known of the place where the ring was started.
    pub(super) fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Changes where or how the ring begins.
    fn begin<T>(&self, change: impl FnOnce(&mut VringState<SharedMemory>) -> T) -> T {
        let mut state = self.inner.get_mut();
        let changed = change(&mut state);
        self.beginning.note(&state, &self.memory);
        changed
    }

    /// Counts the times that the ring was woken for nothing.
    fn judge(&self, rung: bool) -> io::Result<()> {
        if rung {
            self.notify.false_alarms.store(0, Ordering::Relaxed);
        } else if self.notify.false_alarms.fetch_add(1, Ordering::Relaxed) >= MAX_FALSE_ALARMS {
            return Err(io::Error::other("a doorbell rings that is not the ring's"));
        }
        Ok(())
    }

    /// Whether there are answers since this was last asked: there is no other reason to interrupt.
    pub fn take_undecided(&self) -> bool {
        // Looked at first: mostly there are none, and a look locks nothing.
        self.notify.undecided.load(Ordering::Relaxed)
            && self.notify.undecided.swap(false, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Vring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vring").finish_non_exhaustive()
    }
}

impl<'a> VringStateGuard<'a, SharedMemory> for Vring {
    type G = <VringMutex<SharedMemory> as VringStateGuard<'a, SharedMemory>>::G;
}

impl<'a> VringStateMutGuard<'a, SharedMemory> for Vring {
    type G = <VringMutex<SharedMemory> as VringStateMutGuard<'a, SharedMemory>>::G;
}

impl VringT<SharedMemory> for Vring {
    fn new(memory: SharedMemory, max_queue_size: u16) -> Result<Self, QueueError> {
        let inner = VringMutex::new(memory.clone(), max_queue_size)?;
        Ok(Vring { inner, memory, notify: Arc::default(), beginning: Arc::default() })
    }

    /// A front end gives a call descriptor and does not wait for us to take it. What we signalled
    /// meanwhile, on the old descriptor or on none, was seen by nobody, so the new one is signalled
    /// once: an interrupt too many does no harm. (QEMU replaces the descriptor when the guest masks or
    /// unmasks an interrupt, and gives the one of a ring that starts again only after its start; its
    /// own libvhost-user signals every descriptor that it gets.)
    fn set_call(&self, file: Option<File>) {
        let file = only_events(file, "call");
        let replaces = self.inner.get_ref().get_call().is_some();
        let is_one = file.is_some();
        self.inner.set_call(file);
        self.notify.useless.store(false, Ordering::Relaxed);
        if is_one && (self.notify.undelivered.swap(false, Ordering::Relaxed) || replaces) {
            self.interrupt(&self.inner.get_ref());
        }
    }

    /// An error ends the queue's thread, and with it all that the ring does until the front end
    /// connects again.
    fn read_kick(&self) -> io::Result<bool> {
        let state = self.inner.get_ref();
        let rung = state.get_kick().as_ref().map_or(Ok(false), take_ring);
        let judged = rung.and_then(|rung| self.judge(rung));
        judged.map(|()| state.is_enabled()).inspect_err(|error| {
            log::error!("a ring stands still until the front end connects again: {error}");
        })
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, SharedMemory>>::G {
        self.inner.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, SharedMemory>>::G {
        self.inner.get_mut()
    }

    fn add_used(&self, index: u16, len: u32) -> Result<(), QueueError> {
        self.inner.add_used(index, len)?;
        self.notify.undecided.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.interrupt(&self.inner.get_ref());
        Ok(())
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.inner.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.inner.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.inner.needs_notification()
    }

    /// A ring that is enabled rings its own doorbell: what another process left unanswered was rung for
    /// long ago.
    fn set_enabled(&self, enabled: bool) {
        self.inner.set_enabled(enabled);
        if enabled && let Some(doorbell) = self.inner.get_ref().get_kick() {
            // One that cannot be rung from here is the driver's to ring.
            let _ = ring_own(doorbell);
        }
    }

    fn set_queue_info(&self, table: u64, available: u64, used: u64) -> Result<(), QueueError> {
        self.begin(|state| state.set_queue_info(table, available, used))
    }

    fn queue_next_avail(&self) -> u16 {
        self.inner.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.begin(|state| state.get_queue_mut().set_next_avail(base));
    }

    fn set_queue_next_used(&self, index: u16) {
        self.inner.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.inner.queue_used_idx()
    }

    fn set_queue_size(&self, number: u16) {
        self.begin(|state| state.get_queue_mut().set_size(number));
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.inner.set_queue_event_idx(enabled);
    }

    /// A ring that stops keeps what is known of its beginning: it is about to be left.
    fn set_queue_ready(&self, ready: bool) {
        if ready {
            self.begin(|state| state.get_queue_mut().set_ready(true));
        } else {
            self.inner.set_queue_ready(false);
        }
    }

    fn set_kick(&self, file: Option<File>) {
        self.inner.set_kick(only_events(file, "doorbell"));
    }

    fn set_err(&self, file: Option<File>) {
        self.inner.set_err(file);
    }
}
