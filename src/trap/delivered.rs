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
use super::completed::AuditedRead;
use super::error::TrapError;
use super::evidence::tuple_change;
use super::read_race::{Finding, Reader};
use super::sample::copy;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::clock::Moment;
use crate::memory::resample::resample_for_changes;
use crate::memory::{Buffer, List, Segments};
use crate::pi::{GuardTag, TUPLE_BYTES, Tuple, guard};
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
    /// The delivered tuples, where the read carries any.
    pub(super) tuples: Option<Delivered<'a, Tuple>>,
}

/// Items that were put into guest memory, and where.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a, T> {
    /// Where they are.
    pub into: &'a Segments,
    /// What was put there.
    pub items: &'a [T],
}

/// One look, and whom it counts for.
struct Look<'a> {
    trap: &'a Trap,
    delivery: &'a Delivery<'a>,
    span: &'a Arc<Span>,
    /// When the delivery had ended.
    since: Moment,
    /// The tuples as they are now, where they could be read.
    tuples: Option<List<Tuple>>,
    /// The number of the request, once there is something to tell of it.
    id: Option<u64>,
}

/// Looks once more at the data, and where it carries any at the tuples, of a read of the blocks at `lba`, and
/// records every block that is not as it was delivered.
pub fn look_at_delivered(
    trap: &Trap,
    queue: QueueIndex,
    lba: Lba,
    data: Delivered<'_, u8>,
    tuples: Option<Delivered<'_, Tuple>>,
) {
    if !trap.policy.compares() {
        return;
    }
    let Delivered { into, items: bytes } = data;
    let guards = &mut *List::of(GuardTag(0), bytes.len() / trap.block_bytes());
    trap.policy.guards(bytes, guards);
    let delivery = Delivery { queue, lba, into, guards, bytes: Some(bytes), tuples };
    look_after_delivery(trap, &trap.ledger.span(), &delivery);
}

/// Looks at a read's buffers once more, and records every block that is not as it was delivered.
///
/// Memory that is gone by now is no matter of this look: there is nothing to compare.
pub(super) fn look_after_delivery(trap: &Trap, span: &Arc<Span>, delivery: &Delivery<'_>) {
    if !trap.policy.compares() || delivery.guards.is_empty() {
        return;
    }
    look(trap, span, delivery, trap.ledger.now());
}

/// As [`look_after_delivery`], where the delivery had ended at `since`.
pub(super) fn look(trap: &Trap, span: &Arc<Span>, delivery: &Delivery<'_>, since: Moment) {
    trap.ledger.count(span, Count::BlocksDelivered, delivery.guards.len() as u64);
    let sent = delivery.tuples;
    let tuples = sent.and_then(|sent| look_at_tuples(sent.into, sent.items.len()));
    let mut look = Look { trap, delivery, span, since, tuples, id: None };
    let mut told = BTreeSet::new();
    let seen = |index, bytes: &[u8]| {
        told.insert(index);
        look.tell(index, Some(bytes));
    };
    let Ok(kept) = look_at_data(trap, delivery, seen) else { return };
    for index in look.changed_tuples() {
        if told.insert(index) {
            look.tell(index, None);
        }
    }
    if let Some(bytes) = kept {
        look.keep_for_audit(bytes, told);
    }
}

/// One look at the data. Where there is another one to come (`--audit`), what was seen is kept for it.
fn look_at_data(
    trap: &Trap,
    delivery: &Delivery<'_>,
    mut seen: impl FnMut(usize, &[u8]),
) -> Result<Option<Buffer>, TrapError> {
    let (size, into) = (trap.block_bytes(), delivery.into);
    if !trap.options.audit {
        resample_for_changes(into, size, delivery.guards, seen)?;
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

/// The tuples as they are in guest memory now.
pub(super) fn look_at_tuples(list: &Segments, count: usize) -> Option<List<Tuple>> {
    let bytes = copy(&list.clone().split_at((count * TUPLE_BYTES) as u64).0).ok()?;
    Some(bytes.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect())
}

/// Whether one page of the guest stands in a read's buffers twice.
pub(super) fn has_repeated_page(data: &Segments, tuples: Option<&Segments>) -> bool {
    data.has_repeated_page() || tuples.is_some_and(Segments::has_repeated_page)
}

impl Look<'_> {
    /// What is looked at once more after the completion; it is the worker's to say when.
    fn keep_for_audit(self, bytes: Buffer, told: BTreeSet<usize>) {
        let reader = self.reader();
        let tuples = self.delivery.tuples.map(|sent| sent.into.clone()).zip(self.tuples);
        let (into, span, id) = (self.delivery.into.clone(), Arc::clone(self.span), self.id);
        self.trap.ledger.keep(AuditedRead { reader, id, into, bytes, tuples, told, span });
    }

    fn reader(&self) -> Reader {
        Reader {
            queue: self.delivery.queue,
            unit: self.trap.ledger.name_of(self.trap.options.unit),
            lba: self.delivery.lba,
            blocks: BlockCount(self.delivery.guards.len() as u64),
            size: self.trap.block_bytes(),
            since: self.since,
        }
    }

    /// Records one block: the bytes that stand there now, where they are others; else only its tuple is.
    #[cold]
    fn tell(&mut self, index: usize, now: Option<&[u8]>) {
        let (ledger, delivery) = (&self.trap.ledger, self.delivery);
        let delivered = delivery.guards.get(index).copied().unwrap_or(GuardTag(0));
        let changed = now.and_then(|now| {
            let old = self.delivered_block(index, delivered)?;
            Some(difference(&old, now))
        });
        let finding = Finding {
            index,
            delivered,
            now: now.map_or(delivered, guard),
            difference: changed.unwrap_or(Difference { runs: Vec::new(), bytes: 0 }),
            pi_changed: self.pi_change(index),
            overlap: self.has_repeated_page(),
            after_completion: false,
        };
        let id = *self.id.get_or_insert_with(|| ledger.take_request_id());
        ledger.note_read(self.span, &self.reader(), (id, delivery.into), finding);
    }

    /// The bytes of a block as they were delivered. Where nobody kept them they are read again, and
    /// believed if they still have the guard of what was delivered.
    fn delivered_block(&self, index: usize, delivered: GuardTag) -> Option<Vec<u8>> {
        let (delivery, size) = (self.delivery, self.trap.block_bytes());
        if let Some(bytes) = delivery.bytes {
            return bytes.chunks_exact(size).nth(index).map(<[u8]>::to_vec);
        }
        let (mut block, at) = (vec![0; size], delivery.lba.offset(index as u64));
        let read = self.trap.disk.read(at, &mut block, &mut [Tuple::ESCAPE]);
        (read.is_ok() && guard(&block) == delivered).then_some(block)
    }

    /// The blocks whose tuples are others now.
    fn changed_tuples(&self) -> Vec<usize> {
        let (Some(sent), Some(now)) = (self.delivery.tuples, &self.tuples) else {
            return Vec::new();
        };
        let pairs = sent.items.iter().zip(now.iter()).enumerate();
        pairs.filter(|(_, (old, new))| old != new).map(|(index, _)| index).collect()
    }

    fn pi_change(&self, index: usize) -> Option<PiChange> {
        let sent = self.delivery.tuples?;
        let pair = (*sent.items.get(index)?, *self.tuples.as_ref()?.get(index)?);
        tuple_change(sent.into, index, pair)
    }

    fn has_repeated_page(&self) -> bool {
        has_repeated_page(self.delivery.into, self.delivery.tuples.map(|sent| sent.into))
    }
}
