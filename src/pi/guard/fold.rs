//! The one algorithm of all carry-less kernels, over vectors of any width.
//!
//! Eight vectors make a stride. A message is strides, the first filled up in front with zeros,
//! which change no guard. Each stride is folded into the next; then every lane of the last one
//! goes to the message's end by factors of its own, all are added, and one Barrett reduction
//! leaves the guard. So each vector costs one fold, however long or short the message.
//!
//! T10-DIF is not reflected: the first byte is the most significant, while x86 and ARM load it
//! as the least. Every 128-bit lane therefore has its bytes reversed when loaded; a lane's upper
//! word then holds its first eight bytes.

use super::fetch::fetch;
use super::polynomial::VECTORS;
use super::sink::Sink;
use crate::pi::tuple::GuardTag;

/// A register of 128-bit lanes, and the instructions that a kernel needs on it.
///
/// # Safety
/// `load` reads `BYTES` bytes, each exactly once, whatever the compiler makes of the value:
/// others may be writing there. `store` and `stream` write those bytes, in memory's order.
/// Every method needs a CPU that has the instructions of the implementation; that is the
/// callers' duty, and the pointers' validity too.
#[allow(clippy::missing_safety_doc, reason = "the same for all methods: stated at the trait")]
pub(super) unsafe trait Lanes: Copy {
    /// The register's size.
    const BYTES: usize;

    /// The size of a stride, not above [`LONGEST_STRIDE`].
    const STRIDE: usize = Self::BYTES * VECTORS;

    /// Vector number `I` from `from`, in memory's order.
    unsafe fn load<const I: usize>(from: *const u8) -> Self;

    /// To anywhere.
    unsafe fn store(self, to: *mut u8);

    /// Past the caches; `to` is aligned to `BYTES`.
    unsafe fn stream(self, to: *mut u8);

    /// Each lane's bytes reversed.
    unsafe fn reverse(self) -> Self;

    /// The factors that move a vector over one stride.
    unsafe fn stride_factors() -> Self;

    /// The factors that move vector `I` of the last stride to the message's end.
    unsafe fn last_factors<const I: usize>() -> Self;

    /// Both words of each lane times those of `factors`, added up.
    unsafe fn multiply(self, factors: Self) -> Self;

    /// The same plus `other`.
    unsafe fn fold(self, factors: Self, other: Self) -> Self;

    /// The sum.
    unsafe fn add(self, other: Self) -> Self;

    /// The guard, from lanes moved to the message's end.
    unsafe fn reduce(self) -> u16;

    /// The guards of four messages.
    #[inline(always)]
    unsafe fn reduce_four([a, b, c, d]: [Self; 4]) -> [u16; 4] {
        // SAFETY: the caller's promise, passed on.
        unsafe { [a.reduce(), b.reduce(), c.reduce(), d.reduce()] }
    }
}

/// The longest stride of any kernel: eight vectors of 64 bytes.
pub(super) const LONGEST_STRIDE: usize = 512;

/// The guard of the `len` bytes at `from`; `sink` gets them.
///
/// # Safety
/// The CPU has the instructions of `V`; `from` is readable for `len` bytes, and `sink` takes as
/// many. Inline this into a function that enables those instructions.
#[inline(always)]
pub(super) unsafe fn guard_of<V: Lanes, S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe { if len == 0 { 0 } else { lanes_of::<V, S>(from, len, sink).reduce() } }
}

/// The guards of `guards.len()` blocks of `block` bytes each, in a row at `from`.
///
/// # Safety
/// As for [`guard_of`], with the length of all blocks together; `block` is not 0.
#[inline(always)]
pub(super) unsafe fn guards_of<V: Lanes, S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) {
    // SAFETY: each block lies within what the caller vouches for.
    unsafe {
        let (fours, rest) = guards.as_chunks_mut::<4>();
        let mut at = 0;
        for four in fours {
            let a = lanes_of::<V, S>(from.add(at), block, sink.after(at));
            let b = lanes_of::<V, S>(from.add(at + block), block, sink.after(at + block));
            let c = lanes_of::<V, S>(from.add(at + 2 * block), block, sink.after(at + 2 * block));
            let d = lanes_of::<V, S>(from.add(at + 3 * block), block, sink.after(at + 3 * block));
            *four = V::reduce_four([a, b, c, d]).map(GuardTag);
            at += 4 * block;
        }
        for guard in rest {
            *guard = GuardTag(lanes_of::<V, S>(from.add(at), block, sink.after(at)).reduce());
            at += block;
        }
    }
}

