//! What is kept of a store to an armed page.
//!
//! A CPU's stores lie in places of its own, so no two threads ever write the same one. Adjacent stores of one
//! instruction are one, and so are stores of one instruction to one place, where all else is the same.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::layout::{
    ASIDE, BLOCK, BLOCKS, KERNEL, Name, PAGE, REGISTERS, SLOTS, Slot, Stack, Store, TASK,
};
use crate::ram::Ram;
use crate::shared::Shared;
use crate::task::{Guest, Task, is_on};

/// How many stores of a CPU others may be joined to.
const RECENT: usize = 4;

/// Registers of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// The stack pointer.
    pub rsp: u64,
    /// The frame pointer, or anything else.
    pub rbp: u64,
}

/// A store to an armed page, as QEMU tells it. It crosses no border of a block.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The CPU.
    pub cpu: usize,
    /// The instruction, see [`Store::code`].
    pub code: u64,
    /// It is the kernel's.
    pub is_kernel: bool,
    /// It stores again and again by itself (rep movs, rep stos).
    pub repeats: bool,
    /// The virtual address.
    pub address: u64,
    /// The first byte, in the RAM's file.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What a CPU's thread remembers of the stores that it logged.
#[derive(Debug)]
pub struct Memory {
    recent: [Recent; RECENT],
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    store: Store,
    epoch: u64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { recent: [Recent { store: Store::default(), epoch: u64::MAX }; RECENT], next: 0 }
    }
}

impl Memory {
    fn remember(&mut self, recent: Recent) {
        if let Some(place) = self.recent.get_mut(self.next) {
            *place = recent;
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// Forgets the store whose place is used again.
    fn forget(&mut self, number: u64) {
        for recent in self.recent.iter_mut().filter(|recent| recent.store.number == number) {
            recent.epoch = u64::MAX;
        }
    }
}

/// The log of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// Where it is kept.
    pub shared: &'a Shared,
    /// The guest's memory.
    pub ram: &'a Ram,
}

impl Log<'_> {
    /// The log of the page that has this byte of the RAM's file, where it is armed.
    #[inline]
    pub fn armed(&self, at: u64) -> Option<&Slot> {
        let number = self.shared.page(at / PAGE)?.load(Acquire);
        self.shared.slot((number as usize).checked_sub(1).filter(|number| *number < SLOTS)?)
    }

    /// Keeps a store to the page of `slot`, seen at `now`.
    pub fn keep(
        &self,
        slot: &Slot,
        seen: Seen,
        now: u64,
        memory: &mut Memory,
        registers: impl FnOnce() -> Option<Registers>,
    ) {
        let header = self.shared.header();
        let (Some(cpu), Some(block)) =
            (header.cpus.get(seen.cpu), slot.blocks.get(block_of(seen.at)))
        else {
            return;
        };
        cpu.0.hits.store(cpu.0.hits.load(Relaxed).wrapping_add(1), Relaxed);
        let fetched = slot.fetched.load(Acquire);
        let is_late = fetched != 0 && now > fetched;
        let epoch = header.epoch.0.load(Acquire);
        let guest = Guest::known(header, self.ram);
        let task = guest.and_then(|guest| guest.task(seen.cpu));
        let registers = if seen.is_kernel { registers() } else { None };
        let mut store = describe(&seen, now, task.as_ref(), registers);
        self.ram.read(seen.at, value_bytes(&mut store, seen.bytes));
        let stack = registers.zip(task).zip(guest);
        // What stood there at the fetch is not to be written over with what came behind it.
        let joins = |recent: &&mut Recent| {
            recent.epoch == epoch
                && !(is_late && recent.store.last <= fetched)
                && can_join(&recent.store, &store)
                && block.kept.iter().any(|kept| kept.load(Relaxed) == name_of(&recent.store).pack())
                && (seen.repeats || self.has_stack(&recent.store, stack))
        };
        if let Some(recent) = memory.recent.iter_mut().find(joins) {
            recent.store = joined(&recent.store, &store);
            self.write(&recent.store);
            return;
        }
        let Some(kept) = block.place(is_late) else { return };
        // What has to go makes room, where it is this CPU's own: so a storm on one page costs no other page
        // its stores.
        let old = self.own(seen.cpu, kept.load(Relaxed));
        store.number = old.map_or_else(|| take(&cpu.0.stores), |old| old.number);
        if let Some(((registers, task), guest)) = stack {
            let stamp = take(&cpu.0.stamps);
            let place = old.and_then(|old| old.stack.checked_sub(1)).map(Stack::place);
            let name = Stack::name(place.unwrap_or_else(|| take(&cpu.0.stacks)), stamp);
            if let Some(place) = self.shared.stack(seen.cpu, name) {
                place.begin(registers.rsp & !7);
                let len = guest.copy_stack(registers.rsp, &task, place);
                place.end(name, len);
                store.stack = name.wrapping_add(1);
            }
        }
        memory.forget(store.number);
        self.write(&store);
        kept.store(name_of(&store).pack(), Release);
        memory.remember(Recent { store, epoch });
    }

