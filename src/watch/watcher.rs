//! Arms the pages of writes between doorbell and fetch, and has races looked into.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use vm_memory::GuestMemoryMmap;

use super::arms::Arms;
use super::file::SharedFile;
use super::layout::{PAGE, Store};
use super::ram::RamFile;
use crate::made::MadeFile;
use crate::memory::{MemoryMap, Segments};
use crate::record::{Page, RaceId};

/// How many races may wait until they are looked into.
const WAITING: usize = 4096;

/// How long an end waits for those that are still to be looked into, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

/// The watcher of a daemon.
#[derive(Debug)]
pub struct Watcher {
    file: SharedFile,
    books: Mutex<Books>,
    suspects: SyncSender<Suspect>,
    waiting: Mutex<Option<Receiver<Suspect>>>,
    /// How many races wait, or are being looked into.
    pending: AtomicU64,
    overlooked: AtomicU64,
}

#[derive(Debug, Default)]
struct Books {
    arms: Arms,
    memory: Weak<GuestMemoryMmap<()>>,
    ram: RamFile,
    /// Counts memories.
    generation: u64,
    /// The plugin was told of this memory's kernel.
    kernel_told: bool,
}

/// The pages of a write, armed until this goes.
#[derive(Debug)]
pub struct Armed {
    watcher: Arc<Watcher>,
    pages: Vec<u64>,
    rung: u64,
    fetched: AtomicU64,
    lacks_room: AtomicBool,
}

/// A block that raced, and what it takes to find out who did it.
#[derive(Debug)]
pub struct Suspect {
    /// The race.
    pub race: RaceId,
    /// The pages of its request, armed until this was looked into.
    pub armed: Arc<Armed>,
    /// The memory that the block was in.
    pub memory: MemoryMap,
    /// Where the block's bytes were: guest-physical addresses and lengths.
    pub pieces: Vec<(u64, u32)>,
    /// Its bytes at the doorbell.
    pub old: Vec<u8>,
    /// As they were fetched.
    pub new: Vec<u8>,
    /// The runs that changed, as the race's record has them.
    pub runs: Vec<std::ops::Range<usize>>,
    /// The page's state.
    pub page: Option<Page>,
}

/// A piece of a block, with its stores.
#[derive(Debug)]
pub struct Logged {
    /// Where the piece begins in the block.
    pub offset: usize,
    /// Where it is in the RAM's file.
    pub place: u64,
    /// How long it is.
    pub len: u32,
    /// The stores to the blocks of the log that it lies in.
    pub stores: Vec<Store>,
}

impl Watcher {
    /// Makes the shared file, and tells where nothing was there before.
    pub fn create(path: &Path) -> io::Result<(Watcher, Option<MadeFile>)> {
        let (file, made) = SharedFile::create(path)?;
        let (suspects, waiting) = sync_channel(WAITING);
        let watcher = Watcher {
            file,
            books: Mutex::default(),
            suspects,
            waiting: Mutex::new(Some(waiting)),
            pending: AtomicU64::new(0),
            overlooked: AtomicU64::new(0),
        };
        Ok((watcher, made))
    }

    /// What is to be looked into; once.
    pub(super) fn take_suspects(&self) -> Option<Receiver<Suspect>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The shared file.
    pub(super) fn file(&self) -> &SharedFile {
        &self.file
    }

    /// Arms the pages of a write whose doorbell was rung: before its sample is taken, so that no store behind that
    /// goes unseen.
    pub fn arm(self: &Arc<Self>, data: &Segments) -> Arc<Armed> {
        let mut pages = Vec::new();
        let mut lacks_room = false;
        let mut books = self.books();
        books.follow(data.memory(), &self.file);
        for (address, len) in data.pieces(0, data.len()) {
            let end = address.saturating_add(len.into());
            for at in (address / PAGE..end.div_ceil(PAGE)).map(|page| page.saturating_mul(PAGE)) {
                let Some(page) = books.ram.place(at).map(|place| place / PAGE) else {
                    lacks_room = true;
                    continue;
                };
                match books.arms.arm(&self.file, page) {
                    true => pages.push(page),
                    false => lacks_room = true,
                }
            }
        }
        self.tell(&books);
        // Behind the map: who sees this number sees the pages.
        self.file.header().epoch.0.fetch_add(1, Ordering::SeqCst);
        drop(books);
        Arc::new(Armed {
            watcher: Arc::clone(self),
            pages,
            rung: now(),
            fetched: AtomicU64::new(0),
            lacks_room: AtomicBool::new(lacks_room),
        })
    }

