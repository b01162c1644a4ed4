//! A queue's part of the shared file: its fields as they lie there.
//!
//! The layout is libvhost-user's (QEMU's docs/interop/vhost-user.rst, "Inflight I/O tracking", for
//! split rings): a backend of another make can go on with it. The front end can write to all of it at
//! any moment, so nothing that is read from it is believed.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create,
};
use vm_memory::{AtomicInteger, FileOffset, MmapRegion, VolatileMemory};

use crate::descriptor::Description;

/// The header: features (8), version (2), number of descriptors (2), head of the last batch (2), used
/// index (2).
const HEADER: usize = 16;
const VERSION: usize = 8;
const DESCRIPTORS: usize = 10;
const LAST_HEAD: usize = 12;
const USED_IDX: usize = 14;
/// One descriptor: whether it is in flight (1), padding (5), next of its batch (2), counter (8).
const ENTRY: usize = 16;
const COUNTER: usize = 8;
/// Each queue's part begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// How a front end describes the file (vhost-user, "Inflight description").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlightShape {
    /// How many bytes of the file.
    pub bytes: u64,
    /// From where on.
    pub offset: u64,
    /// How many queues.
    pub queues: u16,
    /// How many descriptors each has.
    pub ring_size: u16,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum InFlightFileError {
    /// No queue, or more than there are, or no descriptor, or more than a ring has.
    #[error("{queues} queues of {ring_size} descriptors are not what this device has")]
    Shape {
        /// How many queues were asked for.
        queues: u16,
        /// How many descriptors each.
        ring_size: u16,
    },
    /// It ends before its last queue does.
    #[error("{given} bytes are too few for {needed}")]
    Short {
        /// What there is.
        given: u64,
        /// What there has to be.
        needed: u64,
    },
    /// Somebody could make it shorter while it is mapped.
    #[error("it is not sealed against being made shorter")]
    Unsealed,
    /// A message without what it is about.
    #[error("its description or its descriptor is missing")]
    Missing,
    /// The kernel has none for us.
    #[error("it cannot be made: {0}")]
    Make(io::Error),
    /// The kernel does not map it.
    #[error("it cannot be mapped: {0}")]
    Map(io::Error),
}

/// The most descriptors of a ring (VIRTIO 1.2 §2.7).
const MAX_RING: u16 = 32_768;

fn bytes_of_queue(ring_size: u16) -> usize {
    (HEADER + ENTRY * usize::from(ring_size)).next_multiple_of(ALIGNMENT)
}

impl InFlightShape {
    /// What a device of at most `most` queues needs for `queues` of `ring_size` descriptors.
    pub fn new(queues: u16, ring_size: u16, most: u16) -> Result<Self, InFlightFileError> {
        if queues == 0 || queues > most || ring_size == 0 || ring_size > MAX_RING {
            return Err(InFlightFileError::Shape { queues, ring_size });
        }
        let bytes = bytes_of_queue(ring_size) as u64 * u64::from(queues);
        Ok(InFlightShape { bytes, offset: 0, queues, ring_size })
    }

    /// A new file of this shape, all zeros, which nobody can make shorter.
    pub fn make_file(&self) -> Result<File, InFlightFileError> {
        let made = |errno: rustix::io::Errno| InFlightFileError::Make(errno.into());
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("dixtrap-in-flight", flags).map_err(made)?;
        ftruncate(&file, self.bytes).map_err(made)?;
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(made)?;
        Ok(File::from(file))
    }

    /// Maps `file`, which a front end says to be of this shape, and takes it apart: a region a queue.
    pub fn map(&self, file: File, most: u16) -> Result<Vec<Region>, InFlightFileError> {
        let needed = InFlightShape::new(self.queues, self.ring_size, most)?.bytes;
        if self.bytes < needed {
            return Err(InFlightFileError::Short { given: self.bytes, needed });
        }
        let described = Description::of(&file).map_err(InFlightFileError::Map)?;
        let there = described.bytes.saturating_sub(self.offset);
        if there < needed {
            return Err(InFlightFileError::Short { given: there, needed });
        }
        // A page that is gone would end the daemon.
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        if !seals.contains(SealFlags::SHRINK) {
            return Err(InFlightFileError::Unsealed);
        }
        let mapped = |error| InFlightFileError::Map(io::Error::other(error));
        let bytes = usize::try_from(needed).unwrap_or(usize::MAX);
        let map = MmapRegion::from_file(FileOffset::new(file, self.offset), bytes);
        let map = map.map_err(mapped)?;
        let (map, step) = (Arc::new(map), bytes_of_queue(self.ring_size));
        let region = |queue: u16| Region {
            map: Arc::clone(&map),
            begin: step * usize::from(queue),
            ring_size: self.ring_size,
        };
        Ok((0..self.queues).map(region).collect())
    }
}

