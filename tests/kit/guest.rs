//! A guest: a front end, its memory and its rings, put together the way QEMU does it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VringConfigData};

use super::VIRTIO_RING_F_EVENT_IDX;
use super::memory::Memory;
use super::request::Draft;
use super::ring::Ring;

/// How a guest is plugged in.
pub struct Plug {
    /// How many rings.
    pub queues: usize,
    /// Descriptors a ring.
    pub ring_size: u16,
    /// Features that are offered and not taken.
    pub without: u64,
    /// Whether memory is added region by region (ADD_MEM_REG) or in one table.
    pub region_by_region: bool,
    /// Whether an in-flight region is asked for and kept.
    pub in_flight: bool,
}

impl Default for Plug {
    fn default() -> Self {
        // EVENT_IDX needs a driver that keeps its event fields up to date: tests of it ask for it.
        Plug {
            queues: 1,
            ring_size: 64,
            without: bit(VIRTIO_RING_F_EVENT_IDX),
            region_by_region: false,
            in_flight: false,
        }
    }
}

/// A plugged-in guest.
pub struct Guest {
    pub front: Frontend,
    pub memory: Arc<Memory>,
    pub rings: Vec<Ring>,
    pub offered: u64,
    pub protocol: VhostUserProtocolFeatures,
    /// What the daemon made for the requests in flight, and its file.
    pub region: Option<(VhostUserInflight, File)>,
}

/// A request that is on its way.
pub struct Sent {
    pub queue: usize,
    pub head: u16,
    pub draft: Draft,
}

/// The bit of a feature.
pub fn bit(feature: u32) -> u64 {
    1 << feature
}

impl Guest {
    /// Connects, negotiates, hands over memory and starts the rings.
    pub fn plug(socket: &Path, plug: Plug) -> Guest {
        let mut guest = Guest::greet(socket, &plug);
        if plug.in_flight {
            let asked = VhostUserInflight::new(0, 0, plug.queues as u16, plug.ring_size);
            guest.region = Some(guest.front.get_inflight_fd(&asked).unwrap());
            guest.hand_region_over();
        }
        guest.share_memory(plug.region_by_region);
        for index in 0..plug.queues {
            let ring = Ring::new(&guest.memory, plug.ring_size);
            guest.rings.push(ring);
            guest.start_ring(index);
        }
        guest
    }

    /// Connects again with memory and rings as they are, as QEMU does with `reconnect`: a front end that
    /// got no answer to GET_VRING_BASE goes on at `used.idx`, as it was when the connection ended.
    pub fn reconnect(&mut self, socket: &Path, plug: &Plug) {
        self.reconnect_quietly(socket, plug);
        // QEMU rings once for requests that came in meanwhile.
        self.rings.iter().for_each(Ring::kick);
    }

    /// As [`Guest::reconnect`], without a word about requests.
    pub fn reconnect_quietly(&mut self, socket: &Path, plug: &Plug) {
        let bases: Vec<u16> = self.rings.iter().map(Ring::used_idx).collect();
        self.front = Guest::greet(socket, plug).front;
        self.hand_region_over();
        self.share_memory(plug.region_by_region);
        for (index, base) in bases.into_iter().enumerate() {
            self.front.set_vring_call(index, &self.rings[index].call).unwrap();
            self.describe_ring_from(index, base);
            self.front.set_vring_enable(index, true).unwrap();
        }
    }

    /// Has the daemon keep the region, if there is one.
    pub fn hand_region_over(&mut self) {
        if let Some((shape, file)) = &self.region {
            self.front.set_inflight_fd(shape, file.as_raw_fd()).unwrap();
        }
    }

    /// Connects and negotiates features, no more.
    pub fn greet(socket: &Path, plug: &Plug) -> Guest {
        let stream = UnixStream::connect(socket).unwrap();
        let mut front = Frontend::from_stream(stream, plug.queues as u64);
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        let protocol = front.get_protocol_features().unwrap();
        let wanted = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        let wanted = if plug.in_flight {
            wanted
                | VhostUserProtocolFeatures::INFLIGHT_SHMFD
                | VhostUserProtocolFeatures::BACKEND_REQ
        } else {
            wanted
        };
        front.set_protocol_features(protocol & wanted).unwrap();
        // From here on every message is answered, so that a refusal shows where it happens.
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        front.set_features(offered & !plug.without).unwrap();
        let memory = Arc::new(Memory::new());
        Guest { front, memory, rings: Vec::new(), offered, protocol, region: None }
    }

    fn share_memory(&mut self, region_by_region: bool) {
        let regions = self.memory.regions();
        if region_by_region {
            for region in &regions {
                self.front.add_mem_region(region).unwrap();
            }
        } else {
            self.front.set_mem_table(&regions).unwrap();
        }
    }

    /// Tells the daemon everything about a ring and enables it.
    pub fn start_ring(&mut self, index: usize) {
        self.describe_ring(index);
        self.front.set_vring_enable(index, true).unwrap();
    }

