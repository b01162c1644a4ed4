//! Bytes out of memory that others may be writing, each read once.

/// The widest load below.
const WORD: usize = size_of::<u64>();

/// Fills `to` from `from`, reading each byte exactly once.
///
/// # Safety
/// `from` is readable for `to.len()` bytes and does not overlap `to`. Others may write there.
pub(super) unsafe fn fetch(to: &mut [u8], from: *const u8) {
    let (head, rest) = to.split_at_mut(from.align_offset(WORD).min(to.len()));
    // SAFETY: the head lies within what the caller vouches for.
    unsafe { fetch_bytes(head, from) };
    let mut at = from.wrapping_add(head.len());
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    for word in words {
        // SAFETY: `at` is aligned after the head, and readable.
        *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
        at = at.wrapping_add(WORD);
    }
    // SAFETY: as for the head.
    unsafe { fetch_bytes(tail, at) };
}

/// [`fetch`], a byte at a time.
///
/// # Safety
/// As for [`fetch`].
unsafe fn fetch_bytes(to: &mut [u8], from: *const u8) {
    for (offset, byte) in to.iter_mut().enumerate() {
        // SAFETY: within the length that the caller vouches for.
        *byte = unsafe { from.add(offset).read_volatile() };
    }
}
