//! A store's way: whether its page is armed, as fast as can be found out.

use std::cell::UnsafeCell;
use std::ffi::{c_uint, c_void};
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::layout::{BLOCK, CPUS, PAGE};
use crate::log::{Log, Memory, Registers, Seen};
use crate::qemu::{Array, Functions, Handle};
use crate::ram::{Ram, place_in_file};
use crate::shared::Shared;

/// Beside an instruction's place: it repeats by itself. No address of a kernel's lacks this bit, and no place
/// in a file has it.
const REPEATS: u64 = 1 << 62;
/// All addresses of a kernel's have it.
const KERNEL: u64 = 1 << 63;
/// How many pages a CPU remembers as not armed.
const UNARMED: usize = 256;
/// The widest store that is told at once: 64 bytes.
const WIDEST: u64 = 64;
/// gdb's numbers of rsp and rbp (gdb/features/i386/64bit-core.xml).
const RSP: i32 = 7;
const RBP: i32 = 6;

/// What the callbacks need.
#[derive(Debug)]
pub struct Watch {
    /// QEMU's functions.
    pub qemu: &'static Functions,
    /// The version of its interface.
    pub version: i32,
    /// The shared file.
    pub shared: Shared,
    /// The guest's memory.
    pub ram: Ram,
    cpus: Vec<Place>,
}

/// What one CPU's thread has for itself.
#[derive(Debug)]
#[repr(align(128))]
struct Place(UnsafeCell<Own>);

// SAFETY: number n is used by the thread of CPU n alone.
unsafe impl Sync for Place {}
// SAFETY: as above; QEMU calls the callbacks of a CPU in its thread, and begins it before.
unsafe impl Send for Place {}

#[derive(Debug)]
struct Own {
    /// Counts changes of what addresses mean.
    flushes: u64,
    /// Pages by virtual address, and when they were found unarmed: at which epoch, after how many flushes.
    unarmed: Vec<(u64, u64, u64)>,
    memory: Memory,
    handles: [Handle; 2],
    buffer: *mut Array,
}

impl Watch {
    /// Nothing is remembered.
    pub fn new(qemu: &'static Functions, version: i32, shared: Shared) -> Watch {
        let own = || Own {
            flushes: 0,
            unarmed: vec![(u64::MAX, 0, 0); UNARMED],
            memory: Memory::default(),
            handles: [std::ptr::null_mut(); 2],
            buffer: std::ptr::null_mut(),
        };
        let cpus = (0..CPUS).map(|_| Place(UnsafeCell::new(own()))).collect();
        Watch { qemu, version, shared, ram: Ram::default(), cpus }
    }

    /// What is registered with an instruction's stores.
    pub fn tag(code: u64, repeats: bool) -> *mut c_void {
        let is_kernel = code & KERNEL != 0;
        let tag =
            if repeats { if is_kernel { code & !REPEATS } else { code | REPEATS } } else { code };
        std::ptr::without_provenance_mut(tag as usize)
    }

    fn untag(tag: *mut c_void) -> (u64, bool, bool) {
        let tag = tag.addr() as u64;
        match tag & KERNEL != 0 {
            true => (tag | REPEATS, true, tag & REPEATS == 0),
            false => (tag & !REPEATS, false, tag & REPEATS != 0),
        }
    }

    /// What CPU `cpu`'s thread has for itself.
    #[expect(clippy::mut_from_ref, reason = "one thread's, see Place")]
    fn own(&self, cpu: c_uint) -> Option<&mut Own> {
        // SAFETY: this is that CPU's thread, and no reference to it lives when a callback ends.
        self.cpus.get(cpu as usize).map(|place| unsafe { &mut *place.0.get() })
    }

    /// Addresses mean other things from now on.
    pub fn flushed(&self, cpu: c_uint) {
        if let Some(own) = self.own(cpu) {
            own.flushes = own.flushes.wrapping_add(1);
        }
    }

    /// Takes the names of a CPU's registers.
    pub fn begin(&self, cpu: c_uint, handles: [Handle; 2], buffer: *mut Array) {
        if let Some(own) = self.own(cpu) {
            (own.handles, own.buffer) = (handles, buffer);
        }
    }

