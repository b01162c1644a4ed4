//! A split virtqueue from the driver's side (VIRTIO 1.2 §2.7), with nothing hidden: every field
//! can be set to what no honest driver would.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use virtio_bindings::bindings::virtio_ring::{
    VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::eventually;
use super::memory::Memory;
use super::request::Piece;

/// A descriptor's flags.
pub const NEXT: u16 = VRING_DESC_F_NEXT as u16;
pub const WRITE: u16 = VRING_DESC_F_WRITE as u16;
pub const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// A descriptor as it lies in memory.
#[derive(Debug, Clone, Copy)]
pub struct Desc {
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

impl Desc {
    /// Its 16 bytes.
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// An entry of the used ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    pub head: u16,
    pub len: u32,
}

/// One ring.
pub struct Ring {
    memory: Arc<Memory>,
    pub size: u16,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub kick: EventFd,
    pub call: EventFd,
    avail_idx: u16,
    used_idx: u16,
    free: Vec<u16>,
    chains: HashMap<u16, Vec<u16>>,
    done: HashMap<u16, Used>,
}

impl Ring {
    /// Lays out a ring of `size` descriptors.
    pub fn new(memory: &Arc<Memory>, size: u16) -> Ring {
        let count = u64::from(size);
        Ring {
            memory: Arc::clone(memory),
            size,
            desc: memory.alloc_ring(16 * count),
            avail: memory.alloc_ring(6 + 2 * count),
            used: memory.alloc_ring(6 + 8 * count),
            kick: EventFd::new(EFD_NONBLOCK).unwrap(),
            call: EventFd::new(EFD_NONBLOCK).unwrap(),
            avail_idx: 0,
            used_idx: 0,
            free: (0..size).rev().collect(),
            chains: HashMap::new(),
            done: HashMap::new(),
        }
    }

    /// Forgets everything: an empty ring that begins at index 0 again.
    pub fn clear(&mut self) {
        self.memory.write(self.desc, &vec![0; 16 * usize::from(self.size)]);
        self.memory.write(self.avail, &vec![0; 6 + 2 * usize::from(self.size)]);
        self.memory.write(self.used, &vec![0; 6 + 8 * usize::from(self.size)]);
        self.avail_idx = 0;
        self.used_idx = 0;
        self.free = (0..self.size).rev().collect();
        self.chains.clear();
        self.done.clear();
    }

    /// Writes one descriptor of the table.
    pub fn set_desc(&self, index: u16, desc: Desc) {
        self.memory.write(self.desc + 16 * u64::from(index), &desc.bytes());
    }

    /// Lays a chain out over free descriptors, which are not neighbours in general.
    pub fn place(&mut self, pieces: &[Piece]) -> u16 {
        let indexes: Vec<u16> =
            pieces.iter().map(|_| self.free.pop().expect("a free descriptor")).collect();
        for (desc, index) in chain(pieces, &indexes).into_iter().zip(&indexes) {
            self.set_desc(*index, desc);
        }
        let head = indexes[0];
        self.chains.insert(head, indexes);
        head
    }

    /// Lays a chain out in a table of its own and one descriptor that points there.
    pub fn place_indirect(&mut self, pieces: &[Piece]) -> u16 {
        let indexes: Vec<u16> = (0..pieces.len() as u16).collect();
        let table: Vec<u8> = chain(pieces, &indexes).into_iter().flat_map(Desc::bytes).collect();
        let addr = self.memory.alloc(table.len(), 16);
        self.memory.write(addr, &table);
        self.place_raw(Desc { addr, len: table.len() as u32, flags: INDIRECT, next: 0 })
    }

    /// Puts one descriptor, whatever it says, in a free place.
    pub fn place_raw(&mut self, desc: Desc) -> u16 {
        let head = self.free.pop().expect("a free descriptor");
        self.set_desc(head, desc);
        self.chains.insert(head, vec![head]);
        head
    }

    /// Makes a chain available; the doorbell is another step.
    pub fn expose(&mut self, head: u16) {
        let slot = u64::from(self.avail_idx % self.size);
        self.memory.store(self.avail + 4 + 2 * slot, head);
        self.avail_idx = self.avail_idx.wrapping_add(1);
        self.set_avail_idx(self.avail_idx);
    }

    /// Sets the available index to anything.
    pub fn set_avail_idx(&self, idx: u16) {
        self.memory.store(self.avail + 2, idx);
    }

