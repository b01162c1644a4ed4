//! The portable backend: the `crc` crate, and what the others are tested against.

use crc::{CRC_16_T10_DIF, Crc, Table};

use super::fetch::fetch;

/// Sixteen bytes a step.
const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_T10_DIF);

/// The guard.
pub(super) fn guard(data: &[u8]) -> u16 {
    CRC.checksum(data)
}

/// Copies, then computes over the copy: the source is read once.
///
/// # Safety
/// `from` is readable for `to.len()` bytes and does not overlap `to`. Others may write there.
pub(super) unsafe fn copy_guard(to: &mut [u8], from: *const u8) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { fetch(to, from) };
    guard(to)
}
