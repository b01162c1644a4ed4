//! The file that the daemon and QEMU's plugin share: where its parts lie, and what each of them means.
//!
//! `plugin/` is built from this very file, so that both sides cannot differ. Everything is made of atomic
//! words: neither side can hold the other up, and what one finds torn the other has just rewritten. Addresses
//! of guest memory are offsets in the file of the guest's RAM, which both sides have mapped, each in its place.
//!
//! ```text
//! header | map: a slot number for each page | slots: an armed page each | for each CPU: stores, stacks
//! ```
//!
//! Most of the file is a hole: what no guest uses takes no memory.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What the file begins with.
pub const MAGIC: u64 = u64::from_le_bytes(*b"dixwatch");
/// Changes with this layout.
pub const VERSION: u64 = 1;
/// A page of the guest's.
pub const PAGE: u64 = 4096;
/// What a page's log is divided by.
pub const BLOCK: u64 = 512;
/// How many such blocks a page has.
pub const BLOCKS: usize = 8;
/// The most CPUs that are watched; stores of others are not logged.
pub const CPUS: usize = 64;
/// The pages that can be watched: the first 256 GiB of a guest.
pub const PAGES: usize = 1 << 26;
/// The most pages that are armed at a time: 64 MiB in flight.
pub const SLOTS: usize = 1 << 14;
/// How many stores a block keeps: the first, and the last ones.
pub const KEPT: usize = 16;
/// How many stores are kept of those that are seen after the fetch: they may have been made before it.
pub const LATE: u64 = 2;
/// The stores of one CPU that are kept at a time, and its stacks.
pub const STORES: usize = 1 << 14;
/// As above.
pub const STACKS: usize = 1 << 10;
/// The words of a stack that are kept.
pub const STACK_WORDS: usize = 509;
/// The most pieces that a guest's RAM has in its address space: below and above the hole under 4 GiB.
pub const PIECES: usize = 4;

/// Something that shares no cache line with its neighbours: what one side writes all the time costs the
/// other nothing where it reads something else.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Line<T>(pub T);

/// The first page or so of the file.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`], once all else is there.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU64,
    /// How many pages are armed. Nothing is looked at while it is 0.
    pub armed: Line<AtomicU64>,
    /// Counts armings: who saw a page unarmed at an older number has to look again.
    pub epoch: Line<AtomicU64>,
    /// Which of QEMU's mappings is the guest's RAM.
    pub ram: Line<Ram>,
    /// What is known of the guest's kernel.
    pub kernel: Line<Kernel>,
    /// What the plugin says of itself.
    pub plugin: Line<Plugin>,
    /// One for each CPU.
    pub cpus: [Line<Cpu>; CPUS],
}

/// Which file is the guest's RAM, and where its pieces stand in the guest's address space.
#[derive(Debug)]
#[repr(C)]
pub struct Ram {
    /// Counts changes; 0: not known yet.
    pub generation: AtomicU64,
    /// `st_dev` and `st_ino` of the file.
    pub device: AtomicU64,
    /// As above.
    pub inode: AtomicU64,
    /// Guest-physical address, length, offset in the file; unused ones have no length.
    pub pieces: [[AtomicU64; 3]; PIECES],
}

/// Where a kernel keeps what is asked of a task: addresses are virtual, offsets are in `struct task_struct`.
#[derive(Debug)]
#[repr(C)]
pub struct Kernel {
    /// Counts kernels; 0: none is known, and nothing of the below is looked at.
    pub generation: AtomicU64,
    /// Where physical memory is mapped as a whole (`page_offset_base`).
    pub direct: AtomicU64,
    /// The guest-physical address of the kernel's top page table, and its levels.
    pub root: AtomicU64,
    /// As above.
    pub levels: AtomicU64,
    /// `pid`: the thread.
    pub tid: AtomicU64,
    /// `tgid`: the process.
    pub pid: AtomicU64,
    /// `comm`.
    pub comm: AtomicU64,
    /// `stack`, and how large one is.
    pub stack: AtomicU64,
    /// As above.
    pub stack_bytes: AtomicU64,
}

/// What the plugin says of itself.
#[derive(Debug)]
#[repr(C)]
pub struct Plugin {
    /// It is there.
    pub ready: AtomicU64,
    /// The plugin interface of its QEMU.
    pub interface: AtomicU64,
}

/// What belongs to one CPU. But for `current` it is written by the thread that runs it, and by nobody else.
#[derive(Debug)]
#[repr(C)]
pub struct Cpu {
    /// Where the pointer to the running task is, in the RAM's file; one more than that: 0 is not known.
    pub current: AtomicU64,
    /// How many stores were kept so far.
    pub stores: AtomicU64,
    /// How many places of stacks were used so far.
    pub stacks: AtomicU64,
    /// How many stacks were kept so far.
    pub stamps: AtomicU64,
    /// How many stores went to armed pages.
    pub hits: AtomicU64,
}

