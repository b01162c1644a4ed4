//! A later look at guest memory that was copied before: copy, guard and compare in one pass.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::pool::Buffer;
use super::segments::{MemoryError, Segment, Segments};
use crate::pi::{GuardTag, Store, copy_guards_compared, copy_guards_from, guards};

/// How many bytes are looked at at once: the guest's, the earlier ones and the piece itself, which is of
/// use only where it differs, stay in the first-level cache together.
const PIECE: usize = 8 << 10;
/// How many blocks a piece has at most: the smallest have 512 bytes.
const MOST_BLOCKS: usize = PIECE / 512;

/// Reads every byte once more and compares with an `earlier` copy of the list.
///
/// `guards` gets the guards of the bytes that were read just now: `earlier` cut into as many equal
/// blocks as it has room. Answers those bytes where any of them differs, and `None` where all are
/// as they were: then `earlier` is what was read just now, bit by bit, and nothing has to be kept
/// twice.
pub fn resample(
    list: &Segments,
    earlier: &[u8],
    guards: &mut [GuardTag],
) -> Result<Option<Buffer>, MemoryError> {
    if earlier.len() as u64 != list.len() {
        return Err(list.past_end(0, earlier.len()));
    }
    let block = earlier.len().checked_div(guards.len()).unwrap_or(0).max(1);
    let step = (PIECE / block).max(1);
    let mut reader = Reader::new(list);
    let mut piece = Buffer::new(earlier.len().min(step.saturating_mul(block)));
    let mut found: Option<Found> = None;
    for (old, guards) in earlier.chunks(step.saturating_mul(block)).zip(guards.chunks_mut(step)) {
        if let Some(found) = &mut found {
            reader.take(found.next(old.len()), old, guards)?;
            continue;
        }
        let at = reader.taken;
        let new = piece.get_mut(..old.len()).unwrap_or_default();
        if reader.take(new, old, guards)? {
            let same = earlier.get(..at).unwrap_or_default();
            found = Some(Found::new(earlier.len(), same, new));
        }
    }
    list.require_there()?;
    Ok(found.map(|found| found.bytes))
}

/// Reads blocks of `block` bytes that were put here, each byte once, and compares their guards with
/// those of what was put: `guards`, from the list's beginning on. Each block whose guard is another
/// now goes to `differs`: its number, and the bytes as they were read just now.
pub fn resample_for_changes(
    list: &Segments,
    block: usize,
    guards: &[GuardTag],
    mut differs: impl FnMut(usize, &[u8]),
) -> Result<(), MemoryError> {
    let step = PIECE.checked_div(block).unwrap_or(0).clamp(1, MOST_BLOCKS);
    let mut reader = Reader::new(list);
    let mut piece = Buffer::new(step.min(guards.len()).saturating_mul(block));
    let mut found = [GuardTag(0); MOST_BLOCKS];
    for (number, put) in guards.chunks(step).enumerate() {
        let bytes = piece.get_mut(..put.len().saturating_mul(block)).unwrap_or_default();
        let found = found.get_mut(..put.len()).unwrap_or_default();
        reader.take_alone(bytes, found)?;
        if found == put {
            continue;
        }
        list.require_there()?;
        let first = number.saturating_mul(step);
        for (at, bytes) in bytes.chunks_exact(block).enumerate() {
            if found.get(at) != put.get(at) {
                differs(first.saturating_add(at), bytes);
            }
        }
    }
    list.require_there()
}

/// The bytes of a look that found a difference.
struct Found {
    bytes: Buffer,
    filled: usize,
}

impl Found {
    /// `same` was equal in both looks; `new` is the first piece that was not.
    fn new(len: usize, same: &[u8], new: &[u8]) -> Found {
        let mut found = Found { bytes: Buffer::new(len), filled: 0 };
        for part in [same, new] {
            found.next(part.len()).copy_from_slice(part);
        }
        found
    }

    /// Where the next bytes go.
    fn next(&mut self, len: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled = start.saturating_add(len).min(self.bytes.len());
        self.bytes.get_mut(start..self.filled).unwrap_or_default()
    }
}

/// Reads a list from its beginning to its end, each byte once.
struct Reader<'a> {
    segments: &'a Segments,
    /// What is left of the current piece, and the number of the one after it.
    rest: Segment,
    next: usize,
    taken: usize,
}

impl<'a> Reader<'a> {
    fn new(segments: &'a Segments) -> Self {
        Reader { segments, rest: Segment { addr: 0, len: 0 }, next: 0, taken: 0 }
    }

    /// Fills `to` with the next bytes and `guards` with the guards of its blocks; answers whether
    /// they are others than the `earlier` ones, which are as many.
    fn take(
        &mut self,
        to: &mut [u8],
        earlier: &[u8],
        block_guards: &mut [GuardTag],
    ) -> Result<bool, MemoryError> {
        self.refill();
        if self.rest.len as usize >= to.len()
            && let Some(changed) = self.take_at_once(to, earlier, block_guards)
        {
            self.advance(to.len());
            return Ok(changed);
        }
        self.take_in_parts(to)?;
        guards(to, block_guards);
        Ok(to != earlier)
    }

