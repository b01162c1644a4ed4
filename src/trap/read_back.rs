//! Writes whose blocks are read back and compared at once (WRITE AND VERIFY with BYTCHK).

use super::error::{Cause, TrapError};
use super::trap::Trap;
use super::write::{Held, Stored};
use crate::memory::List;
use crate::pi::{Check, Checks, Compared, Tuple, guard};
use crate::units::BlockCount;

/// What a medium fault says was wrong where the data differs, and not a tag.
const DATA: &str = "data";

impl Trap {
    /// As [`Trap::fetch`], and answers with the fetch sample: what is to be read back. There is none
    /// where nothing is checked.
    pub fn fetch_to_read_back(&self, held: Held) -> Result<Option<Stored>, TrapError> {
        if self.unchecked {
            return self.fetch_unchecked(&held).map(|()| None);
        }
        self.fetch_and_keep(held, BlockCount(1)).map(Some)
    }

    /// Reads stored blocks back, compares them with the bytes that were fetched for them, `fields` of
    /// their tuples with those that were meant to be stored, and makes the checks that a command asks
    /// for.
    ///
    /// Guest memory is not read again: the comparison is with the one sample that was stored. The
    /// caller keeps other writes off the medium, so a difference is the medium's doing, or that of an
    /// injected fault.
    pub fn read_back(
        &self,
        stored: &Stored,
        fields: Compared,
        checks: &Checks,
    ) -> Result<(), TrapError> {
        let lba = stored.lba();
        let written = stored.bytes();
        let meant = self.meant(stored);
        let mut found = vec![0; written.len()];
        let mut tuples = List::of(Tuple::ESCAPE, meant.len());
        let nothing = Checks::none(checks.kind);
        self.read_to_compare(lba, &mut found, &mut tuples, &nothing)?;
        let size = self.block_bytes();
        let blocks = written.chunks_exact(size).zip(found.chunks_exact(size));
        let pairs = blocks.zip(meant.iter().zip(tuples.iter())).zip(0u64..);
        for (((written, found), (meant, tuple)), index) in pairs {
            let check = fields.difference(checks.kind, *tuple, *meant);
            if written == found && check.is_none() {
                continue;
            }
            let lba = lba.offset(index);
            let injected = stored.injected || self.faults.spoiled(self.place(lba));
            let cause = if injected { Cause::Injected } else { Cause::Found };
            let check = check.filter(|_| written == found);
            let what = check.map_or(DATA, Check::name);
            let (now, then) = (guard(found).0.into(), guard(written).0.into());
            self.note_medium_fault(stored.span(), lba, (what, now, then), cause);
            return Err(TrapError::ReadBack { lba, check, cause });
        }
        self.check_stored(&self.ledger.span(), (lba, 0), &found, &tuples, checks)
    }
}