/// An armed page.
#[derive(Debug)]
#[repr(C)]
pub struct Slot {
    /// The page's number in the RAM's file.
    pub page: AtomicU64,
    /// When its data was fetched, by the clock that stores are stamped with; 0 while it is not.
    pub fetched: AtomicU64,
    /// Its blocks.
    pub blocks: [Block; BLOCKS],
}

/// The stores to one block of an armed page.
#[derive(Debug)]
#[repr(C)]
pub struct Block {
    /// How many were to be kept.
    pub count: AtomicU64,
    /// How many of them were seen after the fetch.
    pub late: AtomicU64,
    /// Which ones: the first, and the last ones.
    pub kept: [AtomicU64; KEPT],
}

/// A store's name: the CPU, and its number there. 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The CPU.
    pub cpu: usize,
    /// The how manieth of that CPU it is.
    pub number: u64,
}

impl Name {
    const SHIFT: u32 = 48;

    /// As one word.
    pub fn pack(self) -> u64 {
        (self.cpu as u64) << Self::SHIFT | (self.number + 1) & ((1 << Self::SHIFT) - 1)
    }

    /// From one word.
    pub fn unpack(word: u64) -> Option<Name> {
        let number = (word & ((1 << Self::SHIFT) - 1)).checked_sub(1)?;
        Some(Name { cpu: usize::try_from(word >> Self::SHIFT).ok()?, number })
    }
}

impl Block {
    /// Forgets all stores.
    pub fn clear(&self) {
        self.kept.iter().for_each(|kept| kept.store(0, Ordering::Relaxed));
        self.late.store(0, Ordering::Relaxed);
        self.count.store(0, Ordering::Release);
    }

    /// A place for a store: the first keeps its own, all others share the rest, so that the last ones stay.
    /// Behind the fetch few get one, so that those before it stay.
    pub fn place(&self, is_late: bool) -> Option<&AtomicU64> {
        if is_late && self.late.fetch_add(1, Ordering::AcqRel) >= LATE {
            return None;
        }
        let at = self.count.fetch_add(1, Ordering::AcqRel);
        let place = match usize::try_from(at) {
            Ok(at) if at < KEPT => at,
            _ => 1 + usize::try_from((at - 1) % (KEPT as u64 - 1)).unwrap_or(0),
        };
        self.kept.get(place)
    }

    /// The stores that are kept, and whether there were more.
    pub fn names(&self) -> (Vec<Name>, bool) {
        let more = self.count.load(Ordering::Acquire) > KEPT as u64
            || self.late.load(Ordering::Acquire) > LATE;
        let names = self.kept.iter().map(|kept| kept.load(Ordering::Acquire));
        (names.filter_map(Name::unpack).collect(), more)
    }
}

/// The instruction was the kernel's.
pub const KERNEL: u64 = 1;
/// The registers are known.
pub const REGISTERS: u64 = 2;
/// The task is known.
pub const TASK: u64 = 4;
/// It was made outside of the task's own stack: an interrupt or an exception, which is not the task's doing.
pub const ASIDE: u64 = 8;

/// A store, or several by one instruction to adjacent bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Store {
    /// Its number on its CPU.
    pub number: u64,
    /// When it was seen, in nanoseconds of `CLOCK_MONOTONIC`: at once behind it, or later.
    pub first: u64,
    /// When the last one was.
    pub last: u64,
    /// The instruction: a virtual address of the kernel's; of a program, where its code lies in the RAM's file,
    /// one more than that, and 0 where that is not known.
    pub code: u64,
    /// The virtual address of the first byte that the first one wrote.
    pub address: u64,
    /// The first byte of all that were written, in the RAM's file.
    pub low: u64,
    /// The byte behind the last one.
    pub high: u64,
    /// How many stores these are.
    pub count: u64,
    /// The CPU.
    pub cpu: u64,
    /// How many bytes one of them wrote.
    pub bytes: u64,
    /// What is known, and what it was.
    pub flags: u64,
    /// What stood there right behind the last one: up to 16 bytes.
    pub value: [u64; 2],
    /// Where `value` begins, in the RAM's file.
    pub value_at: u64,
    /// The registers of these names.
    pub rsp: u64,
    /// As above.
    pub rbp: u64,
    /// Thread and process: the low and the high half.
    pub ids: u64,
    /// The thread's name.
    pub comm: [u64; 2],
    /// The name of its stack, one more than that; 0: none.
    pub stack: u64,
}