    /// The store that a word names, where it is this CPU's and still there.
    fn own(&self, cpu: usize, word: u64) -> Option<Store> {
        let name = Name::unpack(word).filter(|name| name.cpu == cpu)?;
        let store = self.shared.store(cpu, name.number)?.read()?;
        (store.number == name.number).then_some(store)
    }

    fn write(&self, store: &Store) {
        if let Some(place) = self.shared.store(store.cpu as usize, store.number) {
            place.write(store);
        }
    }

    /// Whether a store was made on the very stack that is there now.
    fn has_stack(&self, store: &Store, now: Option<((Registers, Task), Guest<'_>)>) -> bool {
        let kept = store.stack.checked_sub(1);
        match (kept, now) {
            (None, None) => true,
            (Some(name), Some(((registers, task), guest))) => {
                let kept = self.shared.stack(store.cpu as usize, name);
                let kept = kept.and_then(|place| place.read(name));
                kept.is_some_and(|kept| guest.is_same_stack(registers.rsp, &task, &kept))
            }
            _ => false,
        }
    }
}

/// Counts on, and answers what there was before. Only one thread does so.
fn take(counter: &AtomicU64) -> u64 {
    let before = counter.load(Relaxed);
    counter.store(before.wrapping_add(1), Relaxed);
    before
}

fn block_of(at: u64) -> usize {
    ((at % PAGE) / BLOCK) as usize % BLOCKS
}

fn name_of(store: &Store) -> Name {
    Name { cpu: store.cpu as usize, number: store.number }
}

fn describe(seen: &Seen, now: u64, task: Option<&Task>, registers: Option<Registers>) -> Store {
    let aside = registers.zip(task).is_some_and(|(registers, task)| !is_on(registers.rsp, task));
    let flags = [
        (seen.is_kernel, KERNEL),
        (registers.is_some(), REGISTERS),
        (task.is_some(), TASK),
        (aside, ASIDE),
    ];
    Store {
        first: now,
        last: now,
        code: seen.code,
        address: seen.address,
        low: seen.at,
        high: seen.at.wrapping_add(seen.bytes),
        count: 1,
        cpu: seen.cpu as u64,
        bytes: seen.bytes,
        flags: flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum(),
        value_at: seen.at,
        rsp: registers.map_or(0, |registers| registers.rsp),
        rbp: registers.map_or(0, |registers| registers.rbp),
        ids: task.map_or(0, |task| task.ids),
        comm: task.map_or([0; 2], |task| task.comm),
        ..Store::default()
    }
}

/// The bytes of a store's value.
fn value_bytes(store: &mut Store, bytes: u64) -> &mut [u8] {
    let len = usize::try_from(bytes).unwrap_or(usize::MAX).min(size_of_val(&store.value));
    // SAFETY: two words are sixteen bytes, any of which may have any value.
    let value = unsafe { &mut *store.value.as_mut_ptr().cast::<[u8; 16]>() };
    value.get_mut(..len).unwrap_or_default()
}

/// Whether a store goes on where another one ended, or is where that one was.
fn can_join(old: &Store, new: &Store) -> bool {
    let is_there =
        new.low == old.high || new.high == old.low || (new.low, new.high) == (old.low, old.high);
    let is_same = |old: &Store, new: &Store| {
        (old.code, old.flags, old.ids, old.rsp, old.rbp, old.bytes)
            == (new.code, new.flags, new.ids, new.rsp, new.rbp, new.bytes)
    };
    is_there && is_same(old, new) && old.low / BLOCK == new.low / BLOCK
}

fn joined(old: &Store, new: &Store) -> Store {
    Store {
        last: new.last,
        low: old.low.min(new.low),
        high: old.high.max(new.high),
        count: old.count.saturating_add(1),
        value: new.value,
        value_at: new.value_at,
        ..*old
    }
}