    /// A store, or from some versions a load.
    #[inline]
    pub fn access(&self, cpu: c_uint, info: u32, address: u64, tag: *mut c_void) {
        let header = self.shared.header();
        if header.armed.0.load(Relaxed) == 0 {
            return;
        }
        let Some(own) = self.own(cpu) else { return };
        let (page, epoch) = (address / PAGE, header.epoch.0.load(Acquire));
        let known = own.unarmed.get(page as usize % UNARMED).copied();
        if known == Some((page, epoch, own.flushes)) && address % PAGE <= PAGE - WIDEST {
            return;
        }
        if self.look(cpu, info, address, tag, own) == Some(false)
            && let Some(place) = own.unarmed.get_mut(page as usize % UNARMED)
        {
            *place = (page, epoch, own.flushes);
        }
    }

    /// Looks whether a store's page is armed; `None` where that cannot be said of the page.
    #[inline(never)]
    fn look(
        &self,
        cpu: c_uint,
        info: u32,
        address: u64,
        tag: *mut c_void,
        own: &mut Own,
    ) -> Option<bool> {
        // SAFETY: QEMU's functions, called as its documentation wants it.
        let (is_store, size) = unsafe { (self.qemu.is_store?(info), self.qemu.size?(info)) };
        if !is_store || !self.ram.is_found(self.shared.header()) {
            return None;
        }
        let (mut from, end) = (address, address.checked_add(1 << size.min(6))?);
        let mut any = false;
        while from < end {
            // Block by block: the parts of a store may lie far apart.
            let next = end.min((from / BLOCK + 1) * BLOCK);
            let part = self
                .place(info, from)
                .is_some_and(|at| self.part(cpu, tag, (from, at, next - from), own));
            any |= part;
            from = next;
        }
        Some(any)
    }

    /// Where an address lies in the RAM's file.
    fn place(&self, info: u32, address: u64) -> Option<u64> {
        // SAFETY: QEMU's functions, called as its documentation wants it: in the callback of an access.
        let physical = unsafe {
            let hardware = self.qemu.hardware?(info, address);
            if hardware.is_null() || self.qemu.is_device?(hardware) {
                return None;
            }
            self.qemu.physical?(hardware)
        };
        // Version 1 tells the place among all of QEMU's RAM, of which the guest's is the first.
        if self.version < 2 {
            Some(physical)
        } else {
            place_in_file(self.shared.header(), physical)
        }
    }

    /// A part of a store; answers whether its page is armed.
    fn part(
        &self,
        cpu: c_uint,
        tag: *mut c_void,
        (address, at, bytes): (u64, u64, u64),
        own: &mut Own,
    ) -> bool {
        let log = Log { shared: &self.shared, ram: &self.ram };
        let Some(slot) = log.armed(at) else { return false };
        let (code, is_kernel, repeats) = Watch::untag(tag);
        let (handles, mut buffer) = (own.handles, own.buffer);
        let registers = || self.registers(cpu, handles, &mut buffer);
        let seen = Seen { cpu: cpu as usize, code, is_kernel, repeats, address, at, bytes };
        log.keep(slot, seen, now(), &mut own.memory, registers);
        own.buffer = buffer;
        true
    }

    fn registers(
        &self,
        cpu: c_uint,
        handles: [Handle; 2],
        buffer: &mut *mut Array,
    ) -> Option<Registers> {
        let [rsp, rbp] = handles;
        if buffer.is_null() {
            // SAFETY: a new array of GLib's.
            *buffer = unsafe { self.qemu.new_bytes?() };
        }
        let read = |handle: Handle, number: i32| {
            // SAFETY: QEMU's and GLib's functions; the array is ours, and has as many bytes as it says.
            unsafe {
                self.qemu.resize_bytes?(*buffer, 0);
                match (handle.is_null(), self.qemu.read) {
                    (false, Some(read)) => read(handle, *buffer),
                    _ => self.qemu.read_for_gdb?(self.qemu.cpu?(cpu as i32), *buffer, number),
                };
                let array = &**buffer;
                let bytes = (array.len == 8).then(|| array.data.cast::<[u8; 8]>().read())?;
                Some(u64::from_le_bytes(bytes))
            }
        };
        Some(Registers { rsp: read(rsp, RSP)?, rbp: read(rbp, RBP)? })
    }
}

/// The clock of the log: the daemon's, too.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
