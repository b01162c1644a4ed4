//! Reads into guest memory, on every kind of disk: from where the blocks lie in memory in one pass, through
//! a buffer, or, where the medium takes its time, as soon as their data has come.
//!
//! The guards are computed over the very bytes that are put there. So where a block fails, it and others may
//! be in the guest's memory all the same, as with a drive's DMA: the request fails, and nothing of it has any
//! meaning.

use super::delivered::{Delivery, look_after_delivery};
use super::error::TrapError;
use super::read::{Part, Read, arrive, let_in};
use super::trap::Trap;
use crate::inject::Op;
use crate::media::{Blocks, Completion, Started};
use crate::memory::{Buffer, List, MemoryError, Segments};
use crate::pi::{Checks, GuardTag, Tuple};
use crate::units::{BlockCount, BlockRange, Lba, QueueIndex};

/// A read whose data is on its way.
#[derive(Debug)]
#[must_use = "a read has to be concluded"]
pub struct ReadInFlight {
    read: Read,
    queue: QueueIndex,
    into: Segments,
}

/// Reads blocks into guest memory, a whole number of them, and makes every check that needs no command: guard,
/// and with Types 1 and 2 the reference tag against the address. The medium may take its time.
pub fn begin(
    trap: &Trap,
    queue: QueueIndex,
    lba: Lba,
    into: &Segments,
) -> Result<Started<(), ReadInFlight>, TrapError> {
    let blocks = BlockCount(into.len() / trap.geometry().block_size.bytes_u64());
    let (range, checks) =
        (BlockRange::new(lba, blocks), Checks::of_address(trap.geometry().pi_type, lba));
    let read = let_in(trap, Op::Read, range, &checks)?;
    if !trap.disk.overlaps(queue) || into.is_empty() {
        let guards = &*deliver(trap, &read, into)?;
        let delivery = Delivery { queue, lba, into, guards, bytes: None, tuples: None };
        look_after_delivery(trap, &read.span, &delivery);
        return Ok(Started::Done(()));
    }
    let in_flight = ReadInFlight { read, queue, into: into.clone() };
    match trap.disk.start_read(queue, range)? {
        Started::Pending(id, ()) => Ok(Started::Pending(id, in_flight)),
        Started::Done(blocks) => conclude(trap, in_flight, Ok(blocks)).map(Started::Done),
    }
}

/// The data of a read is here, or failed to come.
pub fn conclude(
    trap: &Trap,
    in_flight: ReadInFlight,
    completion: Completion,
) -> Result<(), TrapError> {
    let ReadInFlight { read, queue, into } = in_flight;
    let Blocks { mut data, mut tuples } = completion?;
    let mut guards = List::of(GuardTag(0), tuples.len());
    let part = Part { skipped: 0, data: &mut data, tuples: &mut tuples, guards: &mut guards };
    put(trap, &read, &into, part)?;
    let (lba, into, guards) = (read.site.lba, &into, &*guards);
    let delivery = Delivery { queue, lba, into, guards, bytes: Some(&data), tuples: None };
    look_after_delivery(trap, &read.span, &delivery);
    Ok(())
}

/// Puts blocks into guest memory at once; answers the guards of what it put there.
pub(super) fn deliver(
    trap: &Trap,
    read: &Read,
    into: &Segments,
) -> Result<List<GuardTag>, TrapError> {
    let blocks = usize::try_from(read.site.blocks.0).unwrap_or(usize::MAX);
    // Faults are aimed at blocks of the whole request.
    let whole = !read.hits.is_empty();
    let step = if whole { blocks } else { trap.disk.blocks_at_once().min(blocks) };
    let mut tuples = List::of(Tuple::ESCAPE, step);
    let mut all = List::of(GuardTag(0), blocks);
    for (guards, skipped) in all.chunks_mut(step.max(1)).zip((0u64..).step_by(step.max(1))) {
        let tuples = tuples.get_mut(..guards.len()).unwrap_or_default();
        let mut part = Part { skipped, data: &mut [], tuples, guards };
        if whole || !in_place(trap, read, into, &mut part)? {
            let bytes = part.tuples.len().saturating_mul(trap.block_bytes());
            let mut data = Buffer::new(bytes);
            trap.disk.read(read.site.lba.offset(skipped), &mut data, part.tuples)?;
            put(trap, read, into, Part { data: &mut data, ..part })?;
        }
    }
    Ok(all)
}

/// From where the blocks lie to the guest in one pass, guards and all; `false` where they do not lie in
/// memory.
fn in_place(
    trap: &Trap,
    read: &Read,
    into: &Segments,
    part: &mut Part<'_>,
) -> Result<bool, TrapError> {
    let Part { skipped, tuples, guards, .. } = part;
    let size = trap.block_bytes();
    let offset = skipped.saturating_mul(size as u64);
    let mut delivered: Result<(), MemoryError> = Ok(());
    let copy = |place: *const u8| {
        // SAFETY: the disk vouches for as many blocks as there are tuples, and so guards. Its mapping is no
        // guest memory, and only touched through raw pointers.
        delivered = unsafe { trap.policy.deliver(into, (offset, place), size, guards) };
    };
    if !trap.disk.read_in_place(read.site.lba.offset(*skipped), tuples, copy)? {
        return Ok(false);
    }
    delivered?;
    read.check(trap, *skipped, tuples, guards)?;
    Ok(true)
}

/// Checks blocks that have come, and puts them into guest memory.
fn put(trap: &Trap, read: &Read, into: &Segments, part: Part<'_>) -> Result<(), TrapError> {
    let Part { skipped, data, tuples, guards } = part;
    arrive(trap, read, Part { skipped, data, tuples, guards })?;
    Ok(into.copy_in(skipped.saturating_mul(trap.block_bytes() as u64), data)?)
}