/// The words of a [`Store`].
pub const WORDS: usize = size_of::<Store>() / 8;

impl Store {
    /// Word by word.
    pub fn words(&self) -> [u64; WORDS] {
        let (value, comm) = (self.value, self.comm);
        [
            self.number,
            self.first,
            self.last,
            self.code,
            self.address,
            self.low,
            self.high,
            self.count,
            self.cpu,
            self.bytes,
            self.flags,
            value[0],
            value[1],
            self.value_at,
            self.rsp,
            self.rbp,
            self.ids,
            comm[0],
            comm[1],
            self.stack,
        ]
    }

    /// From its words.
    pub fn from_words(words: [u64; WORDS]) -> Store {
        let [
            number,
            first,
            last,
            code,
            address,
            low,
            high,
            count,
            cpu,
            bytes,
            flags,
            value0,
            value1,
            value_at,
            rsp,
            rbp,
            ids,
            comm0,
            comm1,
            stack,
        ] = words;
        let (value, comm) = ([value0, value1], [comm0, comm1]);
        Store {
            number,
            first,
            last,
            code,
            address,
            low,
            high,
            count,
            cpu,
            bytes,
            flags,
            value,
            value_at,
            rsp,
            rbp,
            ids,
            comm,
            stack,
        }
    }

    /// Whether it is known to be the kernel's.
    pub fn is_kernel(&self) -> bool {
        self.flags & KERNEL != 0
    }
}

/// A place for a store.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Entry {
    /// Odd while it is written.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Entry {
    /// Writes it anew. One thread does so at a time.
    pub fn write(&self, store: &Store) {
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(store.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(1), Ordering::Release);
    }

    /// Reads it; `None` where it is being written, time and again.
    pub fn read(&self) -> Option<Store> {
        for _ in 0..64 {
            let version = self.version.load(Ordering::Acquire);
            let mut words = [0; WORDS];
            for (value, word) in words.iter_mut().zip(&self.words) {
                *value = word.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if version & 1 == 0 && self.version.load(Ordering::Relaxed) == version {
                return Some(Store::from_words(words));
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// A place for a stack, from its top on: the words from the stack pointer up.
#[derive(Debug)]
#[repr(C)]
pub struct Stack {
    /// Its name, one more than that; 0 while it is written.
    name: AtomicU64,
    at: AtomicU64,
    len: AtomicU64,
    words: [AtomicU64; STACK_WORDS],
}

impl Stack {
    const PLACE_BITS: u32 = 16;

    /// The name of what is written in a place: no other thing of that CPU's has the same stamp.
    pub fn name(place: u64, stamp: u64) -> u64 {
        (stamp << Self::PLACE_BITS) | (place % STACKS as u64)
    }

    /// The place of a name.
    pub fn place(name: u64) -> u64 {
        name & ((1 << Self::PLACE_BITS) - 1)
    }

    /// Begins to write it; [`Stack::end`] has to follow.
    pub fn begin(&self, at: u64) {
        self.name.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.at.store(at, Ordering::Relaxed);
    }

    /// Writes one word of it; `false` where there is no room.
    pub fn put(&self, index: usize, value: u64) -> bool {
        self.words.get(index).map(|word| word.store(value, Ordering::Relaxed)).is_some()
    }

    /// Ends writing it.
    pub fn end(&self, name: u64, len: usize) {
        self.len.store(len as u64, Ordering::Relaxed);
        self.name.store(name.wrapping_add(1), Ordering::Release);
    }

    /// Reads the stack of a name: its address and its words. `None` where another one is there by now.
    pub fn read(&self, name: u64) -> Option<(u64, Vec<u64>)> {
        let there = || self.name.load(Ordering::Acquire) == name.wrapping_add(1);
        if !there() {
            return None;
        }
        let at = self.at.load(Ordering::Relaxed);
        let len = usize::try_from(self.len.load(Ordering::Relaxed)).ok()?.min(STACK_WORDS);
        let words = self.words.iter().take(len).map(|word| word.load(Ordering::Relaxed)).collect();
        fence(Ordering::Acquire);
        there().then_some((at, words))
    }
}

/// Where the parts begin.
pub const MAP_AT: usize = size_of::<Header>().next_multiple_of(4096);
/// As above.
pub const SLOTS_AT: usize = MAP_AT + PAGES * size_of::<AtomicU32>();
/// As above.
pub const STORES_AT: usize = (SLOTS_AT + SLOTS * size_of::<Slot>()).next_multiple_of(4096);
/// As above.
pub const STACKS_AT: usize = STORES_AT + CPUS * STORES * size_of::<Entry>();
/// How large the file is.
pub const BYTES: usize = STACKS_AT + CPUS * STACKS * size_of::<Stack>();
