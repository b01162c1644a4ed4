//! Reads after their completion (`--audit`): what did the guest's memory do to them next?
//!
//! The buffer is the guest's own again, and it may do with it what it likes. So what is found here is no
//! race and no fault of anybody's: it says that bytes which a guest's check found wrong were right when
//! they were handed over, and changed afterwards.

use super::compare::difference;
use super::completed::Completed;
use super::delivered::{has_repeated_page, look_at_tuples};
use super::evidence::tuple_change;
use super::ledger::Ledger;
use super::read_race::Finding;
use super::sample::copy;
use super::tally::Count;
use crate::memory::List;
use crate::pi::{Tuple, guard};
use crate::record::PiChange;

impl Completed {
    /// Looks at the read's buffers, and records every block that is not as it was before the completion.
    ///
    /// Memory that is gone by now is no matter of this look: there is nothing to compare.
    pub fn look(self, ledger: &Ledger) {
        let Ok(data) = copy(&self.into.clone().split_at(self.bytes.len() as u64).0) else { return };
        let tuples = self.tuples.as_ref();
        let tuples = tuples.and_then(|(room, tuples)| look_at_tuples(room, tuples.len()));
        ledger.count(&self.span, Count::BlocksAudited, self.reader.blocks.0);
        let (mut id, size) = (self.id, self.reader.size);
        let blocks = self.bytes.chunks_exact(size).zip(data.chunks_exact(size));
        for (index, (old, new)) in blocks.enumerate().filter(|(at, _)| !self.told.contains(at)) {
            let pi_changed = self.pi_change(index, tuples.as_ref());
            if old == new && pi_changed.is_none() {
                continue;
            }
            let finding = self.finding(index, (old, new), pi_changed);
            let id = *id.get_or_insert_with(|| ledger.take_request_id());
            ledger.note_read(&self.span, &self.reader, (id, &self.into), finding);
        }
    }

    fn finding(
        &self,
        index: usize,
        (old, new): (&[u8], &[u8]),
        pi_changed: Option<PiChange>,
    ) -> Finding {
        Finding {
            index,
            delivered: guard(old),
            now: guard(new),
            difference: difference(old, new),
            pi_changed,
            overlap: has_repeated_page(&self.into, self.tuples.as_ref().map(|(room, _)| room)),
            after_completion: true,
        }
    }

    fn pi_change(&self, index: usize, now: Option<&List<Tuple>>) -> Option<PiChange> {
        let (room, tuples) = self.tuples.as_ref()?;
        tuple_change(room, index, (*tuples.get(index)?, *now?.get(index)?))
    }
}
