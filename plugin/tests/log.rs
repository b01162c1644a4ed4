//! The log of stores, driven by threads of a host instead of a QEMU's CPUs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may state what they know")]

use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use dixtrap_watch::layout::{ASIDE, BYTES, KEPT, KERNEL, LATE, Name, PAGE, REGISTERS, Store, TASK};
use dixtrap_watch::log::{Log, Memory, Registers, Seen};
use dixtrap_watch::ram::Ram;
use dixtrap_watch::shared::Shared;

/// Which page of the small guest is armed, with its slot.
const ARMED: u64 = 3;
const SLOT: usize = 9;
const WORDS: usize = 16 * 512;

struct Rig {
    shared: Shared,
    ram: Ram,
    memory: Box<[AtomicU64]>,
}

fn rig() -> Rig {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, which is never unmapped.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    // SAFETY: as above.
    let shared = unsafe { Shared::over(NonNull::new(base.cast()).unwrap()) };
    let memory: Box<[AtomicU64]> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    // SAFETY: it lives as long as the rig.
    let ram = unsafe { Ram::over(&memory) };
    shared.page(ARMED).unwrap().store(SLOT as u32 + 1, Relaxed);
    shared.slot(SLOT).unwrap().page.store(ARMED, Relaxed);
    Rig { shared, ram, memory }
}

impl Rig {
    fn log(&self) -> Log<'_> {
        Log { shared: &self.shared, ram: &self.ram }
    }

    /// Stores a word at byte `offset` of the armed page, and has it logged.
    fn store(
        &self,
        (cpu, code): (usize, u64),
        offset: u64,
        value: u64,
        now: u64,
        memory: &mut Memory,
    ) {
        let at = ARMED * PAGE + offset;
        self.memory[at as usize / 8].store(value, Relaxed);
        let seen = Seen {
            cpu,
            code,
            is_kernel: false,
            repeats: false,
            address: 0x7000 + offset,
            at,
            bytes: 8,
        };
        self.log().keep(self.log().armed(at).unwrap(), seen, now, memory, || None);
    }

    /// What is kept of block `block`, in the order of time.
    fn kept(&self, block: usize) -> (Vec<Store>, bool) {
        let (names, more) = self.shared.slot(SLOT).unwrap().blocks[block].names();
        let read = |name: Name| self.shared.store(name.cpu, name.number).unwrap().read().unwrap();
        let mut stores: Vec<_> = names.into_iter().map(read).collect();
        stores.sort_by_key(|store| store.first);
        (stores, more)
    }
}

#[test]
fn a_page_that_is_not_armed_has_no_log() {
    let rig = rig();
    assert!(rig.log().armed(ARMED * PAGE + 100).is_some());
    for at in [0, (ARMED + 1) * PAGE, u64::MAX] {
        assert!(rig.log().armed(at).is_none(), "{at:#x}");
    }
}

#[test]
fn adjacent_stores_of_one_instruction_are_one_within_their_block() {
    let (rig, mut memory) = (rig(), Memory::default());
    for word in 0..128 {
        rig.store((0, 0x500), word * 8, word, 10 + word, &mut memory);
    }
    for block in [0, 1] {
        let (stores, more) = rig.kept(block);
        assert!(!more && stores.len() == 1, "{stores:?}");
        let store = stores[0];
        let begin = ARMED * PAGE + block as u64 * 512;
        assert_eq!((store.low, store.high, store.count), (begin, begin + 512, 64));
        assert_eq!((store.first, store.last), (10 + block as u64 * 64, 73 + block as u64 * 64));
        assert_eq!((store.value[0], store.value_at), (63 + block as u64 * 64, begin + 504));
    }
}

#[test]
fn the_first_stays_with_the_last_ones_and_few_come_in_behind_the_fetch() {
    let (rig, mut memory) = (rig(), Memory::default());
    for number in 0..100 {
        rig.store((0, 0x1000 + number), 16, number, number + 1, &mut memory);
    }
    let codes =
        |rig: &Rig| rig.kept(0).0.iter().map(|store| store.code - 0x1000).collect::<Vec<_>>();
    let last = |from: u64, end: u64| std::iter::once(0).chain(from..end).collect::<Vec<_>>();
    assert_eq!(codes(&rig), last(101 - KEPT as u64, 100));
    assert!(rig.kept(0).1, "there were more");
    rig.shared.slot(SLOT).unwrap().fetched.store(150, Relaxed);
    for number in 200..300 {
        rig.store((0, 0x1000 + number), 16, number, number, &mut memory);
    }
    let mut kept = last(101 - KEPT as u64 + LATE, 100);
    kept.extend(200..200 + LATE);
    assert_eq!(codes(&rig), kept);
}

#[test]
fn what_stood_there_at_the_fetch_is_not_written_over() {
    let (rig, mut memory) = (rig(), Memory::default());
    rig.store((0, 0x77), 24, 1, 10, &mut memory);
    rig.store((0, 0x77), 24, 2, 20, &mut memory);
    rig.shared.slot(SLOT).unwrap().fetched.store(30, Relaxed);
    rig.store((0, 0x77), 24, 3, 40, &mut memory);
    let told: Vec<_> = rig.kept(0).0.iter().map(|store| (store.value[0], store.count)).collect();
    assert_eq!(told, [(2, 2), (3, 1)]);
}

