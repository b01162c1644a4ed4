//! Reads after their delivery: does the guest's memory still hold what was put there?
//!
//! A guest that checks what it read (the block layer's integrity over DIX, the checksums of a file system
//! or of a cluster) blames the disk where the buffer itself changed: because somebody else wrote to it,
//! because it is no memory of its own any more, or because one page stands in the read twice. So each
//! delivered block is looked at once more before the read is answered, by its guard: what the guest's own
//! check could see is seen here. A read is never failed for it, whatever is found.
//!
//! It is never counted among the races of writes: a drive cannot see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::compare::{Difference, difference};
use super::completed::Completed;
use super::error::TrapError;
use super::evidence::tuple_change;
use super::read_race::{Finding, Reader};
use super::sample::copy;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::clock::Moment;
use crate::memory::{Buffer, List, Segments};
use crate::pi::{GuardTag, TUPLE_BYTES, Tuple, guard, guards};
use crate::record::PiChange;
use crate::units::{BlockCount, Lba, QueueIndex};

/// What a read put into guest memory.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    /// The ring that the read came by.
    pub(super) queue: QueueIndex,
    /// The first block.
    pub(super) lba: Lba,
    /// Where the data is.
    pub(super) into: &'a Segments,
    /// The guards of the delivered blocks, from the first one on.
    pub(super) guards: &'a [GuardTag],
    /// The delivered bytes, where there is a copy of them; else the medium is asked once more.
    pub(super) bytes: Option<&'a [u8]>,
    /// Where the tuples are, and which they were, where the read carries any.
    pub(super) tuples: Option<(&'a Segments, &'a [Tuple])>,
}

/// One look, and whom it counts for.
struct Look<'a> {
    delivery: &'a Delivery<'a>,
    span: &'a Arc<Span>,
    /// When the delivery had ended.
    since: Moment,
    /// The tuples as they are now, where they could be read.
    tuples: Option<List<Tuple>>,
    /// The number of the request, once there is something to tell of it.
    id: Option<u64>,
}

impl Trap {
    /// As `Trap::look_after_delivery`, for a read of the blocks at `lba` whose bytes, and where it carries
    /// any its tuples, were put where they are said to be.
    pub fn look_at_delivered(
        &self,
        (queue, lba): (QueueIndex, Lba),
        (into, bytes): (&Segments, &[u8]),
        tuples: Option<(&Segments, &[Tuple])>,
    ) {
        if self.unchecked {
            return;
        }
        let mut computed = List::of(GuardTag(0), bytes.len() / self.block_bytes());
        guards(bytes, &mut computed);
        let guards = &*computed;
        let delivery = Delivery { queue, lba, into, guards, bytes: Some(bytes), tuples };
        self.look_after_delivery(&self.ledger.span(), &delivery);
    }

    /// Looks at a read's buffers once more, and records every block that is not as it was delivered.
    ///
    /// Memory that is gone by now is no matter of this look: there is nothing to compare.
    pub(super) fn look_after_delivery(&self, span: &Arc<Span>, delivery: &Delivery<'_>) {
        if self.unchecked || delivery.guards.is_empty() {
            return;
        }
        self.look(span, delivery, self.ledger.now());
    }

    /// As [`Trap::look_after_delivery`], where the delivery had ended at `since`.
    pub(super) fn look(&self, span: &Arc<Span>, delivery: &Delivery<'_>, since: Moment) {
        self.ledger.count(span, Count::BlocksDelivered, delivery.guards.len() as u64);
        let tuples = delivery.tuples.and_then(|(room, tuples)| look_at_tuples(room, tuples.len()));
        let mut look = Look { delivery, span, since, tuples, id: None };
        let mut told = BTreeSet::new();
        let seen = |index, bytes: &[u8]| {
            told.insert(index);
            self.tell(&mut look, index, Some(bytes));
        };
        let Ok(kept) = self.look_at_data(delivery, seen) else { return };
        for index in look.changed_tuples() {
            if told.insert(index) {
                self.tell(&mut look, index, None);
            }
        }
        if let Some(bytes) = kept {
            self.keep_for_audit(look, bytes, told);
        }
    }

