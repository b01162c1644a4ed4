//! The trap as the devices above see it: flushes, discards, marks and figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::by_block::ByBlock;
use super::error::TrapError;
use super::standing::Standing;
use super::tally::{Count, Tally};
use crate::clock::{Clock, Moment};
use crate::inject::{Injector, Op};
use crate::media::{Allocation, Disk, Geometry};
use crate::record::{Broken, Counters, Healed, OnRace, RaceId, Record, Start, Stop};
use crate::report::Sink;
use crate::units::{BlockCount, Lba, QueueIndex};

/// How the trap behaves.
#[derive(Debug, Clone, Copy)]
pub struct TrapOptions {
    /// `blk` or `scsi`, for the records.
    pub device: &'static str,
    /// What happens to a write that raced.
    pub on_race: OnRace,
    /// Look once more before the completion.
    pub audit: bool,
    /// The logical unit, for the records, where there are several to tell apart.
    pub lun: Option<u16>,
}

/// A disk behind a trap. Shared by all queues.
#[derive(Debug)]
pub struct Trap {
    pub(super) disk: Disk,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sink: Sink,
    pub(super) options: TrapOptions,
    pub(super) tally: Arc<Tally>,
    pub(super) standing: Standing,
    pub(super) injector: Arc<Injector>,
    /// Blocks that an injected fault spoiled.
    pub(super) spoiled: ByBlock<()>,
    /// Nothing is checked: the yardstick of the benchmark.
    pub(super) unchecked: bool,
    numbers: Arc<Numbers>,
}

/// What requests and races are numbered from.
#[derive(Debug)]
struct Numbers {
    request: AtomicU64,
    race: AtomicU64,
}

impl Trap {
    /// A trap over `disk` that writes its records to `sink`.
    pub fn new(disk: Disk, clock: Arc<dyn Clock>, sink: Sink, options: TrapOptions) -> Self {
        Trap {
            disk,
            clock,
            sink,
            options,
            tally: Arc::new(Tally::new()),
            standing: Standing::default(),
            injector: Arc::new(Injector::new(0)),
            spoiled: ByBlock::default(),
            unchecked: false,
            numbers: Arc::new(Numbers { request: AtomicU64::new(1), race: AtomicU64::new(1) }),
        }
    }

    /// A trap over another disk of the same session: records, figures, labels and numbers are one.
    /// This trap speaks for both; the other one only has to be closed.
    pub fn beside(&self, disk: Disk, lun: u16) -> Self {
        Trap {
            disk,
            clock: Arc::clone(&self.clock),
            sink: self.sink.clone(),
            options: TrapOptions { lun: Some(lun), ..self.options },
            tally: Arc::clone(&self.tally),
            standing: Standing::default(),
            injector: Arc::clone(&self.injector),
            spoiled: ByBlock::default(),
            unchecked: self.unchecked,
            numbers: Arc::clone(&self.numbers),
        }
    }

    /// Checks nothing any more where `unchecked`: for the benchmark.
    pub fn without_checks(mut self, unchecked: bool) -> Self {
        if unchecked {
            log::warn!("nothing is checked: this is a benchmark's yardstick, and no trap");
        }
        self.unchecked = unchecked;
        self
    }

    /// What the disk is like.
    pub fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    /// The time on the trap's clock, which `t_us` is in.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Makes every completed write durable.
    pub fn flush(&self) -> Result<(), TrapError> {
        self.admit(Op::Flush, Lba(0), BlockCount(0))?;
        self.tally.add(&self.tally.open(), Count::Flushes, 1);
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
        self.tally.add(&self.tally.open(), Count::Discards, 1);
        self.disk.discard(lba, blocks)?;
        self.covered(lba, blocks);
        Ok(())
    }

    /// Writes zeros; with `unmap` the blocks need not stay allocated.
    pub fn write_zeroes(&self, lba: Lba, blocks: BlockCount, unmap: bool) -> Result<(), TrapError> {
        self.check_range(lba, blocks)?;
        self.admit(Op::Zeroes, lba, blocks)?;
        self.tally.add(&self.tally.open(), Count::Discards, 1);
        self.disk.write_zeroes(lba, blocks, unmap)?;
        self.covered(lba, blocks);
        Ok(())
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

    /// Notes that these blocks were overwritten with clean contents.
    pub(super) fn covered(&self, lba: Lba, blocks: BlockCount) {
        self.spoiled.take(lba, blocks);
        self.heal(lba, blocks);
    }

    /// Notes that clean contents cover these blocks: races that stood there are healed. (A discard
    /// counts too: what was wrong on the medium is gone.)
    pub(super) fn heal(&self, lba: Lba, blocks: BlockCount) {
        for open in self.standing.take(lba, blocks) {
            let now = self.now();
            self.tally.add(&open.span, Count::Healed, 1);
            self.sink.emit(Record::Healed(Healed {
                t_us: now.micros(),
                race: open.race,
                after_us: now.since(open.at).as_micros().try_into().unwrap_or(u64::MAX),
            }));
        }
    }

    /// Counts a request that failed for another reason than a race.
    pub fn note_error(&self) {
        self.tally.add(&self.tally.open(), Count::Errors, 1);
    }

    /// Counts the time between the last look at a ring without a write and its doorbell sample.
    pub fn note_blind(&self, blind: Duration) {
        self.tally.add_blind(blind);
    }

    /// Counts a request that has to wait because too many bytes are in flight.
    pub fn note_deferred(&self) {
        self.tally.add(&self.tally.open(), Count::Deferred, 1);
    }

    /// Records a ring or connection that cannot be followed any further.
    pub fn note_broken(&self, queue: Option<QueueIndex>, reason: String) {
        log::error!(
            "{}: {reason}",
            queue.map_or("connection".to_owned(), |q| format!("queue {q}"))
        );
        self.sink.emit(Record::Broken(Broken { t_us: self.now().micros(), queue, reason }));
    }

    /// The session's figures so far.
    pub fn counters(&self) -> Counters {
        Counters { records_lost: self.sink.lost(), ..self.tally.counters() }
    }

    /// Writes the first record.
    pub fn start(&self, start: Start) {
        self.sink.emit(Record::Start(start));
    }

    /// Flushes and closes the disk.
    pub fn close(&self) -> Result<(), TrapError> {
        Ok(self.disk.flush().and_then(|()| self.disk.close())?)
    }

    /// What the process that had the disk before left for this one.
    pub fn note(&self) -> Option<&[u8]> {
        self.disk.note()
    }

    /// Leaves something with the disk for the process that has it next.
    pub fn leave_note(&self, note: Vec<u8>) {
        self.disk.leave_note(note);
    }

    /// Flushes and closes the disk and writes the last record.
    pub fn stop(&self) -> Result<(), TrapError> {
        let closed = self.close();
        let (t_us, counters) = (self.now().micros(), self.counters());
        self.sink.emit(Record::Stop(Stop { t_us, counters }));
        self.sink.close();
        closed
    }

    pub(super) fn take_request_id(&self) -> u64 {
        self.numbers.request.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn take_race_id(&self) -> RaceId {
        RaceId(self.numbers.race.fetch_add(1, Ordering::Relaxed))
    }
}
