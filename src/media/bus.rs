//! What happens when a mapped page is gone: somebody made the file shorter, or punched it.
//!
//! Touching such a page is a SIGBUS, and would end the daemon. For our own mappings the handler puts
//! an empty page in its place and notes that the mapping is lost; whoever was copying sees the note
//! afterwards and does it again by system call, which answers with an error number. Any other SIGBUS
//! ends the process, as it would without a handler.

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The most mappings that are watched: data and PI of every logical unit that there can be.
const MAX_WATCHED: usize = 512;
const PAGE: usize = 4096;

/// A watched mapping. Free while `end` is 0.
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    end: AtomicUsize,
    lost: AtomicBool,
}

static SLOTS: [Slot; MAX_WATCHED] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; MAX_WATCHED];

/// A mapping that may lose pages and tells.
#[derive(Debug)]
pub(super) struct Watch {
    slot: &'static Slot,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("lost", &self.lost).finish()
    }
}

impl Watch {
    /// Watches `len` bytes mapped at `start`; `None` where too many are watched already, or where
    /// there can be no handler.
    pub(super) fn over(start: usize, len: usize) -> Option<Watch> {
        if !install() {
            return None;
        }
        let slot = SLOTS.iter().find(|slot| !slot.taken.swap(true, Ordering::AcqRel))?;
        slot.lost.store(false, Ordering::Relaxed);
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(start.saturating_add(len), Ordering::Release);
        Some(Watch { slot })
    }

    /// Stops watching, before the addresses go to somebody else.
    pub(super) fn end(&self) {
        self.slot.end.store(0, Ordering::Release);
    }

    /// Whether a page was gone when it was touched.
    pub(super) fn is_lost(&self) -> bool {
        self.slot.lost.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
        self.slot.taken.store(false, Ordering::Release);
    }
}

/// Installs the handler, once.
fn install() -> bool {
    static INSTALL: Once = Once::new();
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    INSTALL.call_once(|| {
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
        let action = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
        // SAFETY: the handler touches atomics and makes system calls, nothing else.
        let installed = unsafe { sigaction(Signal::SIGBUS, &action) }.is_ok();
        INSTALLED.store(installed, Ordering::Release);
    });
    INSTALLED.load(Ordering::Acquire)
}

/// Runs in the middle of a copy.
extern "C" fn on_bus_error(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo, and a SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let slot = SLOTS.iter().find(|slot| {
        let end = slot.end.load(Ordering::Acquire);
        address < end && address >= slot.start.load(Ordering::Relaxed)
    });
    match slot {
        Some(slot) if put_empty_page(address) => slot.lost.store(true, Ordering::Release),
        _ => {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: no handler of ours any more: the access happens again and ends the process.
            let _ = unsafe { sigaction(Signal::SIGBUS, &default) };
        }
    }
}

/// Puts a page of zeros where the lost one was.
fn put_empty_page(address: usize) -> bool {
    let page = address & !(PAGE - 1);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let place = std::ptr::with_exposed_provenance_mut(page);
    // SAFETY: the page lies inside a mapping of ours that a `Watch` vouches for, and nothing but
    // copies through raw pointers ever touches it.
    let mapped = unsafe { libc::mmap(place, PAGE, access, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}
