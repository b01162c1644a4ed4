//! Who did it: a thread of its own looks into races, a moment after their fetch, and writes down what it finds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::join::{Changed, GRACE, Touch, explain};
use super::layout::{Header, Store};
use super::tell::Teller;
use super::watcher::{Logged, Suspect, Watcher, now};
use crate::explain::{Found, Pages, Tasks, Tracer};
use crate::memory::MemoryMap;
use crate::record::{Culprit, Record};
use crate::report::Sink;
use crate::sandbox::{Thread, confine};

/// How often a kernel is looked for that the plugin can be told of.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of the kernel that ran when it was last asked for.
#[derive(Debug, Default)]
struct Known {
    found: Option<Found>,
    tracer: Option<Tracer>,
}

/// Starts the thread that looks into races and writes to `sink`; it ends with the watcher.
///
/// # Errors
/// There can be no such thread.
pub fn begin(watcher: &Arc<Watcher>, pages: &Arc<Pages>, sink: Sink) -> io::Result<()> {
    let Some(suspects) = watcher.take_suspects() else { return Ok(()) };
    // Weak: it goes when the daemon lets the watcher go.
    let (watcher, pages) = (Arc::downgrade(watcher), Arc::clone(pages));
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        confine(Thread::Explain);
        let mut known = Known::default();
        while let Some(watcher) = watcher.upgrade() {
            if !work(&watcher, &pages, &suspects, &mut known, &sink) {
                return;
            }
        }
    })?;
    Ok(())
}

/// Looks into the next race, or for the kernel; `false` where nothing more can come.
fn work(
    watcher: &Arc<Watcher>,
    pages: &Pages,
    suspects: &Receiver<Suspect>,
    known: &mut Known,
    sink: &Sink,
) -> bool {
    if let Some(memory) = watcher.untold() {
        known.follow(pages, &memory);
        if let Some(tasks) = known.tracer.as_ref().and_then(Tracer::tasks) {
            tell_plugin(watcher, &memory, tasks);
        }
    }
    match suspects.recv_timeout(LOOK) {
        Ok(suspect) => {
            let due = suspect.armed.window().1.saturating_add(GRACE);
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(now()).min(GRACE)));
            known.follow(pages, &suspect.memory);
            sink.emit(Record::Culprit(Box::new(look_into(watcher, suspect, known))));
            watcher.done();
            true
        }
        Err(RecvTimeoutError::Timeout) => true,
        Err(RecvTimeoutError::Disconnected) => false,
    }
}

impl Known {
    /// Learns of a kernel that was found since.
    fn follow(&mut self, pages: &Pages, memory: &MemoryMap) {
        let found = pages.kernel(memory);
        let is_same = match (&self.found, &found) {
            (Some(old), Some(new)) => old.is(new),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.tracer = found.as_ref().and_then(|_| Tracer::learn(memory));
            self.found = found;
        }
    }
}

/// Tells the plugin where the kernel has its tasks.
fn tell_plugin(watcher: &Watcher, memory: &MemoryMap, tasks: &Tasks) {
    let Some(ram) = watcher.told(memory) else { return };
    let Header { kernel, cpus, .. } = watcher.file().header();
    let kernel = &kernel.0;
    for (word, value) in [
        (&kernel.direct, tasks.direct),
        (&kernel.root, tasks.root),
        (&kernel.levels, tasks.levels.into()),
        (&kernel.tid, tasks.tid),
        (&kernel.pid, tasks.pid),
        (&kernel.comm, tasks.comm),
        (&kernel.stack, tasks.stack),
        (&kernel.stack_bytes, tasks.stack_bytes),
    ] {
        word.store(value, Ordering::Relaxed);
    }
    for (cpu, current) in cpus.iter().zip(&tasks.current) {
        let place = current.and_then(|address| ram.place(address));
        cpu.0.current.store(place.map_or(0, |place| place.saturating_add(1)), Ordering::Relaxed);
    }
    kernel.generation.store(1, Ordering::Release);
}

/// Finds the stores that explain a race.
fn look_into(watcher: &Watcher, suspect: Suspect, known: &mut Known) -> Culprit {
    let (logged, is_whole) = watcher.stores(&suspect);
    let stores: Vec<(&Store, Touch)> = logged.iter().flat_map(touches_of).collect();
    let touches: Vec<Touch> = stores.iter().map(|(_, touch)| touch.clone()).collect();
    let window = suspect.armed.window();
    let changed = Changed { old: &suspect.old, new: &suspect.new, window, is_whole };
    let ram = watcher.ram();
    let mut teller = Teller {
        shared: watcher.file(),
        ram: &ram,
        memory: &suspect.memory,
        pages: known.found.as_ref(),
        tracer: known.tracer.as_mut(),
    };
    let mut told = Vec::new();
    for run in &suspect.runs {
        if let Some((index, certain)) = explain(&changed, run, &touches)
            && let Some((store, _)) = stores.get(index)
        {
            told.push(teller.tell(store, run.clone(), window.0, certain));
        }
    }
    let is_explained = told.iter().any(|store| store.certain);
    let reason = || reason(watcher, &suspect, is_whole, told.is_empty());
    let unseen = (!is_explained).then(reason).map(str::to_owned);
    let count = |touch: &Touch| if touch.seen.1 >= window.0 { touch.count } else { 0 };
    Culprit {
        race: suspect.race,
        store_count: touches.iter().map(count).fold(0, u64::saturating_add),
        stores: told,
        submitter: None,
        page: suspect.page,
        unseen,
    }
}

/// Why no store explains a race.
fn reason(watcher: &Watcher, suspect: &Suspect, is_whole: bool, none: bool) -> &'static str {
    if watcher.file().is_lost() {
        "the watcher's file was made shorter"
    } else if watcher.file().header().plugin.0.ready.load(Ordering::Acquire) == 0 {
        "QEMU has not loaded the watcher's plugin"
    } else if suspect.armed.lacks_room() {
        "not logged: its pages are in no file that is watched, or too many were armed"
    } else if !none {
        "stores to these bytes were seen, and none of them surely explains them"
    } else if !is_whole {
        "not logged: there were more stores to its pages than are kept"
    } else {
        "no store was seen by the watcher (device DMA?)"
    }
}

/// The stores to a piece of a block, in places of the block.
fn touches_of(logged: &Logged) -> impl Iterator<Item = (&Store, Touch)> {
    let Logged { offset, place, len, stores } = logged;
    stores.iter().filter_map(move |store| {
        let (from, to) = (*place, place.saturating_add((*len).into()));
        let (low, high) = (store.low.max(from), store.high.min(to));
        let in_block =
            |at: u64| Some(offset.saturating_add(usize::try_from(at.checked_sub(from)?).ok()?));
        let value: Vec<u8> = store.value.iter().flat_map(|half| half.to_le_bytes()).collect();
        let value =
            value.into_iter().take(usize::try_from(store.bytes).unwrap_or(usize::MAX)).collect();
        let ahead = i64::try_from(store.value_at).ok()?.checked_sub(i64::try_from(from).ok()?)?;
        (low < high).then_some(())?;
        Some((
            store,
            Touch {
                range: in_block(low)?..in_block(high)?,
                value_at: isize::try_from(ahead).ok()?.checked_add_unsigned(*offset)?,
                value,
                seen: (store.first, store.last),
                count: store.count,
                code: store.code,
            },
        ))
    })
}
