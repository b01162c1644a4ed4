//! What a daemon writes down: one ledger for all its disks and queues.
//!
//! It has the clock that every `t_us` is in, the records' sink, the counters and labels, the numbers
//! of requests and races, and the races that no later write has covered yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::by_block::{ByBlock, Place};
use super::completed::AuditedRead;
use super::read_race::{Finding, Reader};
use super::tally::{Count, Span, Tally};
use crate::clock::{Clock, Moment};
use crate::explain::Pages;
use crate::memory::{MemoryMap, Segments};
use crate::record::{
    Broken, Counters, Healed, Inject, Mark, MarkState, MediumFault, Page, Race, RaceId, Record,
    Start, Stop, WindowChange,
};
use crate::report::Sink;
use crate::units::{BlockCount, QueueIndex, WindowSpec};
use crate::watch::{Armed, Suspect, Watcher};

/// The books of a session.
#[derive(Debug)]
pub struct Ledger {
    clock: Arc<dyn Clock>,
    sink: Sink,
    /// What the guest's kernel knows of its pages.
    pages: Arc<Pages>,
    /// Who sees stores to pages that are on their way to the disk, where somebody does.
    watcher: Option<Arc<Watcher>>,
    /// `blk` or `scsi`, as records say it.
    device: &'static str,
    /// There are several disks, so that records have to say which.
    names_units: bool,
    tally: Tally,
    standing: ByBlock<Standing>,
    /// By queue, the reads that were delivered for an audit and are not completed yet.
    delivered: Mutex<HashMap<QueueIndex, Vec<AuditedRead>>>,
    /// There ever were any. A load is all that reads cost where nothing is audited.
    audits: AtomicBool,
    next_request: AtomicU64,
    next_race: AtomicU64,
}

/// A race that no later clean write has covered yet. Those beyond what can be remembered stay counted
/// as standing, which overstates and never hides.
#[derive(Debug)]
struct Standing {
    race: RaceId,
    /// When its data was fetched.
    at: Moment,
    /// The label it counts for.
    span: Arc<Span>,
}

impl Ledger {
    /// Empty books for a device with so many disks, whose records go to `sink`.
    pub fn new(device: &'static str, disks: usize, clock: Arc<dyn Clock>, sink: Sink) -> Self {
        Ledger {
            clock,
            sink,
            pages: Arc::default(),
            watcher: None,
            device,
            names_units: disks > 1,
            tally: Tally::new(),
            standing: ByBlock::default(),
            delivered: Mutex::default(),
            audits: AtomicBool::new(false),
            next_request: AtomicU64::new(1),
            next_race: AtomicU64::new(1),
        }
    }

    /// Has stores watched.
    #[must_use]
    pub fn with_watcher(self, watcher: Option<Arc<Watcher>>) -> Self {
        Ledger { watcher, ..self }
    }

    /// Arms the pages of a write whose doorbell was rung, where stores are watched.
    #[inline]
    pub(super) fn arm(&self, data: &Segments) -> Option<Arc<Armed>> {
        self.watcher.as_ref().map(|watcher| watcher.arm(data))
    }

    /// Who sees stores, where somebody does.
    pub fn watcher(&self) -> Option<&Arc<Watcher>> {
        self.watcher.as_ref()
    }

