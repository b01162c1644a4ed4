//! The one algorithm of all carry-less backends, over vectors of any width.
//!
//! Eight vectors make a stride. A message is strides, the first filled up in front with zeros,
//! which change no guard. Each stride is folded into the next; then every lane of the last one
//! goes to the message's end by factors of its own, all are added, and one Barrett reduction
//! leaves the guard. So each vector costs one fold, however long or short the message.
//!
//! T10-DIF is not reflected: the first byte is the most significant, while x86 and ARM load it
//! as the least. Every 128-bit lane therefore has its bytes reversed when loaded; a lane's upper
//! word then holds its first eight bytes.

use std::mem::MaybeUninit;

use super::fetch::fetch;
use super::lanes::{LONGEST_STRIDE, Lanes};
use super::polynomial::VECTORS;
use super::sink::{Discard, Sink};
use crate::pi::tuple::GuardTag;

/// What a prefetch brings, at least.
const CACHE_LINE: usize = 64;

/// How far ahead of the loads to prefetch in a run of blocks, for blocks that are in no cache: the
/// CPU's own prefetching loses its way at each block's end. Measured: 0 is the worst by a fifth
/// with blocks of 4096 bytes, and from 4096 on it makes no difference.
const AHEAD: usize = 4096;

/// The guard of the `len` bytes at `from`; `sink` gets them.
///
/// # Safety
/// The CPU has the instructions of `V`; `from` is readable for `len` bytes, and `sink` takes as
/// many. Inline this into a function that enables those instructions.
#[inline(always)]
pub(super) unsafe fn guard_of<V: Lanes, S: Sink>(from: *const u8, len: usize, sink: S) -> u16 {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let mut changes = Changes::<V>::none();
        if len == 0 { 0 } else { lanes_of(from, len, None, sink, &mut changes).reduce() }
    }
}

/// What a sink that compares has found.
struct Changes<V> {
    vectors: V,
    elsewhere: bool,
}

impl<V: Lanes> Changes<V> {
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn none() -> Self {
        // SAFETY: the caller's promise, passed on.
        Changes { vectors: unsafe { V::zero() }, elsewhere: false }
    }

    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    unsafe fn any(self) -> bool {
        // SAFETY: the caller's promise, passed on.
        self.elsewhere || unsafe { !self.vectors.is_zero() }
    }
}

/// The guards of `guards.len()` blocks of `block` bytes each, in a row at `from`. Answers whether a
/// sink that compares has found a difference.
///
/// # Safety
/// As for [`guard_of`], with the length of all blocks together; `block` is not 0.
#[inline(always)]
pub(super) unsafe fn guards_of<V: Lanes, S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
) -> bool {
    // SAFETY: each block lies within what the caller vouches for.
    unsafe {
        let mut changes = Changes::<V>::none();
        let end = Some(from.add(block * guards.len()));
        let mut at = 0;
        let guards = if S::APART {
            let done = guards.len() - guards.len() % 4;
            let (quarters, rest) = guards.split_at_mut(done);
            quarters_of(from, block, quarters, sink, &mut changes);
            at = block * done;
            rest
        } else {
            guards
        };
        let (fours, rest) = guards.as_chunks_mut::<4>();
        for four in fours {
            let mut lanes = MaybeUninit::<[V; 4]>::uninit();
            for n in 0..4 {
                let place = lanes.as_mut_ptr().cast::<V>().add(n);
                let (from, sink) = (from.add(at), sink.after(at));
                place.write(lanes_of(from, block, end, sink, &mut changes));
                at += block;
            }
            *four = V::reduce_four(lanes.assume_init()).map(GuardTag);
        }
        for guard in rest {
            let (from, sink) = (from.add(at), sink.after(at));
            *guard = GuardTag(lanes_of::<V, S>(from, block, end, sink, &mut changes).reduce());
            at += block;
        }
        changes.any()
    }
}

/// The guards of blocks in a row, taken in turn from four places a quarter of the run apart.
///
/// For memory that is in no cache: the CPU's own prefetching follows each of the four, and ends at
/// a page's end in one of them at a time. Measured: half as fast again as in order.
///
/// # Safety
/// As for [`guards_of`]; the number of guards is a multiple of four.
#[inline(always)]
unsafe fn quarters_of<V: Lanes, S: Sink>(
    from: *const u8,
    block: usize,
    guards: &mut [GuardTag],
    sink: S,
    changes: &mut Changes<V>,
) {
    let quarter = guards.len() / 4;
    let (first, second) = guards.split_at_mut(quarter * 2);
    let ((a, b), (c, d)) = (first.split_at_mut(quarter), second.split_at_mut(quarter));
    let places = a.iter_mut().zip(b).zip(c).zip(d).enumerate();
    for (number, (((a, b), c), d)) in places {
        let mut lanes = MaybeUninit::<[V; 4]>::uninit();
        // SAFETY: each block lies within what the caller vouches for, and all four are written.
        let four = unsafe {
            for n in 0..4 {
                let at = block * (quarter * n + number);
                let place = lanes.as_mut_ptr().cast::<V>().add(n);
                place.write(lanes_of(from.add(at), block, None, sink.after(at), changes));
            }
            V::reduce_four(lanes.assume_init())
        };
        [*a, *b, *c, *d] = four.map(GuardTag);
    }
}

