//! Reads: stored blocks held against their stored protection information.
//!
//! The one way of every read: let in → fetched from the medium → `arrive`, where guards are computed, checks
//! made, and faults happen to what goes out. Reads into guest memory go it too; see [`super::read_into`].

use std::sync::Arc;

use super::error::{Cause, TrapError};
use super::payload::Moving;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::inject::{FaultHit, Op, Place, Site};
use crate::memory::List;
use crate::pi::{Check, Checks, GuardTag, Mismatch, Tuple};
use crate::record::MediumFault;
use crate::units::{BlockCount, BlockRange, Lba};

/// How many blocks [`verify`] has in memory at once.
const VERIFY_STEP: u64 = 2048;

/// A read under way.
#[derive(Debug)]
pub(super) struct Read {
    /// The label that it counts for.
    pub(super) span: Arc<Span>,
    /// Which blocks it is of, and what for.
    pub(super) site: Site,
    /// What is checked of them.
    checks: Checks,
    /// The faults that happen to its data.
    pub(super) hits: Vec<FaultHit>,
}

/// Some blocks of a read that have come from the medium.
pub(super) struct Part<'a> {
    /// How many blocks of the read come before them.
    pub(super) skipped: u64,
    /// Their bytes.
    pub(super) data: &'a mut [u8],
    /// The tuples that are stored for them.
    pub(super) tuples: &'a mut [Tuple],
    /// Where their guards go.
    pub(super) guards: &'a mut [GuardTag],
}

/// What is wrong with a block: which check, the tag as it is stored, and as computed.
pub(super) struct Misfit<'a> {
    pub(super) check: &'a str,
    pub(super) stored: u32,
    pub(super) computed: u32,
}

/// Reads blocks with the tuples that are stored for them, and makes the checks that a command asks for.
///
/// `data` is one block for each of `tuples`. A block that fails is recorded and fails the read: the blocks
/// before it are in `data` all the same. Unmapped blocks have escape tags and pass.
pub fn protected(
    trap: &Trap,
    lba: Lba,
    data: &mut [u8],
    tuples: &mut [Tuple],
    checks: &Checks,
) -> Result<(), TrapError> {
    into_buffer(trap, Op::Read, lba, Part { skipped: 0, data, tuples, guards: &mut [] }, checks)
}

/// As [`protected`], for blocks that are compared and do not go to the guest (VERIFY with BYTCHK, COMPARE
/// AND WRITE): to injected faults that is `op=verify`.
pub fn to_compare(
    trap: &Trap,
    lba: Lba,
    data: &mut [u8],
    tuples: &mut [Tuple],
    checks: &Checks,
) -> Result<(), TrapError> {
    into_buffer(trap, Op::Verify, lba, Part { skipped: 0, data, tuples, guards: &mut [] }, checks)
}

fn into_buffer(
    trap: &Trap,
    op: Op,
    lba: Lba,
    part: Part<'_>,
    checks: &Checks,
) -> Result<(), TrapError> {
    let Part { skipped, data, tuples, .. } = part;
    let read = let_in(trap, op, BlockRange::new(lba, BlockCount(tuples.len() as u64)), checks)?;
    trap.disk.read(lba, data, tuples)?;
    let guards = &mut *List::of(GuardTag(0), tuples.len());
    arrive(trap, &read, Part { skipped, data, tuples, guards })
}

/// Reads blocks only to check them (VERIFY without a comparison).
pub fn verify(trap: &Trap, lba: Lba, blocks: BlockCount, checks: &Checks) -> Result<(), TrapError> {
    let read = admit(trap, Op::Verify, BlockRange::new(lba, blocks), checks)?;
    let mut skipped = 0;
    while skipped < blocks.0 {
        let step = usize::try_from((blocks.0 - skipped).min(VERIFY_STEP)).unwrap_or_default();
        let mut data = vec![0; step.saturating_mul(trap.block_bytes())];
        let mut tuples = vec![Tuple::ESCAPE; step];
        let mut guards = vec![GuardTag(0); step];
        let (data, tuples, guards) = (&mut data, &mut tuples, &mut guards);
        trap.disk.read(lba.offset(skipped), data, tuples)?;
        arrive(trap, &read, Part { skipped, data, tuples, guards })?;
        skipped += step as u64;
    }
    Ok(())
}

/// Lets a read in, counts it, and draws the faults that happen to its data. Blocks that are spoiled on the
/// medium are so from now on.
pub(super) fn let_in(
    trap: &Trap,
    op: Op,
    range: BlockRange,
    checks: &Checks,
) -> Result<Read, TrapError> {
    let mut read = admit(trap, op, range, checks)?;
    read.hits = trap.faults.hits(&read.site);
    spoil_stored(trap, &read)?;
    Ok(read)
}