    /// The time on the session's clock.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// What is known of the guest's pages.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// The kind of device.
    pub(super) fn device(&self) -> &'static str {
        self.device
    }

    /// How records name a logical unit: not at all where it is the only one.
    pub(super) fn name_of(&self, unit: u16) -> Option<u16> {
        self.names_units.then_some(unit)
    }

    /// Writes the first record.
    pub fn start(&self, start: Start) {
        self.sink.emit(Record::Start(start));
    }

    /// Writes the last record, and waits until all of them are written.
    pub fn stop(&self) {
        let (t_us, counters) = (self.now().micros(), self.counters());
        self.sink.close(Some(Record::Stop(Stop { t_us, counters })));
    }

    /// The session's figures so far.
    pub fn counters(&self) -> Counters {
        let (records_lost, records_withheld) = (self.sink.lost(), self.sink.withheld());
        Counters { records_lost, records_withheld, ..self.tally.counters() }
    }

    /// Opens or closes a label; on closing, answers what was counted under it.
    ///
    /// Opening a label closes the one that is open. Closing a label that is not open answers `None`
    /// and changes nothing.
    pub fn mark(&self, label: &str, state: MarkState) -> Option<Counters> {
        match state {
            MarkState::Begin => {
                self.close_label(&self.tally.relabel(Some(label.to_owned())));
                self.emit_mark(label, state, None);
                None
            }
            MarkState::End if self.tally.open().label() != Some(label) => None,
            MarkState::End => self.close_label(&self.tally.relabel(None)),
        }
    }

    /// Writes the closing mark of a span that has a label.
    fn close_label(&self, span: &Span) -> Option<Counters> {
        let label = span.label()?;
        let counters = span.counters();
        self.emit_mark(label, MarkState::End, Some(counters.clone()));
        Some(counters)
    }

    fn emit_mark(&self, label: &str, state: MarkState, counters: Option<Counters>) {
        let (t_us, label) = (self.now().micros(), label.to_owned());
        self.sink.emit(Record::Mark(Mark { t_us, label, state, counters }));
    }

    /// The label that is open.
    pub fn label(&self) -> Option<String> {
        self.tally.open().label().map(str::to_owned)
    }

    /// Counts a request that failed for another reason than a race.
    pub fn note_error(&self) {
        self.count_now(Count::Errors);
    }

    /// Counts a request that has to wait because too many bytes are in flight.
    pub fn note_deferred(&self) {
        self.count_now(Count::Deferred);
    }

    /// Counts the time between the last look at a ring without a write and its doorbell sample.
    pub fn note_blind(&self, blind: Duration) {
        self.tally.add_blind(blind);
    }

    /// Records a ring or connection that cannot be followed any further.
    pub fn note_broken(&self, queue: Option<QueueIndex>, reason: String) {
        log::error!(
            "{}: {reason}",
            queue.map_or("connection".to_owned(), |q| format!("queue {q}"))
        );
        self.sink.emit(Record::Broken(Broken { t_us: self.now().micros(), queue, reason }));
    }

    /// Records that writes to come have another window.
    pub fn note_window(&self, spec: WindowSpec) {
        self.sink.emit(Record::Window(WindowChange { t_us: self.now().micros(), spec }));
    }

    /// The label that is open now: what begins now counts for it, however long it takes.
    pub(super) fn span(&self) -> Arc<Span> {
        self.tally.open()
    }

    /// Counts in `span` and in the session.
    pub(super) fn count(&self, span: &Span, count: Count, number: u64) {
        self.tally.add(span, count, number);
    }

    /// Counts something that happens now.
    pub(super) fn count_now(&self, count: Count) {
        self.tally.add(&self.tally.open(), count, 1);
    }

    /// Counts a measured window.
    pub(super) fn count_window(&self, span: &Span, window: Duration) {
        self.tally.add_window(span, window);
    }

    pub(super) fn take_request_id(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn take_race_id(&self) -> RaceId {
        RaceId(self.next_race.fetch_add(1, Ordering::Relaxed))
    }

    /// Keeps a read that is looked at again after its completion.
    pub(super) fn keep(&self, read: AuditedRead) {
        self.audits.store(true, Ordering::Release);
        self.lock_delivered().entry(read.reader.queue).or_default().push(read);
    }

    /// Takes out the reads of a queue that were delivered for an audit since the last time.
    pub fn take_delivered(&self, queue: QueueIndex) -> Vec<AuditedRead> {
        if !self.audits.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.lock_delivered().get_mut(&queue).map(std::mem::take).unwrap_or_default()
    }

    fn lock_delivered(&self) -> MutexGuard<'_, HashMap<QueueIndex, Vec<AuditedRead>>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and records a race in `memory`, with the state of its page; not of one that is the guest's own
    /// again, which says nothing about the request.
    pub(super) fn note_race(
        &self,
        span: &Span,
        memory: &MemoryMap,
        mut race: Race,
        suspect: Option<Suspect>,
    ) {
        if !race.after_completion {
            race.page = self.page_of(memory, race.gpa);
        }
        if let Some((watcher, suspect)) = self.watcher.as_ref().zip(suspect) {
            watcher.suspect(Suspect { page: race.page.clone(), ..suspect });
        }
        let count =
            if race.after_completion { Count::AfterCompletion } else { Count::Race(race.phase) };
        self.tally.add(span, count, 1);
        if race.guard_blind && !race.after_completion {
            self.tally.add(span, Count::GuardBlind, 1);
        }
        self.sink.emit(Record::Race(Box::new(race)));
    }

    fn page_of(&self, memory: &MemoryMap, address: u64) -> Option<Page> {
        let kernel = self.pages.kernel(memory)?;
        let begun = self.now();
        let page = kernel.page(memory, address)?;
        let read_us = self.now().since(begun).as_secs_f64() * 1e6;
        Some(Page { read_us, ..page })
    }

    /// Counts and records a block of request number `id` that is not as it was delivered `into` guest
    /// memory.
    pub(super) fn note_read(
        &self,
        span: &Span,
        reader: &Reader,
        (id, into): (u64, &Segments),
        finding: Finding,
    ) {
        let seen = (self.take_race_id(), self.now(), self.device);
        self.note_race(span, into.memory(), reader.race(seen, span, (id, into), finding), None);
    }

    /// Remembers a race, fetched at `at`, until a clean write covers its block.
    pub(super) fn stand(&self, place: Place, race: RaceId, at: Moment, span: &Arc<Span>) {
        self.standing.add(place, Standing { race, at, span: Arc::clone(span) });
    }

    /// Notes that clean contents cover these blocks: races that stood there are healed. (A discard
    /// counts too: what was wrong on the medium is gone.)
    pub(super) fn heal(&self, first: Place, blocks: BlockCount) {
        for standing in self.standing.take(first, blocks) {
            let now = self.now();
            self.tally.add(&standing.span, Count::Healed, 1);
            self.sink.emit(Record::Healed(Healed {
                t_us: now.micros(),
                race: standing.race,
                after_us: now.since(standing.at).as_micros().try_into().unwrap_or(u64::MAX),
            }));
        }
    }

    /// Counts and records a fault that was injected.
    pub(super) fn note_injection(&self, span: &Span, inject: Inject) {
        self.tally.add(span, Count::Injected, 1);
        self.sink.emit(Record::Inject(inject));
    }

    /// Records a block that does not fit its stored protection information, and counts it unless a
    /// fault was injected.
    pub(super) fn note_medium_fault(&self, span: &Span, fault: MediumFault) {
        self.tally.add(span, Count::MediumFaults, u64::from(!fault.injected));
        self.sink.emit(Record::Medium(fault));
    }
}