    /// The available index.
    pub fn avail_idx(&self) -> u16 {
        self.avail_idx
    }

    /// Rings the doorbell.
    pub fn kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// With EVENT_IDX: rings the doorbell only where the device asked for it (§2.7.10).
    /// `before` is the available index before the chains of this batch.
    pub fn kick_if_wanted(&self, before: u16) -> bool {
        let event: u16 = self.memory.load(self.used + 4 + 8 * u64::from(self.size));
        let wanted = self.avail_idx.wrapping_sub(event).wrapping_sub(1)
            < self.avail_idx.wrapping_sub(before);
        if wanted {
            self.kick();
        }
        wanted
    }

    /// With EVENT_IDX: asks for an interrupt when the used index passes `idx`.
    pub fn set_used_event(&self, idx: u16) {
        self.memory.store(self.avail + 4 + 2 * u64::from(self.size), idx);
    }

    /// Without EVENT_IDX: whether the driver wants interrupts.
    pub fn want_interrupts(&self, wanted: bool) {
        let flags = if wanted { 0 } else { VRING_AVAIL_F_NO_INTERRUPT as u16 };
        self.memory.store(self.avail, flags);
    }

    /// The used index as the device left it.
    pub fn used_idx(&self) -> u16 {
        self.memory.load(self.used + 2)
    }

    /// How often the device interrupted since the last look.
    pub fn interrupts(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }

    /// Waits for an interrupt.
    pub fn await_interrupt(&self) {
        eventually("an interrupt", || self.call.read().ok());
    }

    /// Takes what the device has finished since the last look, in the order of the used ring.
    pub fn harvest(&mut self) -> Vec<Used> {
        let mut finished = Vec::new();
        while self.used_idx != self.used_idx() {
            let at = self.used + 4 + 8 * u64::from(self.used_idx % self.size);
            let (id, len): (u32, u32) = (self.memory.load(at), self.memory.load(at + 4));
            let head = u16::try_from(id).expect("a used id fits the table");
            let chain = self.chains.remove(&head);
            self.free.extend(chain.unwrap_or_else(|| panic!("{head} was not in flight")));
            self.used_idx = self.used_idx.wrapping_add(1);
            finished.push(Used { head, len });
        }
        finished
    }

    /// Waits until the chain at `head` is finished.
    pub fn wait(&mut self, head: u16) -> Used {
        eventually(&format!("the completion of chain {head}"), || {
            for used in self.harvest() {
                self.done.insert(used.head, used);
            }
            self.done.remove(&head)
        })
    }

    /// Waits for `count` completions; answers with them in their order.
    pub fn wait_for(&mut self, count: usize) -> Vec<Used> {
        let mut finished = Vec::new();
        eventually(&format!("{count} completions"), || {
            finished.extend(self.harvest());
            (finished.len() >= count).then_some(())
        });
        finished
    }

    /// Waits until the queue's thread has taken every doorbell so far.
    pub fn await_heard(&self) {
        // SAFETY: the ring owns the descriptor, and outlives the call.
        let kick = unsafe { BorrowedFd::borrow_raw(self.kick.as_raw_fd()) };
        eventually("a doorbell to be heard", || {
            let mut bell = [PollFd::new(kick, PollFlags::POLLIN)];
            (poll(&mut bell, PollTimeout::ZERO).unwrap() == 0).then_some(())
        });
    }

    /// A barrier: the queue's thread is done with all that came before. It takes a doorbell and goes round
    /// for it, one after the other, so the second one proves that the round of the first is over: a
    /// completion or an interrupt that was to come has come.
    pub fn settle(&self) {
        for _ in 0..2 {
            self.kick();
            self.await_heard();
        }
    }

    /// Nothing completes, however often the ring is looked at.
    pub fn stays_silent(&mut self) {
        self.settle();
        assert_eq!(self.harvest(), [], "nothing was to complete");
    }
}

/// The descriptors of a chain that lies at `indexes`.
fn chain(pieces: &[Piece], indexes: &[u16]) -> Vec<Desc> {
    pieces
        .iter()
        .enumerate()
        .map(|(i, piece)| {
            let next = indexes.get(i + 1).copied();
            let flags = next.map_or(0, |_| NEXT) | if piece.writable { WRITE } else { 0 };
            Desc { addr: piece.addr, len: piece.len, flags, next: next.unwrap_or(0) }
        })
        .collect()
}
