//! A write and its samples.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::error::TrapError;
use super::evidence::{Clue, Evidence};
use super::faults::check_delivery;
use super::load::Load;
use super::sample::Sample;
use super::tally::{Count, Span};
use super::trap::Trap;
use super::verdict::{before_doorbell, delivery_checks, differing, judge, tuples_to_store};
use crate::clock::Moment;
use crate::inject::{Op, Place, Shot, Site};
use crate::memory::{List, Segments};
use crate::pi::{Checks, GuardTag, Tuple};
use crate::record::{Outcome, Phase, RaceId};
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
    /// What the command says about protection information; `None` where commands carry none (blk):
    /// the drive generates it from what it fetched.
    pub protection: Option<WriteProtection>,
}

/// What a write command says about protection information.
#[derive(Debug)]
pub struct WriteProtection {
    /// Where the guest's tuples are, eight bytes a block; `None` where the command brings none and the
    /// drive generates them.
    pub tuples: Option<Segments>,
    /// What is checked of them.
    pub checks: Checks,
}

/// A write that was stored, and what was meant to be.
#[derive(Debug)]
pub struct Stored {
    held: Held,
    fetched: Fetched,
    clues: Vec<Clue>,
    /// Faults were injected into it on its way.
    pub(super) injected: bool,
}

impl Stored {
    /// The bytes that were meant to be stored, and were checked.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.fetched.sample(&self.held).bytes
    }

    /// Where.
    pub(super) fn lba(&self) -> Lba {
        self.held.write.lba
    }

    /// The label that the write counts for.
    pub(super) fn span(&self) -> &Span {
        &self.held.span
    }
}

/// Where a write's blocks are.
struct Landed {
    /// How many are where they belong: all, unless a fault was injected.
    in_place: BlockCount,
    /// A fault was.
    injected: bool,
}

/// A write inside its window: its doorbell sample is taken, its data is not fetched yet.
#[derive(Debug)]
#[must_use = "a held write has to be fetched"]
pub struct Held {
    pub(super) id: u64,
    pub(super) write: Write,
    /// The data as it was at the doorbell; its tuples are the submit sample.
    pub(super) doorbell: Sample,
    /// What had changed by then.
    pub(super) before: Vec<Clue>,
    pub(super) rung: Moment,
    pub(super) span: Arc<Span>,
    /// What its data is for, as records say it.
    pub(super) op: &'static str,
}

impl Held {
    /// When the doorbell sample was taken.
    pub fn rung(&self) -> Moment {
        self.rung
    }

    /// The bytes that the write holds a copy of.
    pub fn bytes(&self) -> u64 {
        let tuples = self.write.protection.as_ref().map_or(0, WriteProtection::tuple_bytes);
        self.write.data.len().saturating_add(tuples)
    }
}

/// What the data of most held requests is for.
pub(super) const WRITTEN: &str = "write";

/// The fetch sample: the bytes that are stored, and the guards computed over exactly those bytes.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The sample, where it is not the doorbell's once more.
    changed: Option<Sample>,
    pub(super) guards: List<GuardTag>,
    at: Moment,
    pub(super) window: Duration,
}

impl Fetched {
    /// What was read: the doorbell's sample where both are the same, bit by bit.
    pub(super) fn sample<'a>(&'a self, held: &'a Held) -> &'a Sample {
        self.changed.as_ref().unwrap_or(&held.doorbell)
    }
}

impl Trap {
    /// Takes the submit and doorbell samples of a write.
    pub fn doorbell(&self, write: Write) -> Result<Held, TrapError> {
        self.check_range(write.lba, write.blocks)?;
        self.admit(Op::Write, write.lba, write.blocks)?;
        self.hold(write, self.ledger.take_request_id(), WRITTEN)
    }

    /// Takes the samples of data that is for `op`.
    pub(super) fn hold(&self, write: Write, id: u64, op: &'static str) -> Result<Held, TrapError> {
        let rung = self.ledger.now();
        // The medium's memory comes near while the window lasts.
        self.disk.expect_write(write.lba, write.blocks);
        let doorbell = if self.unchecked { Sample::none() } else { Sample::take(&write)? };
        let before = before_doorbell(&write, &doorbell, self.block_bytes());
        Ok(Held { id, write, doorbell, before, rung, span: self.ledger.span(), op })
    }

