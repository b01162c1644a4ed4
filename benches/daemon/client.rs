//! One client for every server: the crate virtio-driver's vhost-user front end, driven as a guest's
//! driver would be. It looks at the ring before it blocks on the call eventfd.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use virtio_driver::{
    EventFd, QueueNotifier, VhostUser, VirtioBlkQueue, VirtioBlkTransport, VirtioFeatureFlags,
};
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, FileOffset, VolatileMemory};

/// What the client asks for, over and over.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// Write, or read.
    pub write: bool,
    /// Bytes of a request.
    pub bytes: usize,
    /// Requests in flight on every queue.
    pub depth: usize,
    /// One request after the other in the order of the disk, or scattered.
    pub sequential: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The time measured.
    pub elapsed: Duration,
    /// How long each request took, in nanoseconds.
    pub latencies: Vec<u64>,
}

/// A connection to a server.
pub struct Client {
    lines: Vec<Line>,
    disk_bytes: u64,
    // Dropped last: the rings lie in its memory.
    _transport: Box<VirtioBlkTransport>,
}

/// One queue, and the buffers of its requests.
struct Line {
    queue: VirtioBlkQueue<'static, Ticket>,
    kick: Box<dyn QueueNotifier>,
    call: Arc<EventFd>,
    buffers: MmapRegion<()>,
    random: fastrand::Rng,
    next: u64,
}

/// A request in flight.
struct Ticket {
    slot: usize,
    sent: Instant,
}

/// How long a server may be silent before the run is given up.
const PATIENCE: u16 = 20_000;

impl Client {
    /// Connects, with room for `buffer_bytes` of requests in flight on every queue.
    pub fn connect(
        socket: &Path,
        queues: usize,
        ring: u16,
        buffer_bytes: usize,
    ) -> anyhow::Result<Client> {
        let features = (VirtioFeatureFlags::VERSION_1 | VirtioFeatureFlags::RING_EVENT_IDX).bits();
        // VIRTIO_BLK_F_FLUSH: without it every write would have to be durable when it completes.
        // VIRTIO_BLK_F_MQ: without it the crate sees one queue.
        let device = 1 << 9 | 1 << 12;
        let path = socket.to_str().context("the socket's path is not UTF-8")?;
        let mut transport: Box<VirtioBlkTransport> =
            Box::new(VhostUser::new(path, features | device).context("cannot connect")?);
        let rings = VirtioBlkQueue::setup_queues(&mut *transport, queues, ring)?;
        let disk_bytes = u64::from(transport.get_config()?.capacity) * 512;
        let lines = rings.into_iter().enumerate().map(|(index, queue)| {
            let buffers = shared_memory(&mut *transport, buffer_bytes)?;
            Ok(Line {
                queue,
                kick: transport.get_submission_notifier(index),
                call: transport.get_completion_fd(index),
                buffers,
                random: fastrand::Rng::with_seed(index as u64),
                next: 0,
            })
        });
        let lines = lines.collect::<anyhow::Result<_>>()?;
        Ok(Client { lines, disk_bytes, _transport: transport })
    }

    /// Asks for `pattern` until `time` is over, on all queues at once.
    pub fn run(&mut self, pattern: Pattern, time: Duration) -> anyhow::Result<Outcome> {
        let disk = self.disk_bytes / pattern.bytes as u64;
        let limit = Limit { until: Some(Instant::now() + time), requests: u64::MAX };
        self.drive(pattern, limit, disk)
    }

    /// Writes the whole disk once, so that every server has the same, populated, file.
    pub fn populate(&mut self) -> anyhow::Result<()> {
        let pattern = Pattern { write: true, bytes: 128 << 10, depth: 8, sequential: true };
        let disk = self.disk_bytes / pattern.bytes as u64;
        self.drive(pattern, Limit { until: None, requests: disk }, disk).map(drop)
    }

    fn drive(&mut self, pattern: Pattern, limit: Limit, disk: u64) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let outcomes: Vec<anyhow::Result<Vec<u64>>> = std::thread::scope(|scope| {
            let threads = self.lines.iter_mut();
            let threads: Vec<_> =
                threads.map(|line| scope.spawn(move || line.drive(pattern, limit, disk))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client panicked")).collect()
        });
        let elapsed = start.elapsed();
        let mut latencies = Vec::new();
        for outcome in outcomes {
            latencies.append(&mut outcome?);
        }
        Ok(Outcome { elapsed, latencies })
    }
}

