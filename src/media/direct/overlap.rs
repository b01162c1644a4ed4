//! A direct disk's reads and writes, begun here and ended there: several are under way at once.
//!
//! What holds for [`Disk::write`] holds for these: the range is held from before the data is sent
//! until its tuples are written, data first. Whoever takes a transfer's completion writes the tuples;
//! whoever started it is told of the outcome.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::super::backing::Stopped;
use super::super::disk::{Disk, io as failed};
use super::super::error::MediaError;
use super::engine::{Engine, Finished, Ticket, Way};
use super::extents::ExtentId;
use super::room::Room;
use crate::memory::List;
use crate::pi::Tuple;
use crate::units::{BlockCount, Lba, QueueIndex};

/// What a transfer is about.
#[derive(Debug)]
pub struct Errand {
    lba: Lba,
    count: BlockCount,
    offset: u64,
    held: ExtentId,
    /// The tuples of a write.
    tuples: Option<List<Tuple>>,
}

/// How a transfer ended.
#[derive(Debug)]
pub enum Landed {
    /// A write, with its tuples.
    Stored(Result<(), MediaError>),
    /// A read.
    Loaded(Result<Loaded, MediaError>),
}

/// Blocks that were read, and their tuples. Nothing is verified.
#[derive(Debug)]
pub struct Loaded {
    room: Room,
    /// One for each block.
    pub tuples: List<Tuple>,
}

impl Loaded {
    /// The data.
    pub fn bytes(&self) -> &[u8] {
        &self.room
    }
}

impl Disk {
    /// Lets reads and writes of so many queues overlap, where this is a direct disk and the kernel
    /// has io_uring for us. Where it has not, each is made with a call of its own.
    pub fn overlap(&mut self, queues: u16) {
        if !self.is_direct() {
            return;
        }
        match (0..queues).map(|_| Engine::new()).collect::<io::Result<Vec<_>>>() {
            Ok(engines) => self.engines = engines,
            Err(error) => log::warn!(
                "io_uring cannot be used ({error}): direct reads and writes are made one at a time, \
                 which is slow"
            ),
        }
    }

    /// Whether requests of a queue may be under way while it does something else.
    pub fn overlaps(&self, queue: QueueIndex) -> bool {
        self.engine(queue).is_some()
    }

    /// What becomes readable whenever a transfer of the queue has ended.
    pub fn bell(&self, queue: QueueIndex) -> Option<RawFd> {
        self.engine(queue).map(Engine::bell)
    }

    /// Begins what [`Disk::write`] does; `None` where the queue's requests do not overlap.
    pub fn start_write(
        &self,
        queue: QueueIndex,
        lba: Lba,
        data: &[u8],
        tuples: List<Tuple>,
    ) -> Result<Option<Ticket>, MediaError> {
        let Some(engine) = self.engine(queue) else { return Ok(None) };
        let (offset, count) = self.place_of(lba, data.len(), tuples.len())?;
        self.require_writable()?;
        let held = self.take_extent((lba, count), true);
        let errand = Errand { lba, count, offset, held, tuples: Some(tuples) };
        Ok(Some(self.start(engine, queue, Way::Out, Room::with(data), errand)))
    }

    /// Begins what [`Disk::read`] does; `None` where the queue's requests do not overlap.
    pub fn start_read(
        &self,
        queue: QueueIndex,
        lba: Lba,
        count: BlockCount,
    ) -> Result<Option<Ticket>, MediaError> {
        let Some(engine) = self.engine(queue) else { return Ok(None) };
        let blocks = usize::try_from(count.0).unwrap_or(usize::MAX);
        let bytes = blocks.saturating_mul(self.geometry().block_size.bytes());
        let (offset, count) = self.place_of(lba, bytes, blocks)?;
        let held = self.take_extent((lba, count), false);
        let errand = Errand { lba, count, offset, held, tuples: None };
        Ok(Some(self.start(engine, queue, Way::In, Room::new(bytes), errand)))
    }

    fn start(
        &self,
        engine: &Engine,
        queue: QueueIndex,
        way: Way,
        room: Room,
        errand: Errand,
    ) -> Ticket {
        let (held, place) = (errand.held, (self.data.as_raw_fd(), errand.offset));
        let ticket = engine.start(place, way, room, errand, &|finished| self.land(finished));
        self.extents.set_under_way(held, queue);
        ticket
    }

    /// Sets off what the queue has started.
    pub fn submit(&self, queue: QueueIndex) {
        if let Some(engine) = self.engine(queue) {
            engine.submit();
        }
    }

    /// What has landed of the queue's transfers; waits for one where `wait` says so and any is under
    /// way.
    pub fn collect(&self, queue: QueueIndex, wait: bool) -> Vec<(Ticket, Landed)> {
        let collect = |engine: &Engine| engine.collect(wait, &|finished| self.land(finished));
        self.engine(queue).map(collect).unwrap_or_default()
    }

    /// Whether there is something to collect.
    pub fn has_landed(&self, queue: QueueIndex) -> bool {
        self.engine(queue).is_some_and(Engine::has_landed)
    }

    /// Takes a range of a direct disk; ends transfers that are in the way.
    pub(in super::super) fn take_extent(
        &self,
        range: (Lba, BlockCount),
        exclusive: bool,
    ) -> ExtentId {
        self.extents.take(range, exclusive, |queue| {
            if let Some(engine) = self.engine(queue) {
                engine.reap(true, &|finished| self.land(finished));
            }
        })
    }

    fn engine(&self, queue: QueueIndex) -> Option<&Engine> {
        self.engines.get(usize::from(queue.0))
    }

    /// The second half of a read or write, with its range still held.
    fn land(&self, finished: Finished) -> Landed {
        let Finished { errand, room, result } = finished;
        let Errand { lba, count, offset, held, tuples } = errand;
        let landed = match tuples {
            Some(tuples) => {
                let written = self.rest_of_write(offset, &room, result);
                Landed::Stored(self.conclude_write((lba, count), written, &tuples))
            }
            None => Landed::Loaded(self.conclude_read(lba, offset, room, result, count)),
        };
        self.extents.give_back(held);
        landed
    }

    /// A write that the kernel cut short is completed, or fails, by an ordinary call.
    fn rest_of_write(
        &self,
        offset: u64,
        bytes: &[u8],
        result: io::Result<usize>,
    ) -> Result<(), Stopped> {
        let done = part_done(result).map_err(|source| Stopped { written: 0, source })?;
        match bytes.get(done..) {
            None | Some([]) => Ok(()),
            Some(rest) => self.data.write(offset.saturating_add(done as u64), rest),
        }
    }

    fn conclude_read(
        &self,
        lba: Lba,
        offset: u64,
        mut room: Room,
        result: io::Result<usize>,
        count: BlockCount,
    ) -> Result<Loaded, MediaError> {
        let done = part_done(result).map_err(|error| failed("read data", error))?;
        if let Some(rest) = room.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let read = self.data.read(offset.saturating_add(done as u64), rest);
            read.map_err(|error| failed("read data", error))?;
        }
        let blocks = usize::try_from(count.0).unwrap_or(usize::MAX);
        let mut tuples = List::of(Tuple::ESCAPE, blocks);
        self.read_tuples(lba, &mut tuples)?;
        Ok(Loaded { room, tuples })
    }
}

/// How much is done: all, a part, or nothing where it may be tried again.
fn part_done(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(0),
        _ => Err(error),
    })
}
