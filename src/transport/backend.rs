//! What the vhost-user crate asks of a backend, answered by a device and its queues' workers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::net::{SendFlags, send};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::VhostUserBackend;
use vm_memory::{
    GuestAddressSpace, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::control::WindowControl;
use super::peers::PeerQueues;
use super::relay::Keeper;
use super::worker::QueueWorker;
use crate::descriptor::Description;
use crate::media::IoQueues;
use crate::memory::{MemoryMap, Watched};
use crate::proto::{Device, TaskManagement};
use crate::queue::{InFlight, LastPlace, Region, Ring, SharedMemory, Vring};
use crate::sandbox::{Thread, confine};
use crate::trap::Ledger;
use crate::units::QueueIndex;

/// vhost-user, "Back-end message types": VHOST_USER_BACKEND_CONFIG_CHANGE_MSG.
const CONFIG_CHANGE: u32 = 2;
/// The flags of a message that wants no reply.
const PROTOCOL_VERSION: u32 = 1;
/// The largest ring: VIRTIO 1.2 §2.7's own limit. QEMU's default is 128.
const MAX_RING: usize = 32_768;

/// One connection of a front end: the device, a worker a queue, and the guest's memory.
///
/// Shared, with interior mutability: `stop_vring` runs on the connection's thread while the queue
/// threads are at work, and has to drain what is in flight.
#[derive(Debug)]
pub struct Backend<D: Device> {
    device: Arc<D>,
    ledger: Arc<Ledger>,
    workers: Vec<QueueWorker<D>>,
    /// The ring of each queue, once it has been used.
    rings: Mutex<Vec<Option<Ring>>>,
    /// Where each ring was left, by this connection or one before it.
    places: Vec<LastPlace>,
    /// What is known of the requests in flight of each ring.
    in_flight: Vec<InFlight>,
    memory: SharedMemory,
    /// What the front end may take away at any moment.
    watched: Mutex<Watched>,
    /// By what the front end is told what it did not ask for.
    channel: Mutex<Option<OwnedFd>>,
    /// The readable ends that the crate never closes.
    exits: Mutex<Vec<RawFd>>,
    /// Rings once for each queue's thread, at its birth.
    birth: EventFd,
}

impl<D: Device> Backend<D> {
    /// A backend for one connection, with a fresh memory map; `places` are of one queue each.
    pub fn new(
        device: Arc<D>,
        ledger: &Arc<Ledger>,
        io: &IoQueues,
        control: &Arc<WindowControl>,
        memory: SharedMemory,
        places: &[LastPlace],
    ) -> io::Result<Self> {
        let worker = |queue| {
            let (device, ledger) = (Arc::clone(&device), Arc::clone(ledger));
            let (queue, control) = (QueueIndex(queue), Arc::clone(control));
            QueueWorker::new(queue, device, ledger, io.of(queue), control)
        };
        let workers = (0..device.queues()).map(worker).collect::<io::Result<Vec<_>>>()?;
        let rings = Mutex::new(workers.iter().map(|_| None).collect());
        let (watched, exits) = (Mutex::default(), Mutex::default());
        let places = places.to_vec();
        let in_flight = workers.iter().map(|_| InFlight::default()).collect();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let birth = EventFd::from_value_and_flags(1, flags)?;
        let ledger = Arc::clone(ledger);
        Ok(Backend {
            device,
            ledger,
            workers,
            rings,
            places,
            in_flight,
            memory,
            watched,
            channel: Mutex::default(),
            exits,
            birth,
        })
    }

    /// The number of queues.
    pub fn queue_count(&self) -> u16 {
        self.device.queues()
    }

    /// The timer of each queue's thread, to be watched by that thread.
    pub fn timers(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.workers.iter().map(AsRawFd::as_raw_fd)
    }

    /// What wakes each queue's thread when the medium is done with something, where it takes its time.
    pub fn completion_fds(&self) -> impl Iterator<Item = Option<RawFd>> + '_ {
        self.workers.iter().map(QueueWorker::completion_fd)
    }

    /// What each queue's thread hears of first, and as which event: the thread is the crate's, and takes
    /// its own filter of system calls before a guest can reach it.
    pub fn birth(&self) -> (RawFd, u16) {
        // After the queues' own events, the crate's and the workers'.
        (self.birth.as_fd().as_raw_fd(), self.queue_count().saturating_add(2))
    }

    /// The thread that reports the device's events, and what wakes it.
    pub fn event_fd(&self) -> Option<(usize, RawFd)> {
        self.device.event_fd().map(|(queue, fd)| (usize::from(queue.0), fd))
    }

    /// How many writes are inside their windows.
    pub fn held(&self) -> u64 {
        self.workers.iter().map(QueueWorker::held).sum()
    }

    /// Ends every window now; answers how many writes that let go.
    pub fn drain(&self) -> u64 {
        self.running().map(|(worker, ring)| worker.drain(&ring)).sum()
    }

    /// Answers all that was taken, and takes nothing more: a front end that is cut off next finds
    /// `used.idx` where it will stay.
    pub fn retire(&self) {
        for (worker, ring) in self.workers.iter().zip(self.rings()) {
            worker.retire(ring.as_ref());
        }
    }

    /// Remembers where the rings that were not stopped are left. Only when nobody works on them.
    pub fn leave(&self) {
        for (_, ring) in self.running().filter(|(_, ring)| ring.is_ready()) {
            ring.leave();
        }
    }

    /// Has the front end read the configuration space again, where it gave us a way to say so.
    pub fn tell_config_changed(&self) {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = &*channel else { return };
        let header = [CONFIG_CHANGE, PROTOCOL_VERSION, 0].map(u32::to_ne_bytes);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let Err(error) = send(channel, header.as_flattened(), flags) {
            log::warn!("the front end cannot be told that the disk has grown: {error}");
        }
    }

    /// Closes what the crate leaves open. Only after its threads have ended.
    pub fn close_exits(&self) {
        let exits = std::mem::take(&mut *self.exits.lock().unwrap_or_else(PoisonError::into_inner));
        for fd in exits {
            // SAFETY: the crate took this descriptor with `into_raw_fd` for its epoll set and never
            // closes it; its threads have ended, so this is the only owner left.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// The workers whose rings have been used.
    fn running(&self) -> impl Iterator<Item = (&QueueWorker<D>, Ring)> + '_ {
        let rings = self.rings();
        self.workers.iter().zip(rings).filter_map(|(worker, ring)| ring.map(|ring| (worker, ring)))
    }

    fn rings(&self) -> Vec<Option<Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, queue: usize, ring: &Ring) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = rings.get_mut(queue) {
            slot.get_or_insert_with(|| ring.clone());
        }
    }

    fn watch(&self, map: MemoryMap) -> io::Result<()> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = || io::Error::other("there are too many memory regions to watch");
        if watched.add(map) { Ok(()) } else { Err(refused()) }
    }

    fn stop_worker(&self, queue: usize) {
        let ring = self.rings().get(queue).and_then(Option::clone);
        if let (Some(worker), Some(ring)) = (self.workers.get(queue), ring) {
            worker.stop(&ring);
            ring.leave();
        }
    }
}

