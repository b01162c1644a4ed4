//! Who runs on a CPU, and its kernel stack: by the guest's own structures, whose places the daemon found.
//!
//! Document for the page tables: Intel SDM vol. 3A, §4.5.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::layout::{Header, PAGE, STACK_WORDS, Stack};
use crate::ram::{Ram, place_in_file};

/// Bits 51:12 of an entry of a table.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;

/// A guest whose kernel is known.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    header: &'a Header,
    ram: &'a Ram,
}

/// A task, as far as a store is told by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Task {
    /// Thread and process: the low and the high half.
    pub ids: u64,
    /// Its name.
    pub comm: [u64; 2],
    /// Where its kernel stack begins and ends.
    pub stack: (u64, u64),
}

impl<'a> Guest<'a> {
    /// The guest, where its kernel is known.
    pub fn known(header: &'a Header, ram: &'a Ram) -> Option<Guest<'a>> {
        let is_known = header.kernel.0.generation.load(Acquire) != 0;
        is_known.then_some(Guest { header, ram })
    }

    /// The task that runs on a CPU.
    pub fn task(&self, cpu: usize) -> Option<Task> {
        let kernel = &self.header.kernel.0;
        let current = self.header.cpus.get(cpu)?.0.current.load(Relaxed).checked_sub(1)?;
        let task = self.place(self.ram.word(current)?)?;
        let at = |offset: u64| task.checked_add(offset);
        let mut pair = [[0; 4]; 2];
        for (number, offset) in pair.iter_mut().zip([&kernel.tid, &kernel.pid]) {
            self.ram.read(at(offset.load(Relaxed))?, number).then_some(())?;
        }
        let [tid, pid] = pair.map(u32::from_le_bytes);
        let mut comm = [0; 16];
        self.ram.read(at(kernel.comm.load(Relaxed))?, &mut comm).then_some(())?;
        let mut halves = comm.as_chunks::<8>().0.iter().map(|half| u64::from_le_bytes(*half));
        let stack = self.ram.word(at(kernel.stack.load(Relaxed))?)?;
        Some(Task {
            ids: u64::from(tid) | u64::from(pid) << 32,
            comm: [halves.next()?, halves.next()?],
            stack: (stack, stack.wrapping_add(kernel.stack_bytes.load(Relaxed))),
        })
    }

    /// Copies the words of a stack from `from` up to its end: the task's, or the one of interrupts that it is on.
    /// Answers how many there were.
    pub fn copy_stack(&self, from: u64, task: &Task, into: &Stack) -> usize {
        let mut len = 0;
        self.each_word(from, task, |word| {
            len += usize::from(into.put(len, word));
            len < STACK_WORDS
        });
        len
    }

    /// Whether a stack is word by word the one that was copied.
    pub fn is_same_stack(&self, from: u64, task: &Task, copied: &(u64, Vec<u64>)) -> bool {
        let (mut len, mut same) = (0, from & !7 == copied.0);
        self.each_word(from, task, |word| {
            same &= copied.1.get(len) == Some(&word);
            len += 1;
            same && len < STACK_WORDS
        });
        same && len == copied.1.len()
    }

    fn each_word(&self, from: u64, task: &Task, mut then: impl FnMut(u64) -> bool) {
        let from = from & !7;
        // Stacks of interrupts are of 16 KiB; where one ends is not looked up.
        let end = if is_on(from, task) {
            task.stack.1
        } else {
            from.saturating_add(STACK_WORDS as u64 * 8)
        };
        let (mut at, mut page) = (from, None);
        while at < end {
            if page.is_none() || at % PAGE == 0 {
                page = self.place(at & !(PAGE - 1));
            }
            let word = page.and_then(|page| self.ram.word(page + at % PAGE));
            match word {
                Some(word) if then(word) => at += 8,
                _ => return,
            }
        }
    }

    /// Where a virtual address of the kernel's lies in the RAM's file.
    fn place(&self, address: u64) -> Option<u64> {
        place_in_file(self.header, self.physical(address)?)
    }

    fn physical(&self, address: u64) -> Option<u64> {
        let kernel = &self.header.kernel.0;
        let inside = address.checked_sub(kernel.direct.load(Relaxed));
        if let Some(inside) = inside.filter(|inside| place_in_file(self.header, *inside).is_some())
        {
            return Some(inside);
        }
        let mut table = kernel.root.load(Relaxed);
        for level in (1..=kernel.levels.load(Relaxed).min(5)).rev() {
            let shift = 12 + 9 * (level - 1);
            let at = table.checked_add(((address >> shift) & 0x1ff) * 8)?;
            let entry = self.ram.word(place_in_file(self.header, at)?)?;
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || (level <= 3 && entry & LARGE != 0) {
                let inside = (1_u64 << shift) - 1;
                return Some((entry & ADDRESS & !inside) | (address & inside));
            }
            table = entry & ADDRESS;
        }
        None
    }
}

/// Whether an address is on the task's own stack.
pub fn is_on(address: u64, task: &Task) -> bool {
    (task.stack.0..task.stack.1).contains(&address)
}