    /// Fetches a held write, compares the samples, makes the checks that the command asks for and
    /// stores the fetched bytes.
    ///
    /// With `--on-race fail` a write of which any block raced is refused whole, so the medium keeps
    /// its old bytes; so it does where a check fails.
    pub fn fetch(&self, held: Held) -> Result<(), TrapError> {
        self.fetch_same(held, BlockCount(1))
    }

    /// As [`Trap::fetch`], and stores the data `copies` times one after the other (WRITE SAME): the
    /// reference tag counts on, guard and application tag stay (SBC-4, WRITE SAME (10)).
    ///
    /// The data is sampled once, so one block that raced is one race, at its first place. The copies
    /// are made in memory: the device says how many it takes at most.
    pub fn fetch_same(&self, held: Held, copies: BlockCount) -> Result<(), TrapError> {
        if self.unchecked {
            return self.fetch_unchecked(&held);
        }
        self.fetch_and_keep(held, copies).map(drop)
    }

    /// As [`Trap::fetch_same`], and answers with what was stored, to be read back.
    pub(super) fn fetch_and_keep(
        &self,
        held: Held,
        copies: BlockCount,
    ) -> Result<Stored, TrapError> {
        let fetched = self.fetch_sample(&held)?;
        self.count(&held, fetched.window);
        let clues = self.compare(&held, &fetched);
        if let Err(error) = self.judge(&held, &fetched, &clues) {
            self.report(&held, &fetched, &clues, Outcome::Failed);
            return Err(error);
        }
        self.put(held, fetched, clues, copies)
    }

    /// Stores a write that was judged fit for it.
    pub(super) fn put(
        &self,
        held: Held,
        fetched: Fetched,
        clues: Vec<Clue>,
        copies: BlockCount,
    ) -> Result<Stored, TrapError> {
        let result = self.store(&held, &fetched, &clues, copies);
        let outcome = if result.is_ok() { Outcome::Stored } else { Outcome::Failed };
        self.report(&held, &fetched, &clues, outcome);
        let Landed { in_place, injected } = result?;
        self.heal_clean_blocks(held.write.lba, in_place, &clues);
        self.audit(&held, &fetched);
        Ok(Stored { held, fetched, clues, injected })
    }

    /// Whether the write may be stored; see [`judge`].
    pub(super) fn judge(
        &self,
        held: &Held,
        fetched: &Fetched,
        clues: &[Clue],
    ) -> Result<(), TrapError> {
        judge(held, fetched.sample(held), &fetched.guards, clues, self.options.on_race)
    }

    pub(super) fn fetch_sample(&self, held: &Held) -> Result<Fetched, TrapError> {
        let at = self.ledger.now();
        let blocks = held.doorbell.bytes.len() / self.block_bytes();
        let mut guards = List::of(GuardTag(0), blocks);
        let changed = held.doorbell.again(&held.write, &mut guards)?;
        Ok(Fetched { changed, guards, at, window: at.since(held.rung) })
    }

    pub(super) fn count(&self, held: &Held, window: Duration) {
        self.ledger.count(&held.span, Count::Writes, 1);
        self.count_blocks(held);
        self.ledger.count_window(&held.span, window);
    }

    pub(super) fn count_blocks(&self, held: &Held) {
        self.ledger.count(&held.span, Count::BlocksChecked, held.write.blocks.0);
    }

    /// The races of a write in the order of its blocks; a block can have one a phase.
    pub(super) fn compare(&self, held: &Held, fetched: &Fetched) -> Vec<Clue> {
        let mut clues = held.before.clone();
        if let Some(changed) = &fetched.changed {
            let (write, size) = (&held.write, self.block_bytes());
            clues.extend(differing(write, &held.doorbell, changed, size, Phase::InWindow));
        }
        // Stable: of one block's races the earlier phase stays first.
        clues.sort_by_key(|clue| clue.index);
        clues
    }

    /// Stores the fetched bytes with their protection information.
    fn store(
        &self,
        held: &Held,
        fetched: &Fetched,
        clues: &[Clue],
        copies: BlockCount,
    ) -> Result<Landed, TrapError> {
        let (write, kind) = (&held.write, self.geometry().pi_type);
        let sample = fetched.sample(held);
        let tuples = self.tuples_of(held, fetched, clues);
        let mut load = Load { lba: write.lba, bytes: Cow::from(&*sample.bytes), tuples };
        if copies > BlockCount(1) {
            let blocks = load.blocks().0.saturating_mul(copies.0);
            self.check_range(load.lba, BlockCount(blocks))?;
            load = load.repeated(kind, copies);
        }
        let site = self.site(Op::Write, load.lba, load.blocks());
        let shots = self.faults.shots(&site);
        if !shots.is_empty() {
            let checks = delivery_checks(kind, write);
            let in_place = self.store_with_faults(&held.span, load, &checks, &site, &shots)?;
            return Ok(Landed { in_place, injected: true });
        }
        self.disk.write(load.lba, &load.bytes, &load.tuples)?;
        self.faults.cleaned(self.place(load.lba), load.blocks());
        Ok(Landed { in_place: load.blocks(), injected: false })
    }