    /// One look at the data. Where there is another one to come (`--audit`), what was seen is kept for it.
    fn look_at_data(
        &self,
        delivery: &Delivery<'_>,
        mut seen: impl FnMut(usize, &[u8]),
    ) -> Result<Option<Buffer>, TrapError> {
        let (size, into) = (self.block_bytes(), delivery.into);
        if !self.options.audit {
            into.look_for_changes(size, delivery.guards, seen)?;
            return Ok(None);
        }
        let bytes = copy(&into.clone().split_at((delivery.guards.len() * size) as u64).0)?;
        for (index, (block, put)) in bytes.chunks_exact(size).zip(delivery.guards).enumerate() {
            if guard(block) != *put {
                seen(index, block);
            }
        }
        Ok(Some(bytes))
    }

    /// What the completion is followed by where it comes: it is the lane's to say when.
    fn keep_for_audit(&self, look: Look<'_>, bytes: Buffer, told: BTreeSet<usize>) {
        let reader = self.reader(&look);
        let tuples = look.delivery.tuples.map(|(room, _)| room.clone()).zip(look.tuples);
        let (into, span, id) = (look.delivery.into.clone(), Arc::clone(look.span), look.id);
        self.ledger.keep(Completed { reader, id, into, bytes, tuples, told, span });
    }

    fn reader(&self, look: &Look<'_>) -> Reader {
        Reader {
            queue: look.delivery.queue,
            unit: self.ledger.name_of(self.options.unit),
            lba: look.delivery.lba,
            blocks: BlockCount(look.delivery.guards.len() as u64),
            size: self.block_bytes(),
            since: look.since,
        }
    }

    /// Records one block: the bytes that stand there now, where they are others; else only its tuple is.
    fn tell(&self, look: &mut Look<'_>, index: usize, now: Option<&[u8]>) {
        let delivery = look.delivery;
        let delivered = delivery.guards.get(index).copied().unwrap_or(GuardTag(0));
        let changed = now.and_then(|now| {
            let old = self.delivered_block(delivery, index, delivered)?;
            Some(difference(&old, now))
        });
        let finding = Finding {
            index,
            delivered,
            now: now.map_or(delivered, guard),
            difference: changed.unwrap_or(Difference { runs: Vec::new(), bytes: 0 }),
            pi_changed: look.pi_change(index),
            overlap: look.has_repeated_page(),
            after_completion: false,
        };
        let id = *look.id.get_or_insert_with(|| self.ledger.take_request_id());
        self.ledger.note_read(look.span, &self.reader(look), (id, delivery.into), finding);
    }

    /// The bytes of a block as they were delivered. Where nobody kept them they are read again, and
    /// believed if they still have the guard of what was delivered.
    fn delivered_block(
        &self,
        delivery: &Delivery<'_>,
        index: usize,
        delivered: GuardTag,
    ) -> Option<Vec<u8>> {
        let size = self.block_bytes();
        if let Some(bytes) = delivery.bytes {
            return bytes.chunks_exact(size).nth(index).map(<[u8]>::to_vec);
        }
        let mut block = vec![0; size];
        let read =
            self.disk.read(delivery.lba.offset(index as u64), &mut block, &mut [Tuple::ESCAPE]);
        (read.is_ok() && guard(&block) == delivered).then_some(block)
    }
}

/// The tuples as they are in guest memory now.
pub(super) fn look_at_tuples(room: &Segments, count: usize) -> Option<List<Tuple>> {
    let bytes = copy(&room.clone().split_at((count * TUPLE_BYTES) as u64).0).ok()?;
    Some(bytes.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect())
}

/// Whether one page of the guest stands in a read's buffers twice.
pub(super) fn has_repeated_page(data: &Segments, tuples: Option<&Segments>) -> bool {
    data.has_repeated_page() || tuples.is_some_and(Segments::has_repeated_page)
}

impl Look<'_> {
    /// The blocks whose tuples are others now.
    fn changed_tuples(&self) -> Vec<usize> {
        let (Some((_, old)), Some(new)) = (self.delivery.tuples, &self.tuples) else {
            return Vec::new();
        };
        let pairs = old.iter().zip(new.iter()).enumerate();
        pairs.filter(|(_, (old, new))| old != new).map(|(index, _)| index).collect()
    }

    fn pi_change(&self, index: usize) -> Option<PiChange> {
        let (room, tuples) = self.delivery.tuples?;
        tuple_change(room, index, (*tuples.get(index)?, *self.tuples.as_ref()?.get(index)?))
    }

    fn has_repeated_page(&self) -> bool {
        has_repeated_page(self.delivery.into, self.delivery.tuples.map(|(room, _)| room))
    }
}