/// One queue's part of a mapped file. Every access is one atomic load or store of one field.
#[derive(Debug, Clone)]
pub struct Region {
    map: Arc<MmapRegion>,
    begin: usize,
    ring_size: u16,
}

impl Region {
    /// How many descriptors it has room for.
    pub(super) fn ring_size(&self) -> u16 {
        self.ring_size
    }

    fn at<T: AtomicInteger>(&self, offset: usize) -> Option<&T> {
        // Aligned, and inside: every offset is a field's of a descriptor below `ring_size`.
        self.map.get_atomic_ref(self.begin + offset).ok()
    }

    fn load<T: AtomicInteger>(&self, offset: usize) -> T::V
    where
        T::V: Default,
    {
        self.at::<T>(offset).map_or_else(T::V::default, |field| field.load(Ordering::Acquire))
    }

    /// Release: a process that is killed has executed every store before this one; what remains is the
    /// compiler's order.
    fn store<T: AtomicInteger>(&self, offset: usize, value: T::V) {
        if let Some(field) = self.at::<T>(offset) {
            field.store(value, Ordering::Release);
        }
    }

    fn entry(&self, head: u16) -> usize {
        HEADER + ENTRY * usize::from(head.min(self.ring_size.saturating_sub(1)))
    }

    pub(super) fn version(&self) -> u16 {
        self.load::<AtomicU16>(VERSION)
    }

    pub(super) fn set_version(&self, version: u16) {
        self.store::<AtomicU16>(VERSION, version);
    }

    pub(super) fn descriptors(&self) -> u16 {
        self.load::<AtomicU16>(DESCRIPTORS)
    }

    pub(super) fn set_descriptors(&self, number: u16) {
        self.store::<AtomicU16>(DESCRIPTORS, number);
    }

    pub(super) fn last_head(&self) -> u16 {
        self.load::<AtomicU16>(LAST_HEAD)
    }

    pub(super) fn set_last_head(&self, head: u16) {
        self.store::<AtomicU16>(LAST_HEAD, head);
    }

    pub(super) fn used_idx(&self) -> u16 {
        self.load::<AtomicU16>(USED_IDX)
    }

    pub(super) fn set_used_idx(&self, index: u16) {
        self.store::<AtomicU16>(USED_IDX, index);
    }

    pub(super) fn is_in_flight(&self, head: u16) -> bool {
        self.load::<AtomicU8>(self.entry(head)) == 1
    }

    pub(super) fn set_in_flight(&self, head: u16, in_flight: bool) {
        self.store::<AtomicU8>(self.entry(head), u8::from(in_flight));
    }

    pub(super) fn counter(&self, head: u16) -> u64 {
        self.load::<AtomicU64>(self.entry(head) + COUNTER)
    }

    pub(super) fn set_counter(&self, head: u16, counter: u64) {
        self.store::<AtomicU64>(self.entry(head) + COUNTER, counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn fields_lie_where_other_backends_look_for_them() {
        let shape = InFlightShape::new(2, 128, 4).unwrap();
        assert_eq!(shape.bytes, 2 * 2112, "16 + 128 * 16, up to a multiple of 64");
        let file = shape.make_file().unwrap();
        let regions = shape.map(file.try_clone().unwrap(), 4).unwrap();
        let second = &regions[1];
        second.set_version(1);
        second.set_descriptors(128);
        second.set_last_head(0x0304);
        second.set_used_idx(0x0506);
        second.set_counter(127, 0x1122_3344);
        second.set_in_flight(127, true);
        let mut bytes = vec![0; 2112];
        file.read_exact_at(&mut bytes, 2112).unwrap();
        assert_eq!(bytes[8..16], [1, 0, 128, 0, 4, 3, 6, 5]);
        assert_eq!(bytes[16 + 127 * 16], 1);
        assert_eq!(bytes[16 + 127 * 16 + 8..][..8], [0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
        assert!(second.is_in_flight(127) && !regions[0].is_in_flight(127));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (queues, ring_size) in [(0, 8), (5, 8), (1, 0), (1, 32_769)] {
            assert!(InFlightShape::new(queues, ring_size, 4).is_err(), "{queues} {ring_size}");
        }
        let shape = InFlightShape::new(1, 8, 4).unwrap();
        let file = || shape.make_file().unwrap();
        assert!(shape.map(file(), 4).is_ok());
        let short = InFlightShape { bytes: shape.bytes - 1, ..shape };
        assert!(matches!(short.map(file(), 4), Err(InFlightFileError::Short { .. })));
        for offset in [64, u64::MAX] {
            let beyond = InFlightShape { offset, ..shape };
            assert!(matches!(beyond.map(file(), 4), Err(InFlightFileError::Short { .. })));
        }
        let unsealed = tempfile::tempfile().unwrap();
        unsealed.set_len(4096).unwrap();
        assert!(matches!(shape.map(unsealed, 4), Err(InFlightFileError::Unsealed)));
        assert!(file().set_len(0).is_err(), "its own files stay as long as they are");
    }
}