    /// Stores a write to which faults happen; answers how many of its blocks are where they belong.
    ///
    /// `checks` are those that the drive makes of what arrives.
    fn store_with_faults(
        &self,
        span: &Span,
        mut load: Load<'_>,
        checks: &Checks,
        site: &Site,
        shots: &[Shot],
    ) -> Result<BlockCount, TrapError> {
        self.faults.flip_all(span, site, Place::In, shots, load.moving());
        check_delivery(&load, checks, shots)?;
        self.faults.flip_all(span, site, Place::Medium, shots, load.moving());
        let to = self.faults.destination(span, site, shots);
        let count = usize::try_from(to.stored.0).unwrap_or(usize::MAX);
        let bytes = load.bytes.get(..count.saturating_mul(self.block_bytes()));
        let tuples = load.tuples.get(..count).unwrap_or(&load.tuples);
        self.disk.write(to.lba, bytes.unwrap_or(&load.bytes), tuples)?;
        self.faults.overwritten(site, &to, shots);
        Ok(if to.lba == load.lba { to.stored } else { BlockCount(0) })
    }

    /// The tuples that were meant to be stored.
    pub(super) fn meant(&self, stored: &Stored) -> List<Tuple> {
        self.tuples_of(&stored.held, &stored.fetched, &stored.clues)
    }

    fn tuples_of(&self, held: &Held, fetched: &Fetched, clues: &[Clue]) -> List<Tuple> {
        let sample = fetched.sample(held);
        tuples_to_store(self.geometry().pi_type, &held.write, sample, &fetched.guards, clues)
    }

    /// Counts, records and watches the races of a write.
    pub(super) fn report(&self, held: &Held, fetched: &Fetched, clues: &[Clue], outcome: Outcome) {
        if clues.is_empty() {
            return;
        }
        let evidence = Evidence {
            held,
            earlier: &held.doorbell,
            later: fetched.sample(held),
            guards: &fetched.guards,
            at: fetched.at,
            window: fetched.window,
            outcome,
            overlap: held.write.data.has_repeated_page(),
        };
        for clue in clues {
            let race = self.emit_race(&evidence, clue);
            self.ledger.stand(self.place(clue.lba), race, fetched.at, &held.span);
        }
    }

    fn emit_race(&self, evidence: &Evidence<'_>, clue: &Clue) -> RaceId {
        let id = self.ledger.take_race_id();
        let unit = self.ledger.name_of(self.options.unit);
        let race = evidence.race(clue, id, self.ledger.device(), unit);
        self.ledger.note_race(&evidence.held.span, race);
        id
    }

    /// Heals the blocks of those `stored` that did not race.
    pub(super) fn heal_clean_blocks(&self, lba: Lba, stored: BlockCount, raced: &[Clue]) {
        let (mut next, end) = (lba, lba.offset(stored.0));
        for clue in raced.iter().filter(|clue| clue.lba < end) {
            self.ledger.heal(self.place(next), BlockCount(clue.lba.0.saturating_sub(next.0)));
            next = clue.lba.offset(1);
        }
        self.ledger.heal(self.place(next), BlockCount(end.0.saturating_sub(next.0)));
    }

    /// Looks once more before the completion, when asked to. Hardware cannot see this, so it never
    /// fails a write.
    pub(super) fn audit(&self, held: &Held, fetched: &Fetched) {
        if !self.options.audit {
            return;
        }
        let at = self.ledger.now();
        let Ok(last) = Sample::take(&held.write) else { return };
        let (write, size) = (&held.write, self.block_bytes());
        let clues = differing(write, fetched.sample(held), &last, size, Phase::AfterFetch);
        let evidence = Evidence {
            held,
            earlier: fetched.sample(held),
            later: &last,
            guards: &fetched.guards,
            at,
            window: at.since(held.rung),
            outcome: Outcome::Stored,
            overlap: held.write.data.has_repeated_page(),
        };
        for clue in &clues {
            self.emit_race(&evidence, clue);
        }
    }
}
