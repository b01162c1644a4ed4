//! What happens when a mapped page is gone: somebody made the file shorter, or punched it.
//!
//! Touching such a page is a SIGBUS, and would end the daemon. For our own mappings the handler notes
//! that the mapping is lost and puts empty pages in place of all of it; whoever was copying sees the
//! note afterwards and takes the copy for nothing. Any other SIGBUS ends the process, as it would
//! without a handler.
//!
//! The note comes before the empty pages, so that no other thread can copy from them and not see it.

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The most mappings that are watched: data and PI of every logical unit that there can be, and as
/// many regions of guest memory as a front end may add, with room for those that are being replaced.
const MAX_WATCHED: usize = 2048;
const PAGE: usize = 4096;
/// How often the handler looks for an address that nobody watches, a millisecond apart: a connection's
/// new memory can be used a moment before it is watched.
const PATIENCE: u32 = 100;

/// How many watched mappings of guest memory are lost. All that sound memory costs is a look at this.
static GUEST_LOSSES: AtomicUsize = AtomicUsize::new(0);

/// Whose memory a mapping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A medium's: who loses pages of it has other ways to reach them.
    Medium,
    /// A guest's: what is lost is lost.
    Guest,
}

/// A watched mapping. Free while `end` is 0.
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    end: AtomicUsize,
    guests: AtomicBool,
    lost: AtomicBool,
}

static SLOTS: [Slot; MAX_WATCHED] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        guests: AtomicBool::new(false),
        lost: AtomicBool::new(false),
    }
}; MAX_WATCHED];

/// A mapping that may lose pages and tells.
#[derive(Debug)]
pub struct Watch {
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
    pub fn over(owner: Owner, start: usize, len: usize) -> Option<Watch> {
        if !install() {
            return None;
        }
        keep_out_of_dumps(start, len);
        let slot = SLOTS.iter().find(|slot| !slot.taken.swap(true, Ordering::AcqRel))?;
        slot.lost.store(false, Ordering::Relaxed);
        slot.guests.store(owner == Owner::Guest, Ordering::Relaxed);
        slot.start.store(start, Ordering::Relaxed);
        slot.end.store(start.saturating_add(len), Ordering::Release);
        Some(Watch { slot })
    }

    /// Stops watching, before the addresses go to somebody else.
    pub fn end(&self) {
        self.slot.end.store(0, Ordering::Release);
    }

    /// Whether a page was gone when it was touched.
    pub fn is_lost(&self) -> bool {
        // What was copied before this was asked was read before it.
        fence(Ordering::Acquire);
        self.slot.lost.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
        if self.slot.lost.swap(false, Ordering::AcqRel) && self.slot.guests.load(Ordering::Relaxed)
        {
            GUEST_LOSSES.fetch_sub(1, Ordering::AcqRel);
        }
        self.slot.taken.store(false, Ordering::Release);
    }
}

/// Whether any guest has lost memory; asked after a copy, of the bytes that were copied.
pub fn any_guest_lost() -> bool {
    fence(Ordering::Acquire);
    GUEST_LOSSES.load(Ordering::Relaxed) > 0
}

/// Whether a watched mapping that has this address is lost.
pub fn is_lost_at(address: usize) -> bool {
    slot_of(address).is_some_and(|slot| slot.lost.load(Ordering::Acquire))
}

fn slot_of(address: usize) -> Option<&'static Slot> {
    SLOTS.iter().find(|slot| {
        let end = slot.end.load(Ordering::Acquire);
        address < end && address >= slot.start.load(Ordering::Relaxed)
    })
}

/// Keeps a mapping out of core dumps: what is in it is a guest's, in its memory or on its disk.
fn keep_out_of_dumps(start: usize, len: usize) {
    let place = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: advice on a mapping of ours that changes nothing of what is in it.
    let kept = unsafe { libc::madvise(place, len, libc::MADV_DONTDUMP) };
    if let Err(errno) = nix::errno::Errno::result(kept) {
        log::debug!("a guest's memory may be in a core dump: {errno}");
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
    match await_slot(address) {
        Some(slot) if slot.lose(address) => {}
        _ => {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: no handler of ours any more: the access happens again and ends the process.
            let _ = unsafe { sigaction(Signal::SIGBUS, &default) };
        }
    }
}

/// The watched mapping that has this address; one that is being added has a moment to appear.
fn await_slot(address: usize) -> Option<&'static Slot> {
    for _ in 0..PATIENCE {
        if let Some(slot) = slot_of(address) {
            return Some(slot);
        }
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: nanosleep may be called in a handler, and is given a valid time.
        unsafe { libc::nanosleep(&raw const moment, std::ptr::null_mut()) };
    }
    None
}

impl Slot {
    /// Notes the loss, and puts empty pages where the mapping was: all of it, for nothing of it is
    /// believed any more, and one piece stays one piece for the kernel.
    fn lose(&self, address: usize) -> bool {
        if !self.lost.swap(true, Ordering::AcqRel) && self.guests.load(Ordering::Relaxed) {
            GUEST_LOSSES.fetch_add(1, Ordering::AcqRel);
        }
        let start = self.start.load(Ordering::Relaxed) & !(PAGE - 1);
        let end = self.end.load(Ordering::Acquire).saturating_add(PAGE - 1) & !(PAGE - 1);
        // Where memory must not be promised twice (overcommit_memory=2), the one page has to do.
        put_empty_pages(start, end.saturating_sub(start))
            || put_empty_pages(address & !(PAGE - 1), PAGE)
    }
}

/// Puts pages of zeros where lost ones were.
fn put_empty_pages(start: usize, len: usize) -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let place = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the pages lie inside a mapping of ours that a `Watch` vouches for, and nothing but
    // copies through raw pointers ever touches it.
    let mapped = unsafe { libc::mmap(place, len, access, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}
