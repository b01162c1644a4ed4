//! Writes whose blocks are read back and compared at once (WRITE AND VERIFY with BYTCHK).

use super::error::{Cause, TrapError};
use super::judge::tuples_to_store;
use super::trap::Trap;
use super::write::Stored;
use crate::memory::List;
use crate::pi::{Check, Checks, Compared, Tuple, guard};

/// What a medium fault says was wrong where the data differs, and not a tag.
const DATA: &str = "data";

/// Reads stored blocks back, compares them with the bytes that were fetched for them, `fields` of their
/// tuples with those that were meant to be stored, and makes the checks that a command asks for.
///
/// Guest memory is not read again: the comparison is with the one sample that was stored. The caller
/// keeps other writes off the medium, so a difference is the medium's doing, or that of an injected
/// fault.
pub fn compare(
    trap: &Trap,
    stored: &Stored,
    fields: Compared,
    checks: &Checks,
) -> Result<(), TrapError> {
    let Stored { fetched, injected } = stored;
    let (lba, written) = (fetched.held.write.lba, &*fetched.sample().bytes);
    let meant = tuples_to_store(trap.geometry().pi_type, fetched);
    let mut found = vec![0; written.len()];
    let mut tuples = List::of(Tuple::ESCAPE, meant.len());
    let nothing = Checks::none(checks.kind);
    trap.read_to_compare(lba, &mut found, &mut tuples, &nothing)?;
    let size = trap.block_bytes();
    let blocks = written.chunks_exact(size).zip(found.chunks_exact(size));
    let pairs = blocks.zip(meant.iter().zip(tuples.iter())).zip(0u64..);
    for (((written, found), (meant, tuple)), index) in pairs {
        let check = fields.difference(checks.kind, *tuple, *meant);
        if written == found && check.is_none() {
            continue;
        }
        let lba = lba.offset(index);
        let injected = *injected || trap.faults.spoiled(trap.place(lba));
        let cause = if injected { Cause::Injected } else { Cause::Found };
        let check = check.filter(|_| written == found);
        let what = check.map_or(DATA, Check::name);
        let (now, then) = (guard(found).0.into(), guard(written).0.into());
        trap.note_medium_fault(&fetched.held.span, lba, (what, now, then), cause);
        return Err(TrapError::ReadBack { lba, check, cause });
    }
    trap.check_stored(&trap.ledger.span(), (lba, 0), &found, &tuples, checks)
}