    /// Tells the daemon everything about a ring, which stays as enabled as it is.
    pub fn describe_ring(&mut self, index: usize) {
        self.front.set_vring_call(index, &self.rings[index].call).unwrap();
        self.describe_ring_without_call(index);
    }

    /// As [`Guest::describe_ring`], but for the call descriptor.
    pub fn describe_ring_without_call(&mut self, index: usize) {
        self.describe_ring_from(index, self.rings[index].used_idx());
    }

    /// As [`Guest::describe_ring_without_call`], with another base.
    pub fn describe_ring_from(&mut self, index: usize, base: u16) {
        let ring = &self.rings[index];
        let addresses = VringConfigData {
            queue_max_size: ring.size,
            queue_size: ring.size,
            flags: 0,
            desc_table_addr: self.memory.host_address(ring.desc),
            used_ring_addr: self.memory.host_address(ring.used),
            avail_ring_addr: self.memory.host_address(ring.avail),
            log_addr: None,
        };
        self.front.set_vring_num(index, ring.size).unwrap();
        self.front.set_vring_base(index, base).unwrap();
        self.front.set_vring_addr(index, &addresses).unwrap();
        self.front.set_vring_kick(index, &ring.kick).unwrap();
    }

    /// A barrier: the daemon has dealt with every message before this one.
    pub fn round_trip(&mut self) {
        self.front.get_features().unwrap();
    }

    /// Stops a ring; answers with the next available index the daemon would have looked at.
    pub fn stop_ring(&mut self, index: usize) -> u32 {
        self.front.get_vring_base(index).unwrap()
    }

    /// Stops a ring, empties it and starts it again.
    pub fn restart_ring(&mut self, index: usize) {
        self.stop_ring(index);
        self.rings[index].clear();
        self.start_ring(index);
    }

    /// `size` bytes of the configuration space.
    pub fn config(&mut self, offset: u32, size: u32) -> Vec<u8> {
        let room = vec![0; size as usize];
        let (_, bytes) = self
            .front
            .get_config(offset, size, VhostUserConfigFlags::empty(), &room)
            .unwrap_or_else(|e| panic!("configuration {offset}+{size}: {e}"));
        bytes
    }

    /// Exposes a request and rings the doorbell.
    pub fn send(&mut self, queue: usize, draft: Draft) -> Sent {
        let head = self.rings[queue].place(&draft.pieces());
        self.ring_bell(queue, head);
        Sent { queue, head, draft }
    }

    /// Exposes a chain and rings the doorbell.
    pub fn ring_bell(&mut self, queue: usize, head: u16) {
        self.rings[queue].expose(head);
        self.rings[queue].kick();
    }

    /// Waits for a request; answers with its status.
    pub fn finish(&mut self, sent: &Sent) -> u8 {
        self.rings[sent.queue].wait(sent.head);
        sent.draft.status()
    }

    /// One request on ring 0 from beginning to end.
    pub fn run(&mut self, draft: Draft) -> u8 {
        let sent = self.send(0, draft);
        self.finish(&sent)
    }

    /// Any chain on ring 0 from beginning to end.
    pub fn run_pieces(&mut self, draft: &Draft, pieces: &[super::Piece]) -> u8 {
        let head = self.rings[0].place(pieces);
        self.ring_bell(0, head);
        self.rings[0].wait(head);
        draft.status()
    }

    /// Exposes a write and rings the doorbell.
    pub fn start_write(&mut self, sector: u64, data: &[u8]) -> Sent {
        let draft = Draft::write(&self.memory, sector, data);
        self.send(0, draft)
    }

    /// Writes, from beginning to end.
    pub fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        let draft = Draft::write(&self.memory, sector, data);
        self.run(draft)
    }

    /// Reads, from beginning to end.
    pub fn read(&mut self, sector: u64, len: usize) -> (u8, Vec<u8>) {
        let draft = Draft::read(&self.memory, sector, len);
        let sent = self.send(0, draft);
        (self.finish(&sent), sent.draft.bytes())
    }

    /// Reads what has to be readable.
    pub fn must_read(&mut self, sector: u64, len: usize) -> Vec<u8> {
        let (status, bytes) = self.read(sector, len);
        assert_eq!(status, super::OK, "read of {len} bytes at sector {sector}");
        bytes
    }

    /// Flushes.
    pub fn flush(&mut self) -> u8 {
        let draft = Draft::flush(&self.memory);
        self.run(draft)
    }

    /// A write and a read back: this ring works.
    pub fn proves_it_works(&mut self, queue: usize, sector: u64) {
        let data = super::pattern(sector ^ 0xFEED, 4096);
        let draft = Draft::write(&self.memory, sector, &data);
        let sent = self.send(queue, draft);
        assert_eq!(self.finish(&sent), super::OK);
        let draft = Draft::read(&self.memory, sector, 4096);
        let sent = self.send(queue, draft);
        assert_eq!(self.finish(&sent), super::OK);
        assert_eq!(sent.draft.bytes(), data);
    }

    /// The features every test relies on.
    pub fn assert_offers(&self, features: &[u32]) {
        for feature in features {
            assert_ne!(self.offered & bit(*feature), 0, "feature bit {feature} is not offered");
        }
    }
}