    /// Has a race looked into; never waits.
    pub fn suspect(&self, suspect: Suspect) {
        self.pending.fetch_add(1, Ordering::AcqRel);
        if self.suspects.try_send(suspect).is_err() {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            if self.overlooked.fetch_add(1, Ordering::Relaxed) == 0 {
                log::warn!("more races than can be looked into: not all of them have a culprit");
            }
        }
    }

    /// One more was looked into.
    pub(super) fn done(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits, with an end, until all that wait were looked into.
    pub fn drain(&self) {
        let end = now().saturating_add(PATIENCE);
        while self.pending.load(Ordering::Acquire) > 0 && now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the plugin was told of the kernel of the memory in force, so that tasks have names.
    pub fn knows_kernel(&self) -> bool {
        self.books().kernel_told
    }

    /// The memory in force whose kernel the plugin does not know yet.
    pub(super) fn untold(&self) -> Option<MemoryMap> {
        let books = self.books();
        if books.kernel_told { None } else { books.memory.upgrade() }
    }

    /// Notes that the plugin was told of a memory's kernel; answers where its RAM lies.
    pub(super) fn told(&self, memory: &MemoryMap) -> Option<RamFile> {
        let mut books = self.books();
        let is_it = std::ptr::eq(books.memory.as_ptr(), Arc::as_ptr(memory));
        books.kernel_told |= is_it;
        is_it.then(|| books.ram.clone())
    }

    /// Where a memory's RAM lies in its file.
    pub(super) fn ram(&self) -> RamFile {
        self.books().ram.clone()
    }

    /// The stores to a block that raced, and whether those are all.
    pub(super) fn stores(&self, suspect: &Suspect) -> (Vec<Logged>, bool) {
        let (books, mut logged, mut whole) = (self.books(), Vec::new(), true);
        let mut offset = 0;
        for (address, len) in &suspect.pieces {
            let Some(place) = books.ram.place(*address) else {
                whole = false;
                offset += *len as usize;
                continue;
            };
            let end = place.saturating_add((*len).into());
            let first = place / super::layout::BLOCK * super::layout::BLOCK;
            let mut stores = Vec::new();
            for at in (first..end).step_by(usize::try_from(super::layout::BLOCK).unwrap_or(512)) {
                let (more, are_all) =
                    books.arms.stores(&self.file, at).unwrap_or((Vec::new(), false));
                stores.extend(more);
                whole &= are_all;
            }
            logged.push(Logged { offset, place, len: *len, stores });
            offset += *len as usize;
        }
        (logged, whole)
    }

    fn tell(&self, books: &Books) {
        self.file.header().armed.0.store(books.arms.count(), Ordering::SeqCst);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Notes which memory is in force, and tells the plugin where it is.
    fn follow(&mut self, memory: &MemoryMap, file: &SharedFile) {
        if std::ptr::eq(self.memory.as_ptr(), Arc::as_ptr(memory)) {
            return;
        }
        self.memory = Arc::downgrade(memory);
        self.ram = RamFile::of(memory);
        self.generation += 1;
        self.kernel_told = false;
        file.header().kernel.0.generation.store(0, Ordering::Release);
        self.ram.tell(file.header(), self.generation);
    }
}

impl Armed {
    /// The data was fetched: stores that are made from now on are not to be told from those before.
    pub fn fetched(&self) {
        let at = now();
        self.fetched.store(at, Ordering::Relaxed);
        let books = self.watcher.books();
        self.pages.iter().for_each(|page| books.arms.fetched(&self.watcher.file, *page, at));
    }

    /// Between which times stores matter.
    pub(super) fn window(&self) -> (u64, u64) {
        (self.rung, self.fetched.load(Ordering::Relaxed))
    }

    /// Not all pages could be armed.
    pub(super) fn lacks_room(&self) -> bool {
        self.lacks_room.load(Ordering::Relaxed)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let mut books = self.watcher.books();
        self.pages.iter().for_each(|page| books.arms.disarm(&self.watcher.file, *page));
        self.watcher.tell(&books);
    }
}

/// The clock that the plugin stamps stores with.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
