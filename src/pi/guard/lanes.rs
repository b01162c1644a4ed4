//! What every carry-less backend needs of a CPU's vectors.

use super::polynomial::VECTORS;

/// The longest stride of any backend: eight vectors of 64 bytes.
pub(super) const LONGEST_STRIDE: usize = 512;

/// A register of 128-bit lanes, and the instructions that a backend needs on it.
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

    /// Tells the CPU that these bytes may be loaded soon; they need not be readable.
    unsafe fn prefetch(from: *const u8);

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

    /// No bit is set.
    unsafe fn zero() -> Self;

    /// The bits of `self`, and those in which the other two differ.
    unsafe fn add_difference(self, one: Self, other: Self) -> Self;

    /// Whether no bit is set.
    unsafe fn is_zero(self) -> bool;

    /// The guard, from lanes moved to the message's end.
    unsafe fn reduce(self) -> u16;

    /// The guards of four messages.
    #[inline(always)]
    unsafe fn reduce_four([a, b, c, d]: [Self; 4]) -> [u16; 4] {
        // SAFETY: the caller's promise, passed on.
        unsafe { [a.reduce(), b.reduce(), c.reduce(), d.reduce()] }
    }
}
