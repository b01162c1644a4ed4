//! Reads after their completion (`--audit`): what did the guest's memory do to them next?
//!
//! The buffer is the guest's own again, and it may do with it what it likes. So what is found here is no
//! race and no fault of anybody's: it says that bytes which a guest's check found wrong were right when
//! they were handed over, and changed afterwards.

use super::compare::difference;
use super::completed::AuditedRead;
use super::delivered::{has_repeated_page, look_at_tuples};
use super::evidence::tuple_change;
use super::ledger::Ledger;
use super::read_race::Finding;
use super::sample::copy;
use super::tally::Count;
use crate::memory::List;
use crate::pi::{Tuple, guard};
use crate::record::PiChange;

/// Looks at a read's buffers, and records every block that is not as it was before the completion.
///
/// Memory that is gone by now is no matter of this look: there is nothing to compare.
pub fn look_after_completion(read: AuditedRead, ledger: &Ledger) {
    let bytes = read.bytes.len() as u64;
    let Ok(data) = copy(&read.into.clone().split_at(bytes).0) else { return };
    let tuples = read.tuples.as_ref();
    let tuples = tuples.and_then(|(list, tuples)| look_at_tuples(list, tuples.len()));
    ledger.count(&read.span, Count::BlocksAudited, read.reader.blocks.0);
    let (mut id, size) = (read.id, read.reader.size);
    let blocks = read.bytes.chunks_exact(size).zip(data.chunks_exact(size));
    for (index, (old, new)) in blocks.enumerate().filter(|(at, _)| !read.told.contains(at)) {
        let pi_changed = pi_change(&read, index, tuples.as_ref());
        if old == new && pi_changed.is_none() {
            continue;
        }
        let finding = Finding {
            index,
            delivered: guard(old),
            now: guard(new),
            difference: difference(old, new),
            pi_changed,
            overlap: has_repeated_page(&read.into, read.tuples.as_ref().map(|(list, _)| list)),
            after_completion: true,
        };
        let id = *id.get_or_insert_with(|| ledger.take_request_id());
        ledger.note_read(&read.span, &read.reader, (id, &read.into), finding);
    }
}

fn pi_change(read: &AuditedRead, index: usize, now: Option<&List<Tuple>>) -> Option<PiChange> {
    let (list, tuples) = read.tuples.as_ref()?;
    tuple_change(list, index, (*tuples.get(index)?, *now?.get(index)?))
}
