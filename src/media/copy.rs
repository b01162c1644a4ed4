//! Copies into and out of a mapped file.

/// From this length on, stores go past the caches: nobody here reads a large request's blocks soon,
/// and a line that is stored whole need not be fetched first.
const STREAM_FROM: usize = 4 << 10;

/// Fills `into` from a mapping.
///
/// # Safety
/// `from` is readable for the length of `into`, and does not overlap it.
pub(super) unsafe fn load(from: *const u8, into: &mut [u8]) {
    // SAFETY: the caller's promise, and `into` has room.
    unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
}

/// Copies `from` into a mapping.
///
/// # Safety
/// `to` is writable for the length of `from`, and does not overlap it.
pub(super) unsafe fn store(to: *mut u8, from: &[u8]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if from.len() < STREAM_FROM || !stream(to, from) {
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }
}

/// Brings what lies at `at` near: it need not be readable.
pub(super) fn prepare(at: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(LINE) {
        // SAFETY: a prefetch touches nothing; every x86_64 CPU has SSE.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, len);
}

/// What is moved between the caches and the memory.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Copies past the caches; `false`, and nothing done, where that cannot be.
///
/// # Safety
/// As for [`store`].
#[cfg(target_arch = "x86_64")]
unsafe fn stream(to: *mut u8, from: &[u8]) -> bool {
    use std::arch::x86_64::_mm_sfence;

    if !to.addr().is_multiple_of(LINE) {
        return false;
    }
    let (lines, tail) = from.as_chunks::<LINE>();
    // SAFETY: as many whole lines on both sides, aligned where they are stored, and what is left, by
    // the caller's promise; the CPU has what is asked for. The fence makes the stores visible before
    // any later one.
    unsafe {
        if is_x86_feature_detected!("avx512f") {
            stream_lines_512(to, lines);
        } else {
            stream_lines(to, lines);
        }
        let done = lines.as_flattened().len();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), to.wrapping_add(done), tail.len());
        _mm_sfence();
    }
    true
}

/// A line with each store: nearly twice as fast as four.
///
/// # Safety
/// `to` is writable for as many lines, and aligned to one.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn stream_lines_512(to: *mut u8, lines: &[[u8; LINE]]) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_stream_si512};

    for (number, line) in lines.iter().enumerate() {
        // SAFETY: a whole line on both sides.
        unsafe {
            let place = to.add(number * LINE).cast();
            _mm512_stream_si512(place, _mm512_loadu_si512(line.as_ptr().cast()));
        }
    }
}

/// The same for every x86_64 CPU.
///
/// # Safety
/// As for [`stream_lines_512`].
#[cfg(target_arch = "x86_64")]
unsafe fn stream_lines(to: *mut u8, lines: &[[u8; LINE]]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};

    for (number, line) in lines.iter().enumerate() {
        let source = line.as_ptr().cast::<__m128i>();
        // SAFETY: a whole line on both sides, aligned where it is stored; all have SSE2.
        unsafe {
            let target = to.add(number * LINE).cast::<__m128i>();
            let vectors = [0, 1, 2, 3].map(|part| _mm_loadu_si128(source.add(part)));
            for (part, vector) in vectors.into_iter().enumerate() {
                _mm_stream_si128(target.add(part), vector);
            }
        }
    }
}

/// Elsewhere the ordinary copy has to do.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(_: *mut u8, _: &[u8]) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stored_is_what_was_given(len in 0usize..70_000, shift in 0usize..130) {
            let from: Vec<u8> = (0..len).map(|i| ((i * 7) >> 2) as u8).collect();
            let mut room = vec![0xEE; len + 300];
            let to = room.as_mut_ptr().wrapping_add(shift);
            // SAFETY: `room` is longer than the copy and its shift.
            unsafe { store(to, &from) };
            let mut back = vec![0; len];
            // SAFETY: as above.
            unsafe { load(to, &mut back) };
            prop_assert_eq!(&back, &from);
            prop_assert!(room[..shift].iter().chain(&room[shift + len..]).all(|byte| *byte == 0xEE));
        }
    }
}