    /// Fills `to` with the next bytes and `guards` with the guards of its blocks.
    fn take_alone(
        &mut self,
        to: &mut [u8],
        block_guards: &mut [GuardTag],
    ) -> Result<(), MemoryError> {
        self.refill();
        if self.rest.len as usize >= to.len()
            && let Ok(slice) = self.segments.map.get_slice(GuestAddress(self.rest.addr), to.len())
        {
            let source = slice.ptr_guard();
            // SAFETY: as in `take_at_once`.
            unsafe { copy_guards_from(Store::Cached, to, source.as_ptr(), block_guards) };
            self.advance(to.len());
            return Ok(());
        }
        self.take_in_parts(to)?;
        guards(to, block_guards);
        Ok(())
    }

    /// In one pass, where all of it is in one piece of this process's memory.
    fn take_at_once(
        &self,
        to: &mut [u8],
        earlier: &[u8],
        block_guards: &mut [GuardTag],
    ) -> Option<bool> {
        let slice = self.segments.map.get_slice(GuestAddress(self.rest.addr), to.len()).ok()?;
        let source = slice.ptr_guard();
        // SAFETY: `slice` says that `to.len()` bytes there are mapped, and stay so while the list
        // holds its map. The guest writes to it from outside; in this process nobody does but
        // through vm-memory, by atomic or volatile accesses. `to` is memory of our own.
        Some(unsafe { copy_guards_compared(to, source.as_ptr(), earlier, block_guards) })
    }

    fn take_in_parts(&mut self, to: &mut [u8]) -> Result<(), MemoryError> {
        let mut to = to;
        while !to.is_empty() {
            self.refill();
            let room = to.len().min(self.rest.len as usize);
            if room == 0 {
                return Err(self.segments.past_end(self.taken as u64, to.len()));
            }
            let (part, rest) = to.split_at_mut(room);
            self.read(part)?;
            self.advance(room);
            to = rest;
        }
        Ok(())
    }

    fn read(&self, part: &mut [u8]) -> Result<(), MemoryError> {
        let (addr, len) = (self.rest.addr, part.len());
        let read = self.segments.map.read_slice(part, GuestAddress(addr));
        read.map_err(|_| MemoryError::Unmapped { addr, len })
    }

    /// Goes on to the next piece where the current one is used up.
    fn refill(&mut self) {
        while self.rest.len == 0 {
            let Some(next) = self.segments.list.get(self.next) else { return };
            self.rest = *next;
            self.next = self.next.saturating_add(1);
        }
    }

    fn advance(&mut self, bytes: usize) {
        // No more than the piece's own u32 length.
        let step = u32::try_from(bytes).unwrap_or(self.rest.len).min(self.rest.len);
        self.rest.addr = self.rest.addr.saturating_add(u64::from(step));
        self.rest.len -= step;
        self.taken = self.taken.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::MemoryMap;
    use crate::pi::guard;
    use proptest::prelude::*;
    use vm_memory::GuestMemoryMmap;

    /// Two regions that touch in the middle of what the lists below use.
    fn ram() -> MemoryMap {
        let ranges = [(GuestAddress(0), 0xB000), (GuestAddress(0xB000), 0x10_0000)];
        Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
    }

    fn list(map: &MemoryMap, lens: &[u32]) -> Segments {
        let mut segments = Segments::new(Arc::clone(map));
        let mut addr = 3;
        for len in lens {
            segments.push(Segment { addr, len: *len }).unwrap();
            addr += u64::from(*len) + 5;
        }
        segments
    }

    fn guards_of(bytes: &[u8], block: usize) -> Vec<GuardTag> {
        bytes.chunks_exact(block).map(guard).collect()
    }

    #[test]
    fn an_empty_list_has_not_changed() {
        assert!(resample(&list(&ram(), &[]), &[], &mut []).unwrap().is_none());
    }

    #[test]
    fn a_copy_of_another_length_is_an_error() {
        let list = list(&ram(), &[512]);
        assert!(resample(&list, &[0; 511], &mut [GuardTag(0)]).is_err());
    }

    proptest! {
        #[test]
        fn a_second_look_sees_what_is_there(
            cuts in proptest::collection::vec(1u32..6000, 0..9),
            blocks in 1u32..80,
            large in any::<bool>(),
            changes in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        ) {
            let (map, block) = (ram(), if large { 4096 } else { 512 });
            // The pieces end where they like; the last one fills up the blocks.
            let total = blocks * block;
            let mut lens = Vec::new();
            let mut left = total;
            for cut in cuts {
                let len = cut.min(left);
                lens.push(len);
                left -= len;
            }
            lens.push(left);
            let list = list(&map, &lens);
            let old: Vec<u8> = (0..total).map(|i| ((i * 31) >> 3) as u8).collect();
            list.copy_in(0, &old).unwrap();
            let mut new = old.clone();
            for change in &changes {
                let at = change.index(new.len());
                new[at] = new[at].wrapping_add(1);
            }
            list.copy_in(0, &new).unwrap();
            let mut guards = vec![GuardTag(0xAAAA); blocks as usize];
            let found = resample(&list, &old, &mut guards).unwrap();
            prop_assert_eq!(guards, guards_of(&new, block as usize));
            match found {
                Some(found) => {
                    prop_assert_ne!(&new, &old);
                    prop_assert_eq!(&*found, &new[..]);
                }
                None => prop_assert_eq!(new, old),
            }
        }
    }
}
