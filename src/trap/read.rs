//! Reads: stored blocks held against their stored protection information.

use super::error::{Cause, TrapError};
use super::payload::Moving;
use super::tally::{Count, Span};
use super::trap::Trap;
use crate::inject::{Op, Place, Shot, Site};
use crate::memory::List;
use crate::pi::{Check, Checks, GuardTag, Mismatch, Tuple, guards};
use crate::record::MediumFault;
use crate::units::{BlockCount, Lba};

/// How many blocks [`Trap::verify`] has in memory at once.
const VERIFY_STEP: u64 = 2048;

impl Trap {
    /// Reads blocks and makes every check that needs no command: guard, and with Types 1 and 2 the
    /// reference tag against the address.
    ///
    /// `data` is a whole number of blocks. A block that does not fit is recorded and fails the read.
    pub fn read(&self, lba: Lba, data: &mut [u8]) -> Result<(), TrapError> {
        let mut tuples = List::of(Tuple::ESCAPE, data.len() / self.block_bytes());
        let checks = Checks::of_address(self.geometry().pi_type, lba);
        self.read_protected(lba, data, &mut tuples, &checks)
    }

    /// Reads blocks with the tuples that are stored for them, and makes the checks that a command
    /// asks for.
    ///
    /// `data` is one block for each of `tuples`. A block that fails is recorded and fails the read:
    /// the blocks before it are in `data` all the same. Unmapped blocks have escape tags and pass.
    pub fn read_protected(
        &self,
        lba: Lba,
        data: &mut [u8],
        tuples: &mut [Tuple],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        self.read_as(Op::Read, lba, (data, tuples), checks)
    }

    /// As [`Trap::read_protected`], for blocks that are compared and do not go to the guest (VERIFY
    /// with BYTCHK, COMPARE AND WRITE): to injected faults that is `op=verify`.
    pub fn read_to_compare(
        &self,
        lba: Lba,
        data: &mut [u8],
        tuples: &mut [Tuple],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        self.read_as(Op::Verify, lba, (data, tuples), checks)
    }

    fn read_as(
        &self,
        op: Op,
        lba: Lba,
        (data, tuples): (&mut [u8], &mut [Tuple]),
        checks: &Checks,
    ) -> Result<(), TrapError> {
        let blocks = BlockCount(tuples.len() as u64);
        self.disk.require_range(lba, blocks)?;
        self.admit(op, lba, blocks)?;
        let span = self.ledger.span();
        self.ledger.count(&span, Count::Reads, 1);
        let site = self.site(op, lba, blocks);
        let shots = self.faults.shots(&site);
        self.spoil_stored(&span, &site, &shots)?;
        self.disk.read(lba, data, tuples)?;
        self.check_stored(&span, (lba, 0), data, tuples, checks)?;
        let moving = Moving { bytes: data, tuples };
        self.faults.flip_all(&span, &site, Place::Out, &shots, moving);
        Ok(())
    }

    /// Reads blocks only to check them (VERIFY without a comparison).
    pub fn verify(&self, lba: Lba, blocks: BlockCount, checks: &Checks) -> Result<(), TrapError> {
        self.disk.require_range(lba, blocks)?;
        self.admit(Op::Verify, lba, blocks)?;
        let span = self.ledger.span();
        self.ledger.count(&span, Count::Reads, 1);
        let mut done = 0;
        while done < blocks.0 {
            let step = usize::try_from((blocks.0 - done).min(VERIFY_STEP)).unwrap_or_default();
            let mut data = vec![0; step.saturating_mul(self.block_bytes())];
            let mut tuples = vec![Tuple::ESCAPE; step];
            self.disk.read(lba.offset(done), &mut data, &mut tuples)?;
            self.check_stored(&span, (lba, done), &data, &tuples, checks)?;
            done += step as u64;
        }
        Ok(())
    }

    /// Checks what was read, beginning with block number `skipped` of the transfer at `lba`.
    pub(super) fn check_stored(
        &self,
        span: &Span,
        (lba, skipped): (Lba, u64),
        data: &[u8],
        tuples: &[Tuple],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        if self.unchecked {
            return Ok(());
        }
        let mut computed = List::of(GuardTag(0), tuples.len());
        guards(data, &mut computed);
        self.check_guards(span, (lba, skipped), &computed, tuples, checks)
    }

    /// Checks tuples, beginning with that of block number `skipped` of the transfer at `lba`, against
    /// the guards computed over the data.
    pub(super) fn check_guards(
        &self,
        span: &Span,
        (lba, skipped): (Lba, u64),
        computed: &[GuardTag],
        tuples: &[Tuple],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        for ((guard, tuple), index) in computed.iter().zip(tuples).zip(skipped..) {
            if let Err(mismatch) = checks.verify(*tuple, *guard, index) {
                let lba = lba.offset(index);
                let cause = self.faults.cause(self.place(lba));
                if accuses_medium(checks, mismatch, index, lba) {
                    let Mismatch { check, stored, computed } = mismatch;
                    self.note_medium_fault(span, lba, (check.name(), stored, computed), cause);
                }
                return Err(TrapError::Corrupt { lba, mismatch, cause });
            }
        }
        Ok(())
    }

    /// Records what is wrong with a block: which check, the tag as it is stored, and as computed.
    pub(super) fn note_medium_fault(
        &self,
        span: &Span,
        lba: Lba,
        (check, stored, computed): (&str, u32, u32),
        cause: Cause,
    ) {
        let fault = MediumFault {
            t_us: self.ledger.now().micros(),
            label: span.label().map(str::to_owned),
            lun: self.ledger.name_of(self.options.unit),
            lba,
            check: check.to_owned(),
            stored,
            computed,
            injected: cause == Cause::Injected,
        };
        self.ledger.note_medium_fault(span, fault);
    }

    /// Spoils stored blocks just before they are read.
    pub(super) fn spoil_stored(
        &self,
        span: &Span,
        site: &Site,
        shots: &[Shot],
    ) -> Result<(), TrapError> {
        for shot in shots.iter().filter(|shot| shot.spec.fault.flips_at(Place::Medium)) {
            let at = site.lba.offset(shot.index);
            let (mut block, mut tuple) = (vec![0; self.block_bytes()], [Tuple::ESCAPE]);
            self.disk.read(at, &mut block, &mut tuple)?;
            let (first, site) = ([Shot { index: 0, ..*shot }], Site { lba: at, ..*site });
            let moving = Moving { bytes: &mut block, tuples: &mut tuple };
            self.faults.flip_all(span, &site, Place::Medium, &first, moving);
            self.disk.write(at, &block, &tuple)?;
            self.faults.spoil(self.place(at));
        }
        Ok(())
    }
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
