//! A write and its samples.

use std::sync::Arc;
use std::time::Duration;

use super::error::TrapError;
use super::evidence::{Clue, Evidence};
use super::service::Trap;
use super::standing::Open;
use super::tally::{Count, Span};
use crate::clock::Moment;
use crate::memory::Segments;
use crate::pi::{GuardTag, Tuple, generate_over, guard};
use crate::record::{OnRace, Outcome, Phase, RaceId, Record};
use crate::units::{BlockCount, Lba, QueueIndex};

/// A write as the guest asked for it.
#[derive(Debug)]
pub struct Write {
    /// The ring it came by.
    pub queue: QueueIndex,
    /// The first block.
    pub lba: Lba,
    /// How many blocks; the length of `data` in blocks.
    pub blocks: BlockCount,
    /// Where the data is.
    pub data: Segments,
}

/// A write inside its window: its doorbell sample is taken, its data is not fetched yet.
#[derive(Debug)]
#[must_use = "a held write has to be fetched"]
pub struct Held {
    pub(super) id: u64,
    pub(super) write: Write,
    pub(super) doorbell: Vec<u8>,
    pub(super) rung: Moment,
    pub(super) span: Arc<Span>,
}

impl Held {
    /// When the doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        self.rung
    }

    /// The bytes of data that the write holds a copy of.
    pub fn bytes(&self) -> u64 {
        self.write.data.len()
    }
}

/// The fetch sample: the bytes that are stored, and the guards computed over exactly those bytes.
struct Fetched {
    bytes: Vec<u8>,
    guards: Vec<GuardTag>,
    window: Duration,
}

impl Trap {
    /// Takes the doorbell sample of a write.
    pub fn doorbell(&self, write: Write) -> Result<Held, TrapError> {
        self.check_range(write.lba, write.blocks)?;
        let rung = self.now();
        let doorbell = sample(&write.data)?;
        Ok(Held { id: self.take_request_id(), write, doorbell, rung, span: self.tally.open() })
    }

    /// Fetches a held write, compares the two samples and stores the fetched bytes.
    ///
    /// With `--on-race fail` a write of which any block raced is refused whole, so the medium keeps
    /// its old bytes.
    pub fn fetch(&self, held: Held) -> Result<(), TrapError> {
        let fetched = self.fetch_sample(&held)?;
        self.count(&held, fetched.window);
        let clues = self.compare(&held, &fetched);
        let refused = !clues.is_empty() && self.options.on_race == OnRace::Fail;
        let stored = if refused { Ok(()) } else { self.store(&held.write, &fetched) };
        let outcome = if refused || stored.is_err() { Outcome::Failed } else { Outcome::Stored };
        self.report(&held, &fetched, &clues, outcome);
        if outcome == Outcome::Stored {
            self.heal_clean_blocks(&held.write, &clues);
        }
        if let (true, Some(first)) = (refused, clues.first()) {
            return Err(TrapError::Raced { first: first.lba, races: clues.len() as u64 });
        }
        stored?;
        self.audit(&held, &fetched);
        Ok(())
    }

    fn fetch_sample(&self, held: &Held) -> Result<Fetched, TrapError> {
        let window = self.now().since(held.rung);
        let bytes = sample(&held.write.data)?;
        let guards = bytes.chunks_exact(self.block_bytes()).map(guard).collect();
        Ok(Fetched { bytes, guards, window })
    }

    fn count(&self, held: &Held, window: Duration) {
        self.tally.add(&held.span, Count::Writes, 1);
        self.tally.add(&held.span, Count::BlocksChecked, held.write.blocks.0);
        self.tally.add_window(&held.span, window);
    }

    /// The blocks whose doorbell and fetch samples differ.
    fn compare(&self, held: &Held, fetched: &Fetched) -> Vec<Clue> {
        if held.doorbell == fetched.bytes {
            return Vec::new();
        }
        self.differing(held, &held.doorbell, &fetched.bytes)
    }

    /// The blocks in which two samples of a write differ.
    fn differing(&self, held: &Held, earlier: &[u8], later: &[u8]) -> Vec<Clue> {
        let size = self.block_bytes();
        let pairs = earlier.chunks_exact(size).zip(later.chunks_exact(size)).enumerate();
        let differing = pairs.filter(|(_, (earlier, later))| earlier != later);
        differing.map(|(index, _)| Clue::new(&held.write, index, size)).collect()
    }

    /// Stores the fetched bytes with protection information made from their own guards.
    fn store(&self, write: &Write, fetched: &Fetched) -> Result<(), TrapError> {
        let kind = self.geometry().pi_type;
        let tuples: Vec<Tuple> = fetched
            .guards
            .iter()
            .zip(0u64..)
            .map(|(guard, index)| generate_over(kind, *guard, write.lba.offset(index)))
            .collect();
        Ok(self.disk.write(write.lba, &fetched.bytes, &tuples)?)
    }

    /// Counts, records and watches the races of a write.
    fn report(&self, held: &Held, fetched: &Fetched, clues: &[Clue], outcome: Outcome) {
        if clues.is_empty() {
            return;
        }
        let evidence = Evidence {
            held,
            earlier: &held.doorbell,
            later: &fetched.bytes,
            guards: &fetched.guards,
            window: fetched.window,
            phase: Phase::InWindow,
            outcome,
            overlap: held.write.data.has_repeated_page(),
        };
        for clue in clues {
            let race = self.emit_race(&evidence, clue);
            let open = Open { race, at: self.now(), span: Arc::clone(&held.span) };
            self.standing.add(clue.lba, open);
        }
    }

    fn emit_race(&self, evidence: &Evidence<'_>, clue: &Clue) -> RaceId {
        let id = self.take_race_id();
        let race = evidence.race(clue, id, self.now(), self.options.device);
        self.tally.add(&evidence.held.span, Count::Race(race.phase), 1);
        if race.guard_blind {
            self.tally.add(&evidence.held.span, Count::GuardBlind, 1);
        }
        self.sink.emit(Record::Race(Box::new(race)));
        id
    }

    fn heal_clean_blocks(&self, write: &Write, raced: &[Clue]) {
        let mut next = write.lba;
        for clue in raced {
            self.heal(next, BlockCount(clue.lba.0.saturating_sub(next.0)));
            next = clue.lba.offset(1);
        }
        let end = write.lba.offset(write.blocks.0);
        self.heal(next, BlockCount(end.0.saturating_sub(next.0)));
    }

    /// Looks once more before the completion, when asked to. Hardware cannot see this, so it never
    /// fails a write.
    fn audit(&self, held: &Held, fetched: &Fetched) {
        if !self.options.audit {
            return;
        }
        let window = self.now().since(held.rung);
        let Ok(last) = sample(&held.write.data) else { return };
        let evidence = Evidence {
            held,
            earlier: &fetched.bytes,
            later: &last,
            guards: &fetched.guards,
            window,
            phase: Phase::AfterFetch,
            outcome: Outcome::Stored,
            overlap: held.write.data.has_repeated_page(),
        };
        for clue in self.differing(held, &fetched.bytes, &last) {
            self.emit_race(&evidence, &clue);
        }
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.geometry().block_size.bytes()
    }
}

/// Copies a write's data out of guest memory, each byte once.
fn sample(data: &Segments) -> Result<Vec<u8>, TrapError> {
    let mut bytes = vec![0; usize::try_from(data.len()).unwrap_or(usize::MAX)];
    data.copy_out(&mut bytes)?;
    Ok(bytes)
}