/// The message's lanes, moved to its end; `len` is not 0.
///
/// # Safety
/// As for [`guard_of`].
#[inline(always)]
unsafe fn lanes_of<V: Lanes, S: Sink>(from: *const u8, len: usize, sink: S) -> V {
    // SAFETY: `at` grows by whole strides from the first, ragged or whole, and ends at `len`.
    unsafe {
        let ragged = len % V::STRIDE;
        let (mut lanes, mut at) = if ragged == 0 {
            (first_stride::<V, S>(from, sink), V::STRIDE)
        } else {
            let filled = fill_up(from, ragged, V::STRIDE, sink);
            (first_stride::<V, _>(filled.0.as_ptr(), super::sink::Discard), ragged)
        };
        while at < len {
            lanes = next_stride::<V, S>(lanes, from.add(at), sink.after(at));
            at += V::STRIDE;
        }
        last_stride(lanes)
    }
}

/// Room for a stride, aligned for the widest load.
#[repr(align(64))]
struct Filled([u8; LONGEST_STRIDE]);

/// A whole stride whose last `ragged` bytes are those at `from`, zeros before.
///
/// # Safety
/// `from` is readable for `ragged` bytes, `sink` takes as many, and `ragged` is below `stride`.
#[inline(never)]
unsafe fn fill_up<S: Sink>(from: *const u8, ragged: usize, stride: usize, sink: S) -> Filled {
    let mut filled = Filled([0; LONGEST_STRIDE]);
    if let Some(bytes) = filled.0.get_mut(stride - ragged..stride) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            fetch(bytes, from);
            sink.put_bytes(bytes);
        }
    }
    filled
}

/// Vector `I` of a stride, loaded once: kept by the sink, then reversed for the fold.
#[inline(always)]
unsafe fn take<V: Lanes, S: Sink, const I: usize>(from: *const u8, sink: S) -> V {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let vector = V::load::<I>(from);
        sink.put::<V, I>(vector);
        vector.reverse()
    }
}

/// The stride at `from`.
#[inline(always)]
unsafe fn first_stride<V: Lanes, S: Sink>(from: *const u8, sink: S) -> [V; VECTORS] {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        [
            take::<V, S, 0>(from, sink),
            take::<V, S, 1>(from, sink),
            take::<V, S, 2>(from, sink),
            take::<V, S, 3>(from, sink),
            take::<V, S, 4>(from, sink),
            take::<V, S, 5>(from, sink),
            take::<V, S, 6>(from, sink),
            take::<V, S, 7>(from, sink),
        ]
    }
}

/// The stride at `from`, with the one before folded in.
#[inline(always)]
unsafe fn next_stride<V: Lanes, S: Sink>(
    [a, b, c, d, e, f, g, h]: [V; VECTORS],
    from: *const u8,
    sink: S,
) -> [V; VECTORS] {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let factors = V::stride_factors();
        [
            a.fold(factors, take::<V, S, 0>(from, sink)),
            b.fold(factors, take::<V, S, 1>(from, sink)),
            c.fold(factors, take::<V, S, 2>(from, sink)),
            d.fold(factors, take::<V, S, 3>(from, sink)),
            e.fold(factors, take::<V, S, 4>(from, sink)),
            f.fold(factors, take::<V, S, 5>(from, sink)),
            g.fold(factors, take::<V, S, 6>(from, sink)),
            h.fold(factors, take::<V, S, 7>(from, sink)),
        ]
    }
}

/// The sum of a stride's vectors, each moved to the stride's end.
#[inline(always)]
unsafe fn last_stride<V: Lanes>([a, b, c, d, e, f, g, h]: [V; VECTORS]) -> V {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let even = a.multiply(V::last_factors::<0>());
        let odd = b.multiply(V::last_factors::<1>());
        let even = c.fold(V::last_factors::<2>(), even);
        let odd = d.fold(V::last_factors::<3>(), odd);
        let even = e.fold(V::last_factors::<4>(), even);
        let odd = f.fold(V::last_factors::<5>(), odd);
        let even = g.fold(V::last_factors::<6>(), even);
        let odd = h.fold(V::last_factors::<7>(), odd);
        even.add(odd)
    }
}