/// Lets a read in whose data no fault is aimed at, and counts it.
fn admit(trap: &Trap, op: Op, range: BlockRange, checks: &Checks) -> Result<Read, TrapError> {
    trap.disk.require_range(range.first, range.count)?;
    trap.admit(op, range.first, range.count)?;
    let read = Read::new(trap, op, range, checks);
    trap.ledger.count(&read.span, Count::Reads, 1);
    Ok(read)
}

/// Blocks have come from the medium: computes their guards, makes the checks, and lets faults happen to what
/// goes out.
pub(super) fn arrive(trap: &Trap, read: &Read, part: Part<'_>) -> Result<(), TrapError> {
    let Part { skipped, data, tuples, guards } = part;
    trap.policy.guards(data, guards);
    read.check(trap, skipped, tuples, guards)?;
    if !read.hits.is_empty() {
        let moving = Moving { bytes: data, tuples };
        trap.faults.flip_all(&read.span, &read.site, Place::Out, &read.hits, moving);
        trap.policy.guards(data, guards);
    }
    Ok(())
}

impl Read {
    /// A read that nothing has happened to.
    pub(super) fn new(trap: &Trap, op: Op, range: BlockRange, checks: &Checks) -> Read {
        let site = trap.site(op, range.first, range.count);
        Read { span: trap.ledger.span(), site, checks: *checks, hits: Vec::new() }
    }

    /// Holds the tuples of blocks, `skipped` of which come before them, against the guards computed over
    /// their data.
    pub(super) fn check(
        &self,
        trap: &Trap,
        skipped: u64,
        tuples: &[Tuple],
        guards: &[GuardTag],
    ) -> Result<(), TrapError> {
        if !trap.policy.compares() {
            return Ok(());
        }
        for ((guard, tuple), index) in guards.iter().zip(tuples).zip(skipped..) {
            if let Err(mismatch) = self.checks.verify(*tuple, *guard, index) {
                return Err(self.corrupt(trap, index, mismatch));
            }
        }
        Ok(())
    }

    /// Records a block that failed, where that says that the medium is wrong.
    #[cold]
    fn corrupt(&self, trap: &Trap, index: u64, mismatch: Mismatch) -> TrapError {
        let lba = self.site.lba.offset(index);
        let cause = trap.faults.cause(trap.place(lba));
        if accuses_medium(&self.checks, mismatch, index, lba) {
            let Mismatch { check, stored, computed } = mismatch;
            let misfit = Misfit { check: check.name(), stored, computed };
            note_medium_fault(trap, &self.span, lba, &misfit, cause);
        }
        TrapError::Corrupt { lba, mismatch, cause }
    }
}

/// Records what is wrong with a block.
pub(super) fn note_medium_fault(
    trap: &Trap,
    span: &Span,
    lba: Lba,
    misfit: &Misfit<'_>,
    cause: Cause,
) {
    let fault = MediumFault {
        t_us: trap.ledger.now().micros(),
        label: span.label().map(str::to_owned),
        lun: trap.ledger.name_of(trap.options.unit),
        lba,
        check: misfit.check.to_owned(),
        stored: misfit.stored,
        computed: misfit.computed,
        injected: cause == Cause::Injected,
    };
    trap.ledger.note_medium_fault(span, fault);
}

/// Spoils stored blocks just before they are read.
fn spoil_stored(trap: &Trap, read: &Read) -> Result<(), TrapError> {
    let Read { span, site, hits, .. } = read;
    for hit in hits.iter().filter(|hit| hit.spec.fault.flips_at(Place::Medium)) {
        let at = site.lba.offset(hit.index);
        let (mut block, mut tuple) = (vec![0; trap.block_bytes()], [Tuple::ESCAPE]);
        trap.disk.read(at, &mut block, &mut tuple)?;
        let (first, site) = ([FaultHit { index: 0, ..*hit }], Site { lba: at, ..*site });
        let moving = Moving { bytes: &mut block, tuples: &mut tuple };
        trap.faults.flip_all(span, &site, Place::Medium, &first, moving);
        trap.disk.write(at, &block, &tuple)?;
        trap.faults.spoil(trap.place(at));
    }
    Ok(())
}

/// Whether a failed check says that the medium is wrong. A tag that is not what a command chose to
/// expect says nothing of the kind.
fn accuses_medium(checks: &Checks, mismatch: Mismatch, index: u64, lba: Lba) -> bool {
    match mismatch.check {
        Check::Guard => true,
        Check::App => false,
        Check::Reference => {
            let by_address = Checks::of_address(checks.kind, lba).reference;
            by_address.is_some() && checks.expected_reference(index) == by_address
        }
    }
}
