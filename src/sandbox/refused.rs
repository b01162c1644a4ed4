//! What becomes of a system call that nobody here should make: a word on standard error, and the end.
//!
//! An error number would be kinder, and could be taken for a full disk or be passed over; an end is what
//! a crash would be, which a disk has to survive anyway. Whoever sees it knows what happened, and
//! whether it was an attack or a call that the table lacks.

use std::ffi::c_int;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The exit status: what a shell says of a program that SIGSYS ended.
pub const EXIT_STATUS: c_int = 128 + libc::SIGSYS;
/// `si_code` of a call that a filter refused.
const SYS_SECCOMP: c_int = 1;
/// How long a thread's name can be, with the zero behind it.
const NAME: usize = 16;

/// Installs the handler.
pub(super) fn install() -> Result<(), Errno> {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_refusal), flags, SigSet::all());
    // SAFETY: the handler makes system calls and touches its own stack, nothing else.
    unsafe { sigaction(Signal::SIGSYS, &action) }.map(drop)
}

/// What the kernel tells of a refused call (sigaction(2), `si_call_addr` and what follows it).
#[repr(C)]
struct Refusal {
    signal: c_int,
    errno: c_int,
    code: c_int,
    address: *const u8,
    call: c_int,
    arch: u32,
}

extern "C" fn on_refusal(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo, which begins with these fields for SIGSYS.
    let refusal = unsafe { info.cast::<Refusal>().read() };
    if refusal.code == SYS_SECCOMP {
        let mut name = [0; NAME];
        // SAFETY: the kernel writes at most 16 bytes there.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        let mut line = Line::default();
        line.add(b"dixtrapd: the sandbox ends it: thread '");
        line.add(name.split(|byte| *byte == 0).next().unwrap_or_default());
        line.add(b"' made system call ");
        line.add_number(refusal.call.unsigned_abs());
        line.add(b", which no part of it needs; if you know of no attack, report this, and start with --no-sandbox\n");
        line.say();
    }
    // SAFETY: ends the process at once; nothing of it has to be put in order.
    unsafe { libc::_exit(EXIT_STATUS) }
}

/// A line that is put together without allocating.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; 256], len: 0 }
    }
}

impl Line {
    /// Adds what there is room for.
    fn add(&mut self, text: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.len);
        self.len += room.zip(text).map(|(place, byte)| *place = *byte).count();
    }

    fn add_number(&mut self, number: u32) {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            self.add(&[b'0' + u8::try_from(number / divisor % 10).unwrap_or(0)]);
            divisor /= 10;
        }
    }

    /// Says it, if nobody has to be waited for.
    fn say(&self) {
        let mut ready = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one descriptor to look at, and the line's own bytes to be read.
        unsafe {
            if libc::poll(&raw mut ready, 1, 0) == 1 {
                libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_cut_where_they_are_too_long() {
        for number in [0, 7, 10, 425, u32::MAX] {
            let mut line = Line::default();
            line.add(b"call ");
            line.add_number(number);
            assert_eq!(line.bytes[..line.len], *format!("call {number}").as_bytes());
        }
        let mut line = Line::default();
        line.add(&[b'x'; 300]);
        line.add(b"more");
        assert_eq!(line.bytes[..line.len], [b'x'; 256]);
    }
}