#[test]
fn threads_that_store_at_once_leave_whole_stores() {
    const CPUS: usize = 4;
    const EACH: u64 = 20_000;
    let (rig, start) = (rig(), Barrier::new(CPUS));
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (rig, start) = (&rig, &start);
            scope.spawn(move || {
                let mut memory = Memory::default();
                start.wait();
                for number in 0..EACH {
                    // A CPU's own word, so that its value tells which store it was.
                    let (code, offset) = (cpu as u64 * EACH + number, cpu as u64 * 8);
                    rig.store((cpu, code), offset, code, number, &mut memory);
                }
            });
        }
        // Read while they write: whatever is read is one store and no mixture.
        for _ in 0..2_000 {
            let (names, _) = rig.shared.slot(SLOT).unwrap().blocks[0].names();
            for name in names {
                let Some(store) = rig.shared.store(name.cpu, name.number).unwrap().read() else {
                    continue;
                };
                assert_eq!(store.code, store.value[0], "{store:?}");
                assert_eq!(store.code, store.cpu * EACH + store.first, "{store:?}");
            }
        }
    });
    let (stores, more) = rig.kept(0);
    assert!(more && stores.len() == KEPT, "{stores:?}");
    assert_eq!(stores[0].first, 0, "the first of all is kept");
    let used = |cpu: usize| rig.shared.header().cpus[cpu].0.stores.load(Relaxed);
    assert!((0..CPUS).all(|cpu| used(cpu) < EACH), "places are used again");
    let hits: u64 = (0..CPUS).map(|cpu| rig.shared.header().cpus[cpu].0.hits.load(Relaxed)).sum();
    assert_eq!(hits, CPUS as u64 * EACH);
}

/// Where the small guest's direct mapping begins.
const DIRECT: u64 = 0xffff_8880_0000_0000;
const TASK_AT: u64 = 0x8000;
const STACK_AT: u64 = 0xc000;

fn with_kernel(rig: &Rig) {
    let (ram, kernel) = (&rig.shared.header().ram.0, &rig.shared.header().kernel.0);
    ram.pieces[0][1].store(WORDS as u64 * 8, Relaxed);
    for (field, value) in [
        (&kernel.direct, DIRECT),
        (&kernel.tid, 16),
        (&kernel.pid, 20),
        (&kernel.comm, 24),
        (&kernel.stack, 40),
        (&kernel.stack_bytes, 0x4000),
        (&kernel.generation, 1),
    ] {
        field.store(value, Relaxed);
    }
    let put = |at: u64, value: u64| rig.memory[at as usize / 8].store(value, Relaxed);
    put(0x100, DIRECT + TASK_AT);
    put(TASK_AT + 16, 118 | 117 << 32);
    put(TASK_AT + 24, u64::from_le_bytes(*b"dixtrap-"));
    put(TASK_AT + 32, u64::from_le_bytes(*b"guest\0\0\0"));
    put(TASK_AT + 40, DIRECT + STACK_AT);
    rig.shared.header().cpus[1].0.current.store(0x101, Relaxed);
    for word in 0..0x4000 / 8 {
        put(STACK_AT + word * 8, 0x1000 + word);
    }
}

fn kernel_store(rig: &Rig, rsp: u64, memory: &mut Memory, now: u64) {
    let at = ARMED * PAGE + 8;
    let seen = Seen {
        cpu: 1,
        code: !0,
        is_kernel: true,
        repeats: false,
        address: DIRECT + at,
        at,
        bytes: 8,
    };
    let registers = || Some(Registers { rsp, rbp: 7 });
    rig.log().keep(rig.log().armed(at).unwrap(), seen, now, memory, registers);
}

#[test]
fn a_kernels_store_has_its_task_and_stack() {
    let (rig, mut memory) = (rig(), Memory::default());
    with_kernel(&rig);
    let rsp = DIRECT + STACK_AT + 0x3f00;
    kernel_store(&rig, rsp, &mut memory, 1);
    kernel_store(&rig, rsp, &mut memory, 2);
    let store = rig.kept(0).0[0];
    assert_eq!((store.ids, store.count), (118 | 117 << 32, 2), "the same stack, word by word");
    assert_eq!(store.comm.map(u64::to_le_bytes).concat(), b"dixtrap-guest\0\0\0");
    assert_eq!(store.flags, KERNEL | REGISTERS | TASK);
    let (at, words) = rig.shared.stack(1, store.stack - 1).unwrap().read(store.stack - 1).unwrap();
    assert_eq!((at, words.len(), words[0]), (rsp, 0x100 / 8, 0x1000 + 0x3f00 / 8), "to its end");
    // Another way to the same instruction is another store.
    rig.memory[(STACK_AT as usize + 0x3f80) / 8].store(5, Relaxed);
    kernel_store(&rig, rsp, &mut memory, 3);
    assert_eq!(rig.kept(0).0.len(), 2);
}

#[test]
fn a_store_outside_of_the_tasks_stack_is_marked() {
    let (rig, mut memory) = (rig(), Memory::default());
    with_kernel(&rig);
    kernel_store(&rig, DIRECT + 0x6000, &mut memory, 1);
    assert_eq!(rig.kept(0).0[0].flags & ASIDE, ASIDE);
    // Nothing is mapped there, in no table.
    kernel_store(&rig, 0xffff_c900_0000_0000, &mut memory, 2);
    assert_eq!(rig.kept(0).0.len(), 2);
}
