//! Writes whose blocks are read back and compared at once (WRITE AND VERIFY with BYTCHK).

use super::error::{Cause, TrapError};
use super::read::{self, Misfit, Read, note_medium_fault};
use super::trap::Trap;
use super::write::Stored;
use crate::inject::Op;
use crate::memory::List;
use crate::pi::{Check, Checks, Compared, GuardTag, Tuple, guard};
use crate::units::BlockRange;

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
    let (lba, written) = (fetched.write.lba, &*fetched.sample().bytes);
    let meant = trap.policy.tuples(trap.geometry().pi_type, fetched);
    let mut found = vec![0; written.len()];
    let mut tuples = List::of(Tuple::ESCAPE, meant.len());
    let nothing = Checks::none(checks.kind);
    read::to_compare(trap, lba, &mut found, &mut tuples, &nothing)?;
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
        let misfit = Misfit {
            check: check.map_or(DATA, Check::name),
            stored: guard(found).0.into(),
            computed: guard(written).0.into(),
        };
        note_medium_fault(trap, &fetched.span, lba, &misfit, cause);
        return Err(TrapError::ReadBack { lba, check, cause });
    }
    let mut guards = List::of(GuardTag(0), tuples.len());
    trap.policy.guards(&found, &mut guards);
    let range = BlockRange::new(lba, fetched.write.blocks);
    Read::new(trap, Op::Verify, range, checks).check(trap, 0, &tuples, &guards)
}