impl<D: Device> Keeper for Arc<Backend<D>> {
    fn queues(&self) -> u16 {
        self.queue_count()
    }

    fn adopt(&self, regions: Vec<Region>) {
        let regions = regions.into_iter().map(Some).chain(std::iter::repeat(None));
        self.in_flight.iter().zip(regions).for_each(|(queue, region)| queue.adopt(region));
    }

    fn tell_by(&self, channel: OwnedFd) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }

    fn complain(&self, reason: String) {
        self.ledger.note_broken(None, reason);
    }
}

impl<D: Device> VhostUserBackend for Backend<D> {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.workers.len()
    }

    fn max_queue_size(&self) -> usize {
        MAX_RING
    }

    /// A connection's thread is the crate's: the first that it does of ours is one of these.
    fn features(&self) -> u64 {
        confine(Thread::Connection);
        self.device.features() | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        confine(Thread::Connection);
        self.device.acknowledge(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        confine(Thread::Connection);
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    fn reset_device(&self) {
        for queue in 0..self.workers.len() {
            self.stop_worker(queue);
        }
        self.in_flight.iter().for_each(InFlight::forget);
        self.device.reset();
    }

    /// The ring itself knows whether EVENT_IDX was taken.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.device.config(offset, size)
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        if self.device.set_config(offset, bytes) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the configuration space cannot be written at {offset}"),
        ))
    }

    /// The crate has put the new map into the handle that we share with it. A region past the end
    /// of its file is of no use, so such a map is taken back; a file that is made shorter later on is
    /// what the watch is for.
    fn update_memory(&self, memory: SharedMemory) -> io::Result<()> {
        confine(Thread::Connection);
        let given = memory.memory().into_inner();
        let watched = self.watch(Arc::clone(&given));
        let checked = watched.and_then(|()| given.iter().try_for_each(reaches_its_end));
        if checked.is_err() {
            let map = memory.lock().unwrap_or_else(PoisonError::into_inner);
            map.replace(GuestMemoryMmap::new());
        } else {
            self.ledger.pages().meet(&given);
        }
        checked
    }

    /// A thread for every queue.
    fn queues_per_thread(&self) -> Vec<u64> {
        (0..self.workers.len()).map(|queue| 1 << queue).collect()
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        let flags = EventFlag::NONBLOCK | EventFlag::CLOEXEC;
        let (consumer, notifier) = new_event_consumer_and_notifier(flags).ok()?;
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).push(consumer.as_raw_fd());
        Some((consumer, notifier))
    }

    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        self.stop_worker(usize::try_from(queue).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Doorbell or timer: either way the worker looks at both. Each thread has one queue, so the
    /// thread's number is the queue's. An error here would end the thread, so there is none.
    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[Self::Vring],
        thread: usize,
    ) -> io::Result<()> {
        confine(Thread::Queue);
        if event == self.birth().1 {
            return Ok(());
        }
        let parts = (self.workers.get(thread), vrings.first(), self.places.get(thread));
        if let (Some(worker), Some(vring), Some(place)) = parts {
            let in_flight = self.in_flight.get(thread).cloned().unwrap_or_default();
            let ring = Ring::new(vring.clone(), self.memory.clone(), place.clone(), in_flight);
            self.remember(thread, &ring);
            worker.turn(&ring, &Peers { backend: self, worker });
        }
        Ok(())
    }
}

/// The queues but one, whose worker holds its own lock already. Only the control queue manages tasks, so no
/// two workers ever wait for each other.
struct Peers<'a, D: Device> {
    backend: &'a Backend<D>,
    worker: &'a QueueWorker<D>,
}

impl<D: Device> PeerQueues<D> for Peers<'_, D> {
    fn end(&self, management: &mut dyn TaskManagement<D::Held>) {
        for (worker, ring) in self.backend.running() {
            if !std::ptr::eq(worker, self.worker) {
                worker.manage(&ring, management);
            }
        }
    }
}

/// Whether a region's file is as long as the region; a device's length cannot be asked for.
fn reaches_its_end(region: &GuestRegionMmap<()>) -> io::Result<()> {
    let Some(backing) = region.file_offset() else { return Ok(()) };
    let file = Description::of(backing.file())?;
    let end = backing.start().checked_add(region.len());
    if !file.is_file() || end.is_some_and(|end| end <= file.bytes) {
        return Ok(());
    }
    let address = region.start_addr().0;
    let reason = format!("the memory region at {address:#x} is longer than its file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}
