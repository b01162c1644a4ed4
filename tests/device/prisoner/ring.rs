//! Submissions put into an io_uring of a running daemon, behind its back.

use std::fs;

use super::{Outcome, Prisoner};

pub const READ: u8 = 22;
pub const WRITE: u8 = 23;
pub const PAGE: i32 = 4096;

const SETUP_R_DISABLED: u32 = 1 << 6;
const ENTER_GETEVENTS: i32 = 1;
/// Where the submissions are mapped from.
const OFF_SQES: &str = "10000000";
const SQE_BYTES: u64 = 64;
const CQE_BYTES: u64 = 16;

/// Where things are in a ring, as `struct io_uring_params` tells it.
#[derive(Debug)]
struct Layout {
    sq_tail: u64,
    sq_mask: u64,
    sq_array: u64,
    cq_head: u64,
    cq_tail: u64,
    cq_mask: u64,
    cqes: u64,
}

/// The only ring of a process.
#[derive(Debug)]
pub struct Ring {
    descriptor: i32,
    rings: u64,
    sqes: u64,
    layout: Layout,
}

/// The number of a descriptor by the end of what it is open on.
pub fn descriptor_of(process: u32, name: &str) -> Option<i32> {
    let mut entries = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
    let found = entries.find(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.to_str().unwrap().ends_with(name))
    })?;
    found.file_name().to_str()?.parse().ok()
}

impl Layout {
    /// That of a ring of the same size of our own.
    fn of_this_kernel() -> Option<Layout> {
        let mut params = [0u32; 30];
        params[2] = SETUP_R_DISABLED;
        // SAFETY: the kernel fills 120 bytes, which is what there is.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 256, params.as_mut_ptr()) };
        if fd < 0 {
            return None;
        }
        // SAFETY: a descriptor that was made just now.
        unsafe { libc::close(fd as i32) };
        // Ten words of their own, then head, tail, ring_mask, ring_entries, flags, dropped, array of
        // the submissions, three words more, and head, tail, ring_mask, ring_entries, overflow, cqes
        // of the completions.
        let at = |word: usize| u64::from(params[word]);
        Some(Layout {
            sq_tail: at(11),
            sq_mask: at(12),
            sq_array: at(16),
            cq_head: at(20),
            cq_tail: at(21),
            cq_mask: at(22),
            cqes: at(25),
        })
    }
}

impl Ring {
    pub fn of(process: u32) -> Option<Ring> {
        let descriptor = descriptor_of(process, "[io_uring]")?;
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
        let place = |offset: &str| {
            let mapped = |line: &&str| line.ends_with("[io_uring]") && line.contains(offset);
            let line = maps.lines().find(mapped)?;
            u64::from_str_radix(line.split('-').next()?, 16).ok()
        };
        let (rings, sqes) = (place(" 00000000 ")?, place(&format!(" {OFF_SQES} "))?);
        Some(Ring { descriptor, rings, sqes, layout: Layout::of_this_kernel()? })
    }

    /// Has the thread submit an entry over a page of its memory; answers its result.
    pub fn submit(&self, prisoner: &mut Prisoner, opcode: u8, flags: u8, file: i32) -> i32 {
        let Layout { sq_tail, sq_mask, sq_array, cq_head, cq_tail, cq_mask, cqes } = self.layout;
        let mut entry = [0; SQE_BYTES as usize];
        (entry[0], entry[1]) = (opcode, flags);
        entry[4..8].copy_from_slice(&file.to_ne_bytes());
        entry[16..24].copy_from_slice(&prisoner.place().to_ne_bytes());
        entry[24..28].copy_from_slice(&PAGE.to_ne_bytes());
        let tail = self.word(prisoner, sq_tail);
        let slot = tail & self.word(prisoner, sq_mask);
        prisoner.write(self.sqes + u64::from(slot) * SQE_BYTES, &entry);
        self.set(prisoner, sq_array + u64::from(slot) * 4, slot);
        self.set(prisoner, sq_tail, tail.wrapping_add(1));
        let words = [self.descriptor, 1, 1, ENTER_GETEVENTS, 0, 0].map(Into::into);
        let entered = prisoner.call(libc::SYS_io_uring_enter, &words);
        assert_eq!(entered, Outcome::Answered(1), "opcode {opcode}");
        let head = self.word(prisoner, cq_head);
        assert_ne!(head, self.word(prisoner, cq_tail), "opcode {opcode} has an end");
        let done = u64::from(head & self.word(prisoner, cq_mask));
        let result = self.word(prisoner, cqes + done * CQE_BYTES + 8);
        self.set(prisoner, cq_head, head.wrapping_add(1));
        result as i32
    }

    fn word(&self, prisoner: &Prisoner, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        prisoner.read(self.rings + offset, &mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn set(&self, prisoner: &Prisoner, offset: u64, value: u32) {
        prisoner.write(self.rings + offset, &value.to_ne_bytes());
    }
}
