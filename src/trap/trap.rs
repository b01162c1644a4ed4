//! A disk behind a trap: what is done to its medium, with the daemon's books and faults beside it.

use std::sync::Arc;

use super::by_block::Place;
use super::error::TrapError;
use super::faults::{Faults, InjectError, require_possible};
use super::ledger::Ledger;
use super::policy::Policy;
use super::tally::Count;
use crate::inject::{Op, Site, Spec};
use crate::media::{Allocation, Disk, Geometry};
use crate::record::OnRace;
use crate::units::{BlockCount, Lba};

/// How the trap behaves.
#[derive(Debug, Clone, Copy)]
pub struct TrapOptions {
    /// What happens to a write that raced.
    pub on_race: OnRace,
    /// Look once more: at writes before their completion, at reads after it.
    pub audit: bool,
    /// The logical unit; 0 where there is only one disk.
    pub unit: u16,
}

/// A disk behind a trap. Shared by all queues.
#[derive(Debug)]
pub struct Trap {
    pub(super) disk: Disk,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<Faults>,
    pub(super) options: TrapOptions,
    pub(super) policy: Policy,
}

impl Trap {
    /// A trap over `disk`. All traps of a daemon share ledger and faults.
    pub fn new(disk: Disk, ledger: Arc<Ledger>, faults: Arc<Faults>, options: TrapOptions) -> Self {
        Trap { disk, ledger, faults, options, policy: Policy::Checked }
    }

    /// Checks nothing any more where `unchecked`: for the benchmark.
    pub fn without_checks(mut self, unchecked: bool) -> Self {
        if unchecked {
            log::warn!("nothing is checked: this is a benchmark's yardstick, and no trap");
            self.policy = Policy::Unchecked;
            self.options.audit = false;
        }
        self
    }

    /// The daemon's books.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What the disk is like.
    pub fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.geometry().block_size.bytes()
    }

    /// A block of this disk, among those of all the daemon's disks.
    pub(super) fn place(&self, lba: Lba) -> Place {
        Place { unit: self.options.unit, lba }
    }

    /// A request to this disk, as faults see it.
    pub(super) fn site(&self, op: Op, lba: Lba, blocks: BlockCount) -> Site {
        Site { op, lun: self.options.unit, lba, blocks, disk: self.geometry().blocks }
    }

    /// Lets a request in, or answers it with a fault that was injected. Reads, writes and all else
    /// that the trap does ask by themselves; a device asks for what it does without the trap.
    pub fn admit(&self, op: Op, lba: Lba, blocks: BlockCount) -> Result<(), TrapError> {
        self.faults.admit(&self.site(op, lba, blocks))
    }

    /// Makes every completed write durable.
    pub fn flush(&self) -> Result<(), TrapError> {
        self.admit(Op::Flush, Lba(0), BlockCount(0))?;
        self.ledger.count_now(Count::Flushes);
        Ok(self.disk.flush()?)
    }

    /// Makes completed writes durable without a request of the guest's.
    pub fn persist(&self) -> Result<(), TrapError> {
        Ok(self.disk.flush()?)
    }

    /// Forgets blocks: they read as zeros and their tags are escaped.
    pub fn discard(&self, lba: Lba, blocks: BlockCount) -> Result<(), TrapError> {
        self.check_range(lba, blocks)?;
        self.admit(Op::Discard, lba, blocks)?;
        self.ledger.count_now(Count::Discards);
        self.disk.discard(lba, blocks)?;
        self.covered(lba, blocks);
        Ok(())
    }

    /// Writes zeros; with `unmap` the blocks need not stay allocated.
    pub fn write_zeroes(&self, lba: Lba, blocks: BlockCount, unmap: bool) -> Result<(), TrapError> {
        self.check_range(lba, blocks)?;
        self.admit(Op::Zeroes, lba, blocks)?;
        self.ledger.count_now(Count::Discards);
        self.disk.write_zeroes(lba, blocks, unmap)?;
        self.covered(lba, blocks);
        Ok(())
    }

    /// Notes that these blocks were overwritten with clean contents.
    fn covered(&self, lba: Lba, blocks: BlockCount) {
        self.faults.cleaned(self.place(lba), blocks);
        self.ledger.heal(self.place(lba), blocks);
    }

    /// The run of blocks at `lba` that are alike in having space on the medium or none.
    pub fn allocation(&self, lba: Lba) -> Result<Allocation, TrapError> {
        Ok(self.disk.allocation(lba)?)
    }

    /// Takes over blocks that were added to the end of the image; answers whether there were any.
    pub fn grow(&self) -> Result<bool, TrapError> {
        Ok(self.disk.grow()?)
    }

    /// A range that may be changed.
    pub fn check_range(&self, lba: Lba, blocks: BlockCount) -> Result<(), TrapError> {
        let geometry = self.geometry();
        let inside = lba.checked_add(blocks).is_some_and(|end| end.0 <= geometry.blocks.0);
        match (geometry.read_only, inside) {
            (true, _) => Err(TrapError::ReadOnly),
            (false, false) => Err(TrapError::OutOfRange { lba, blocks }),
            (false, true) => Ok(()),
        }
    }

    /// What the process that had the disk before left for this one.
    pub fn note(&self) -> Option<&[u8]> {
        self.disk.note()
    }

    /// Leaves something with the disk for the process that has it next.
    pub fn leave_note(&self, note: Vec<u8>) {
        self.disk.leave_note(note);
    }

    /// Flushes and closes the disk.
    pub fn close(&self) -> Result<(), TrapError> {
        Ok(self.disk.flush().and_then(|()| self.disk.close())?)
    }
}

/// The most faults that wait at a time: each request looks at all of them.
const MOST_FAULTS: usize = 10_000;

/// Adds a fault, if it can happen on one of the disks that it is meant for; `traps` are all there are.
pub fn inject(traps: &[Arc<Trap>], spec: Spec) -> Result<(), InjectError> {
    let Some(first) = traps.first() else { return Ok(()) };
    if let Some(lun) = spec.lun.filter(|_| first.ledger.device() == "blk") {
        return Err(InjectError::NoUnits(lun));
    }
    if first.faults.count() >= MOST_FAULTS {
        return Err(InjectError::TooMany(MOST_FAULTS));
    }
    let meant = traps.iter().filter(|trap| spec.lun.is_none_or(|lun| lun == trap.options.unit));
    let mut objections = meant.map(|trap| require_possible(spec, trap.geometry()));
    // The first disk's objection, where all of them object.
    match objections.next() {
        Some(Err(objection)) if objections.all(|other| other.is_err()) => return Err(objection),
        _ => first.faults.add(spec),
    }
    Ok(())
}

/// Takes away all faults that are still to come, of all the daemon's disks, and tells them.
pub fn disarm(trap: &Trap) -> Vec<Spec> {
    trap.faults.disarm()
}
