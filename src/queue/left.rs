//! Where rings were left, so that nobody goes on in the wrong place.
//!
//! A front end says from which entry of an available ring on it goes on (SET_VRING_BASE). What lies
//! there is to be done only if nobody took it before, and the ring's memory cannot tell: while one
//! request is being worked on, others that came later are answered, and `used.idx`, which is what QEMU
//! names after a process was killed, counts those. The entry there is then one that was answered, whose
//! buffers are the guest's again, and a read would be written into whatever they are now. So a ring is
//! worked on where it can be proven that no entry from its base on was ever taken:
//!
//! - There is none: the available index is the base.
//! - A process of ours left the ring there, in order, and said so. See [`Left`].
//! - It was never answered in: base and `used.idx` are 0, and the used ring is all zeros, as a driver
//!   makes it (VIRTIO 1.2 §4.1.5.1.3: "allocate and zero"). A driver may have put buffers into it before
//!   the device was started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crc::{CRC_64_XZ, Crc};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::descriptor::Description;
use crate::memory::MemoryMap;

const DIGEST: Crc<u64> = Crc::<u64>::new(&CRC_64_XZ);

/// VIRTIO 1.2 §2.7.8: flags and index come before the entries, eight bytes each.
const USED_IDX: u64 = 2;
const USED_ENTRIES: u64 = 4;
const USED_ENTRY: usize = 8;

/// A ring as it was left: no entry of its available ring from `next` on was ever taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    place: Place,
    next: u16,
    /// Of `used.idx` and the used ring's entries, which only a device writes: where they are the same,
    /// no other device had the ring since.
    answers: u64,
}

/// Which ring of which guest: the file that its used ring lies in, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    offset: u64,
    size: u16,
}

/// What is known of a queue's ring from the last time that it was worked on. Cheap to clone; all clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct LastPlace(Arc<Mutex<Option<Left>>>);

impl LastPlace {
    /// Notes that the ring is left now, and in order.
    pub(super) fn leave(&self, queue: &Queue, map: &MemoryMap) {
        *self.lock() = Left::of(queue, map);
    }