/// The message's lanes, moved to its end; `len` is not 0.
///
/// # Safety
/// As for [`guard_of`].
#[inline(always)]
unsafe fn lanes_of<V: Lanes, S: Sink>(
    from: *const u8,
    len: usize,
    end: Option<*const u8>,
    sink: S,
    changes: &mut Changes<V>,
) -> V {
    // SAFETY: `at` grows by whole strides from the first, ragged or whole, and ends at `len`.
    unsafe {
        let ragged = len % V::STRIDE;
        let (mut lanes, mut at) = if ragged == 0 {
            (first_stride::<V, S>(from, soon(from, end), sink, &mut changes.vectors), V::STRIDE)
        } else {
            let (filled, changed) = fill_up(from, ragged, V::STRIDE, sink);
            changes.elsewhere |= changed;
            let filled = filled.0.as_ptr();
            (first_stride::<V, _>(filled, None, Discard, &mut changes.vectors), ragged)
        };
        while at < len {
            let from = from.add(at);
            let (soon, sink) = (soon(from, end), sink.after(at));
            lanes = next_stride::<V, S>(lanes, from, soon, sink, &mut changes.vectors);
            at += V::STRIDE;
        }
        last_stride(lanes)
    }
}

/// What to prefetch with the stride at `at`: the one [`AHEAD`] of it. Past the end of what will be
/// read it is this stride again, which costs less than a branch.
#[inline(always)]
fn soon(at: *const u8, end: Option<*const u8>) -> Option<*const u8> {
    let ahead = at.wrapping_add(AHEAD);
    end.map(|end| if ahead < end { ahead } else { at })
}

/// Room for a stride, aligned for the widest load.
#[repr(align(64))]
struct Filled([u8; LONGEST_STRIDE]);

/// A whole stride whose last `ragged` bytes are those at `from`, zeros before; and what the sink says.
///
/// # Safety
/// `from` is readable for `ragged` bytes, `sink` takes as many, and `ragged` is below `stride`.
#[inline(never)]
unsafe fn fill_up<S: Sink>(
    from: *const u8,
    ragged: usize,
    stride: usize,
    sink: S,
) -> (Filled, bool) {
    let mut filled = Filled([0; LONGEST_STRIDE]);
    let mut changed = false;
    if let Some(bytes) = filled.0.get_mut(stride - ragged..stride) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            fetch(bytes, from);
            changed = sink.put_bytes(bytes);
        }
    }
    (filled, changed)
}

/// Vector `I` of a stride, loaded once: kept by the sink, then reversed for the fold.
#[inline(always)]
unsafe fn take<V: Lanes, S: Sink, const I: usize>(
    from: *const u8,
    soon: Option<*const u8>,
    sink: S,
    changes: &mut V,
) -> V {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if let Some(soon) = soon
            && (I * V::BYTES).is_multiple_of(CACHE_LINE)
        {
            V::prefetch(soon.wrapping_add(I * V::BYTES));
        }
        let vector = V::load::<I>(from);
        sink.put::<V, I>(vector, changes);
        vector.reverse()
    }
}

/// The stride at `from`.
#[inline(always)]
unsafe fn first_stride<V: Lanes, S: Sink>(
    from: *const u8,
    soon: Option<*const u8>,
    sink: S,
    changes: &mut V,
) -> [V; VECTORS] {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        [
            take::<V, S, 0>(from, soon, sink, changes),
            take::<V, S, 1>(from, soon, sink, changes),
            take::<V, S, 2>(from, soon, sink, changes),
            take::<V, S, 3>(from, soon, sink, changes),
            take::<V, S, 4>(from, soon, sink, changes),
            take::<V, S, 5>(from, soon, sink, changes),
            take::<V, S, 6>(from, soon, sink, changes),
            take::<V, S, 7>(from, soon, sink, changes),
        ]
    }
}

/// The stride at `from`, with the one before folded in.
#[inline(always)]
unsafe fn next_stride<V: Lanes, S: Sink>(
    [a, b, c, d, e, f, g, h]: [V; VECTORS],
    from: *const u8,
    soon: Option<*const u8>,
    sink: S,
    changes: &mut V,
) -> [V; VECTORS] {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let factors = V::stride_factors();
        [
            a.fold(factors, take::<V, S, 0>(from, soon, sink, changes)),
            b.fold(factors, take::<V, S, 1>(from, soon, sink, changes)),
            c.fold(factors, take::<V, S, 2>(from, soon, sink, changes)),
            d.fold(factors, take::<V, S, 3>(from, soon, sink, changes)),
            e.fold(factors, take::<V, S, 4>(from, soon, sink, changes)),
            f.fold(factors, take::<V, S, 5>(from, soon, sink, changes)),
            g.fold(factors, take::<V, S, 6>(from, soon, sink, changes)),
            h.fold(factors, take::<V, S, 7>(from, soon, sink, changes)),
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
