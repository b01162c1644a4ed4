//! The rings as the vhost-user crate keeps them, with a wake-up that would get lost.
//!
//! A wake-up that is lost once is lost for good: Linux's virtio drivers wait for ever.

use std::fs::File;
use std::io;

use vhost_user_backend::{VringMutex, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error as QueueError;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The guest's memory as the vhost-user crate passes it around: the front end may change the map at
/// any time.
pub type SharedMemory = GuestMemoryAtomic<GuestMemoryMmap<()>>;

/// A ring, shared by the connection's thread and the queue's own.
#[derive(Clone)]
pub struct Vring(VringMutex<SharedMemory>);

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
        VringMutex::new(memory, max_queue_size).map(Vring)
    }

    /// A front end gives another call descriptor when the guest masks or unmasks an interrupt, and
    /// does not wait for us to take it. What we signalled on the old one meanwhile may be seen by
    /// nobody, so the new one is signalled once: an interrupt too many does no harm (QEMU's own
    /// libvhost-user does the same).
    fn set_call(&self, file: Option<File>) {
        let replaces = self.0.get_ref().get_call().is_some();
        self.0.set_call(file);
        if replaces && let Err(error) = self.0.signal_used_queue() {
            log::warn!("a new call descriptor cannot be signalled: {error}");
        }
    }

    fn read_kick(&self) -> io::Result<bool> {
        self.0.read_kick()
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, SharedMemory>>::G {
        self.0.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, SharedMemory>>::G {
        self.0.get_mut()
    }

    fn add_used(&self, index: u16, len: u32) -> Result<(), QueueError> {
        self.0.add_used(index, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.0.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.0.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.0.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.0.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.0.set_enabled(enabled);
    }

    fn set_queue_info(&self, table: u64, available: u64, used: u64) -> Result<(), QueueError> {
        self.0.set_queue_info(table, available, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.0.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.0.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.0.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.0.queue_used_idx()
    }

    fn set_queue_size(&self, number: u16) {
        self.0.set_queue_size(number);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.0.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.0.set_queue_ready(ready);
    }

    fn set_kick(&self, file: Option<File>) {
        self.0.set_kick(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.0.set_err(file);
    }
}
