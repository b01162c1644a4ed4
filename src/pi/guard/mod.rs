//! The guard: CRC16 with the T10-DIF polynomial 8BB7h (SBC-4 §4.21.4), or the IP checksum.
//!
//! | file | what is in it |
//! |---|---|
//! | `backend` | the CRC backends by name, chosen once at run time |
//! | `fold` | the algorithm that all carry-less backends share |
//! | `avx512`, `avx2`, `sse`, `aarch64` | its instructions, register by register |
//! | `table` | the portable backend |
//! | `polynomial` | the constants, derived |
//! | `sink`, `fetch` | what is stored, and how memory that changes is read |
//! | `ip` | the other guard: DIX with IP checksums |

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backend;
mod fetch;
mod fold;
mod ip;
mod lanes;
mod polynomial;
mod sink;
#[cfg(target_arch = "x86_64")]
mod sse;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use backend::{CrcBackend, Store};
pub use ip::{IpGuard, ip_guard};

use super::tuple::GuardTag;

/// The guard of one whole block.
#[inline]
pub fn guard(data: &[u8]) -> GuardTag {
    CrcBackend::best().guard(data)
}

/// The guards of consecutive blocks: `data` cut into as many equal ones as `guards` has room.
/// Faster than block by block.
///
/// # Panics
/// If the cut is not even, or leaves blocks of no bytes.
#[inline]
pub fn guards(data: &[u8], guards: &mut [GuardTag]) {
    CrcBackend::best().guards(data, guards);
}

/// Copies a block and returns the copy's guard, in one pass.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn copy_guard(dst: &mut [u8], src: &[u8]) -> GuardTag {
    CrcBackend::best().copy_guard(dst, src)
}

/// Copies a block out of memory that others may be writing, such as a guest's, and returns the
/// copy's guard, in one pass.
///
/// Each byte of the source is read exactly once, in no particular order. The guard is computed
/// from the bytes as they were loaded and stored, so it is the guard of `dst`, whatever happens to
/// the source meanwhile.
///
/// # Safety
/// `src` is readable for `dst.len()` bytes until the function returns, and does not overlap `dst`.
/// It needs no alignment. Others may write there, from any process; within this one by atomic or
/// volatile accesses only.
#[inline]
pub unsafe fn copy_guard_from(dst: &mut [u8], src: *const u8) -> GuardTag {
    // SAFETY: the caller's promise, passed on.
    unsafe { CrcBackend::best().copy_guard_from(dst, src) }
}

/// [`copy_guard_from`] with the guard of each of several consecutive blocks: `dst` cut into as
/// many equal ones as `guards` has room. Faster than block by block.
///
/// # Panics
/// If the cut is not even, or leaves blocks of no bytes.
///
/// # Safety
/// As for [`copy_guard_from`].
#[inline]
pub unsafe fn copy_guards_from(
    store: Store,
    dst: &mut [u8],
    src: *const u8,
    guards: &mut [GuardTag],
) {
    // SAFETY: the caller's promise, passed on.
    unsafe { CrcBackend::best().copy_guards_from(store, dst, src, guards) }
}

/// [`copy_guards_from`] with a comparison in the same pass: see [`CrcBackend::copy_guards_compared`].
///
/// # Panics
/// If the cut is not even, or leaves blocks of no bytes, or `earlier` has another length.
///
/// # Safety
/// As for [`copy_guard_from`].
#[inline]
pub unsafe fn copy_guards_compared(
    dst: &mut [u8],
    src: *const u8,
    earlier: &[u8],
    guards: &mut [GuardTag],
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { CrcBackend::best().copy_guards_compared(dst, src, earlier, guards) }
}

/// Copies blocks to where others may write too, with their guards: see [`CrcBackend::deliver_guards`].
///
/// # Panics
/// If the cut is not even, or leaves blocks of no bytes.
///
/// # Safety
/// As for [`CrcBackend::deliver_guards`].
#[inline]
pub unsafe fn deliver_guards(
    dst: *mut u8,
    src: *const u8,
    len: usize,
    guards: &mut [GuardTag],
) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { CrcBackend::best().deliver_guards(dst, src, len, guards) }
}

/// The guard of a block that arrives in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    so_far: u16,
}

impl Guard {
    /// No bytes yet.
    pub const fn new() -> Self {
        Guard { so_far: 0 }
    }

    /// The block's next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.append(guard(data), data.len());
    }

    /// The block's next bytes, `len` of them, by their own guard: from [`copy_guard_from`], say.
    pub fn append(&mut self, piece: GuardTag, len: usize) {
        if self.so_far != 0 {
            self.so_far = polynomial::over(self.so_far, len);
        }
        self.so_far ^= piece.0;
    }

    /// The guard over all bytes so far.
    pub const fn finish(self) -> GuardTag {
        GuardTag(self.so_far)
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
