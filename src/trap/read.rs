//! Reads: stored blocks held against their stored protection information.

use super::error::{Cause, TrapError};
use super::service::Trap;
use super::tally::{Count, Span};
use crate::memory::{Buffer, List, Segments};
use crate::pi::{Check, Checks, GuardTag, Mismatch, Tuple, guards};
use crate::record::{MediumFault, Record};
use crate::units::{BlockCount, Lba};

/// How many blocks [`Trap::verify`] has in memory at once.
const VERIFY_STEP: u64 = 2048;

impl Trap {
    /// Reads blocks and makes every check that needs no command: guard, and with Types 1 and 2 the
    /// reference tag against the address.
    ///
    /// `into` is a whole number of blocks. A block that does not fit is recorded and fails the read;
    /// blocks before it may be in guest memory all the same. Only bytes that were checked go there.
    pub fn read(&self, lba: Lba, into: &Segments) -> Result<(), TrapError> {
        let span = self.tally.open();
        self.tally.add(&span, Count::Reads, 1);
        let checks = Checks::of_address(self.geometry().pi_type, lba);
        let (size, step) = (self.block_bytes(), self.disk.blocks_at_once());
        let blocks = usize::try_from(into.len()).unwrap_or(usize::MAX) / size;
        self.disk.require_range(lba, BlockCount(blocks as u64))?;
        let mut data = Buffer::new(blocks.min(step).saturating_mul(size));
        let mut tuples = List::of(Tuple::ESCAPE, blocks.min(step));
        let mut done = 0;
        while done < blocks {
            let count = (blocks - done).min(step);
            let data = data.get_mut(..count.saturating_mul(size)).unwrap_or_default();
            let tuples = tuples.get_mut(..count).unwrap_or_default();
            self.disk.read(lba.offset(done as u64), data, tuples)?;
            self.check_stored(&span, (lba, done as u64), data, tuples, &checks)?;
            into.copy_in(done.saturating_mul(size) as u64, data)?;
            done += count;
        }
        Ok(())
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
        let span = self.tally.open();
        self.tally.add(&span, Count::Reads, 1);
        self.disk.read(lba, data, tuples)?;
        self.check_stored(&span, (lba, 0), data, tuples, checks)
    }

    /// Reads blocks only to check them (VERIFY without a comparison).
    pub fn verify(&self, lba: Lba, blocks: BlockCount, checks: &Checks) -> Result<(), TrapError> {
        let span = self.tally.open();
        self.tally.add(&span, Count::Reads, 1);
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
    fn check_stored(
        &self,
        span: &Span,
        (lba, skipped): (Lba, u64),
        data: &[u8],
        tuples: &[Tuple],
        checks: &Checks,
    ) -> Result<(), TrapError> {
        if self.options.unchecked {
            return Ok(());
        }
        let mut computed = List::of(GuardTag(0), tuples.len());
        guards(data, &mut computed);
        for ((guard, tuple), index) in computed.iter().zip(tuples).zip(skipped..) {
            if let Err(mismatch) = checks.verify(*tuple, *guard, index) {
                let lba = lba.offset(index);
                if accuses_medium(checks, mismatch, index, lba) {
                    self.note_medium_fault(span, lba, mismatch);
                }
                return Err(TrapError::Corrupt { lba, mismatch, cause: Cause::Found });
            }
        }
        Ok(())
    }

    fn note_medium_fault(&self, span: &Span, lba: Lba, mismatch: Mismatch) {
        self.tally.add(span, Count::MediumFaults, 1);
        self.sink.emit(Record::Medium(MediumFault {
            t_us: self.now().micros(),
            label: span.label().map(str::to_owned),
            lba,
            check: mismatch.check.name().to_owned(),
            stored: mismatch.stored,
            computed: mismatch.computed,
        }));
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