    /// An entry is taken from the ring: what was known is known no longer.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// Whether the ring goes on where it was left.
    pub(super) fn is_here(&self, queue: &Queue, map: &MemoryMap) -> bool {
        let left = *self.lock();
        left.is_some_and(|left| {
            left.next == queue.next_avail() && Left::of(queue, map) == Some(left)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing was ever answered in a ring that begins at its beginning.
pub(super) fn is_untouched(queue: &Queue, map: &MemoryMap) -> bool {
    queue.next_avail() == 0
        && read_answers(queue, map).is_some_and(|answers| answers.iter().all(|byte| *byte == 0))
}

/// `used.idx` and the entries of the used ring, without the fields that a device changes while it is
/// idle; `None` where they are not guest memory.
fn read_answers(queue: &Queue, map: &MemoryMap) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 2 + usize::from(queue.size()).checked_mul(USED_ENTRY)?];
    let (idx, entries) = bytes.split_at_mut_checked(2)?;
    let at = |offset| queue.used_ring().checked_add(offset).map(GuestAddress);
    map.read_slice(idx, at(USED_IDX)?).ok()?;
    map.read_slice(entries, at(USED_ENTRIES)?).ok()?;
    Some(bytes)
}

impl Left {
    fn of(queue: &Queue, map: &MemoryMap) -> Option<Left> {
        let used = GuestAddress(queue.used_ring());
        let region = map.find_region(used)?;
        let backing = region.file_offset()?;
        let (device, inode) = Description::of(backing.file()).ok()?.identity;
        let within = used.0.checked_sub(region.start_addr().0)?;
        let place = Place {
            device,
            inode,
            offset: backing.start().checked_add(within)?,
            size: queue.size(),
        };
        let answers = DIGEST.checksum(&read_answers(queue, map)?);
        Some(Left { place, next: queue.next_avail(), answers })
    }

    const BYTES: usize = 36;

    fn to_bytes(self) -> Vec<u8> {
        let Left { place: Place { device, inode, offset, size }, next, answers } = self;
        let long = [device, inode, offset, answers].into_iter().flat_map(u64::to_le_bytes);
        long.chain([size, next].into_iter().flat_map(u16::to_le_bytes)).collect()
    }

    fn from_bytes(bytes: &[u8; Left::BYTES]) -> Left {
        let (long, short) = bytes.split_at(32);
        let long = |at: usize| {
            long.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let short = |at: usize| {
            short.as_chunks::<2>().0.get(at).map_or(0, |bytes| u16::from_le_bytes(*bytes))
        };
        let place = Place { device: long(0), inode: long(1), offset: long(2), size: short(0) };
        Left { place, next: short(1), answers: long(3) }
    }
}

/// The last places of all queues, for the next process.
pub fn to_note(places: &[LastPlace]) -> Vec<u8> {
    let mut note = Vec::new();
    for (queue, place) in (0u16..).zip(places) {
        if let Some(left) = *place.lock() {
            note.extend(queue.to_le_bytes());
            note.extend(left.to_bytes());
        }
    }
    note
}

/// Takes over what another process noted; what makes no sense is nothing.
pub fn from_note(places: &[LastPlace], note: &[u8]) {
    let (entries, _) = note.as_chunks::<{ 2 + Left::BYTES }>();
    for entry in entries {
        let Some((queue, left)) = entry.split_first_chunk::<2>() else { continue };
        let place = places.get(usize::from(u16::from_le_bytes(*queue)));
        if let (Some(place), Some(left)) = (place, left.first_chunk()) {
            *place.lock() = Some(Left::from_bytes(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;
    use vm_memory::{FileOffset, GuestMemoryMmap};

    /// A guest's memory and a ring of four in it.
    fn guest() -> (MemoryMap, Queue) {
        let file = std::fs::File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(0x1_0000).unwrap();
        let region = (GuestAddress(0x4000), 0x1_0000, Some(FileOffset::new(file, 0)));
        let map = GuestMemoryMmap::from_ranges_with_files([region]).unwrap();
        let mut queue = Queue::new(4).unwrap();
        queue.try_set_used_ring_address(GuestAddress(0x5000)).unwrap();
        (Arc::new(map), queue)
    }

    #[test]
    fn a_ring_is_left_in_one_place_of_one_guest() {
        let ((map, mut queue), (other_map, other_queue)) = (guest(), guest());
        let place = LastPlace::default();
        assert!(!place.is_here(&queue, &map));
        place.leave(&queue, &map);
        assert!(place.is_here(&queue, &map));
        assert!(!place.is_here(&other_queue, &other_map), "another guest");
        queue.set_next_avail(1);
        assert!(!place.is_here(&queue, &map), "another entry");
        place.leave(&queue, &map);
        queue.add_used(&*map, 2, 1).unwrap();
        assert!(!place.is_here(&queue, &map), "something was answered");
        place.leave(&queue, &map);
        assert!(place.is_here(&queue, &map));
        place.forget();
        assert!(!place.is_here(&queue, &map));
    }

    #[test]
    fn a_ring_in_which_something_was_answered_is_not_as_new() {
        let (map, mut queue) = guest();
        assert!(is_untouched(&queue, &map));
        queue.set_next_avail(1);
        assert!(!is_untouched(&queue, &map));
        queue.set_next_avail(0);
        queue.add_used(&*map, 0, 1).unwrap();
        assert!(!is_untouched(&queue, &map));
        map.write_obj(0_u16, GuestAddress(0x5002)).unwrap();
        assert!(!is_untouched(&queue, &map), "the index came round");
        queue.try_set_used_ring_address(GuestAddress(0xF_FFF0)).unwrap();
        assert!(!is_untouched(&queue, &map), "no memory");
    }

    fn left(next: u16) -> Left {
        let place = Place { device: 1, inode: u64::MAX - 2, offset: 0x1234_5678_9ABC, size: 128 };
        Left { place, next, answers: 0xFEDC_BA98_7654_3210 }
    }

    fn places(count: usize) -> Vec<LastPlace> {
        std::iter::repeat_with(LastPlace::default).take(count).collect()
    }

    #[test]
    fn a_note_says_what_is_known_and_nothing_else() {
        let known = places(3);
        *known[0].lock() = Some(left(5));
        *known[2].lock() = Some(left(6));
        let next = places(3);
        from_note(&next, &to_note(&known));
        let taken: Vec<_> = next.iter().map(|place| *place.lock()).collect();
        assert_eq!(taken, [Some(left(5)), None, Some(left(6))]);
        // A process with fewer queues takes what it has a place for.
        let fewer = places(1);
        from_note(&fewer, &to_note(&known));
        assert_eq!(*fewer[0].lock(), Some(left(5)));
    }

    proptest! {
        #[test]
        fn any_note_is_survived(note in proptest::collection::vec(any::<u8>(), 0..200)) {
            from_note(&places(2), &note);
        }
    }
}