/// When a line stops asking.
#[derive(Debug, Clone, Copy)]
struct Limit {
    until: Option<Instant>,
    requests: u64,
}

impl Line {
    fn drive(&mut self, pattern: Pattern, limit: Limit, disk: u64) -> anyhow::Result<Vec<u64>> {
        ensure!(pattern.bytes * pattern.depth <= self.buffers.size(), "too few buffers");
        let mut free: Vec<usize> = (0..pattern.depth).collect();
        let mut latencies = Vec::with_capacity(1 << 19);
        let mut asked = 0;
        self.next = 0;
        loop {
            let over = limit.until.is_some_and(|until| Instant::now() >= until);
            let room = if over { 0 } else { limit.requests - asked };
            asked += self.submit(pattern, disk, &mut free, room)?;
            if free.len() == pattern.depth {
                return Ok(latencies);
            }
            self.wait()?;
            self.reap(&mut free, &mut latencies)?;
        }
    }

    /// Fills the ring again; one doorbell for all of it, where the server wants one.
    fn submit(
        &mut self,
        pattern: Pattern,
        disk: u64,
        free: &mut Vec<usize>,
        room: u64,
    ) -> anyhow::Result<u64> {
        let mut asked = 0;
        let sent = Instant::now();
        while asked < room {
            let Some(slot) = free.pop() else { break };
            let place =
                if pattern.sequential { self.next % disk } else { self.random.u64(0..disk) };
            self.next += 1;
            self.ask(pattern, place * pattern.bytes as u64, Ticket { slot, sent })?;
            asked += 1;
        }
        if asked > 0 && self.queue.avail_notif_needed() {
            self.kick.notify()?;
        }
        Ok(asked)
    }

    fn ask(&mut self, pattern: Pattern, offset: u64, ticket: Ticket) -> anyhow::Result<()> {
        let buffer = self.buffers.as_ptr().wrapping_add(ticket.slot * pattern.bytes);
        // SAFETY: the slot is below the depth, and all slots fit the buffers, which live as long as
        // the queue. Nothing borrows them; the server is the only one that touches them meanwhile.
        unsafe {
            if pattern.write {
                self.queue.write_raw(offset, buffer, pattern.bytes, ticket)?;
            } else {
                self.queue.read_raw(offset, buffer, pattern.bytes, ticket)?;
            }
        }
        Ok(())
    }

    /// Blocks until the server says that it has answered something.
    fn wait(&mut self) -> anyhow::Result<()> {
        if self.queue.completions().has_next() {
            return Ok(());
        }
        self.queue.set_used_notif_enabled(true);
        while !self.queue.completions().has_next() {
            let mut fds = [PollFd::new(self.call.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(PATIENCE))? == 0 {
                bail!("the server is silent");
            }
            self.call.read()?;
        }
        self.queue.set_used_notif_enabled(false);
        Ok(())
    }

    fn reap(&mut self, free: &mut Vec<usize>, latencies: &mut Vec<u64>) -> anyhow::Result<()> {
        let now = Instant::now();
        for done in self.queue.completions() {
            ensure!(done.ret == 0, "the server answered {}", done.ret);
            let nanos = now.duration_since(done.context.sent).as_nanos();
            latencies.push(nanos.try_into().unwrap_or(u64::MAX));
            free.push(done.context.slot);
        }
        Ok(())
    }
}

/// Memory that both sides see, filled with noise.
fn shared_memory(
    transport: &mut VirtioBlkTransport,
    bytes: usize,
) -> anyhow::Result<MmapRegion<()>> {
    let file = File::from(memfd_create("buffers", MFdFlags::MFD_CLOEXEC)?);
    file.set_len(bytes as u64)?;
    let region = MmapRegion::from_file(FileOffset::new(file.try_clone()?, 0), bytes)?;
    let mut noise = vec![0; bytes];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    region.as_volatile_slice().write_slice(&noise, 0)?;
    transport.map_mem_region(region.as_ptr() as usize, bytes, file.as_raw_fd(), 0)?;
    Ok(region)
}
