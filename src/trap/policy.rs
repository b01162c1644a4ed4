//! How often data is looked at: chosen once for a trap.
//!
//! [`Policy::Checked`] is the trap. [`Policy::Unchecked`] is the benchmark's yardstick, what the same daemon
//! does when it checks nothing: a write is one copy out of guest memory, at the end of the window, that goes
//! to the medium; a read is one copy the other way. There is no doorbell sample, no guard and no comparison,
//! and the disk has no protection information.

use super::error::TrapError;
use super::held::WriteState;
use super::judge::{raced_between, tuples_to_store};
use super::request::Write;
use super::sample::{Sample, copy};
use crate::memory::{List, MemoryError, Segments, deliver};
use crate::pi::{GuardTag, PiType, Tuple, guards};
use crate::record::Phase;

/// The looks at data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Everything is checked.
    Checked,
    /// Nothing is.
    Unchecked,
}

impl Policy {
    /// Whether anything is compared with anything: samples with each other, and data with its tuples.
    pub fn compares(self) -> bool {
        self == Policy::Checked
    }

    /// Takes the doorbell sample of a write.
    pub fn doorbell(self, write: &Write) -> Result<Sample, TrapError> {
        match self {
            Policy::Checked => Sample::take(write),
            Policy::Unchecked => Ok(Sample::none()),
        }
    }

    /// Takes the fetch sample of a write and the guards of its blocks, and finds out which of them raced.
    pub fn fetch(self, state: &mut WriteState, block_bytes: usize) -> Result<(), TrapError> {
        match self {
            Policy::Checked => fetch_and_compare(state, block_bytes),
            Policy::Unchecked => {
                state.doorbell.bytes = copy(&state.write.data)?;
                Ok(())
            }
        }
    }

    /// The tuples that go to the medium with what was fetched.
    pub fn tuples(self, kind: PiType, state: &WriteState) -> List<Tuple> {
        let blocks = usize::try_from(state.write.blocks.0).unwrap_or(usize::MAX);
        match self {
            Policy::Checked => tuples_to_store(kind, state),
            Policy::Unchecked => List::of(Tuple::ESCAPE, blocks),
        }
    }

    /// Copies as many blocks of `block` bytes as there are `guards` from `source` to byte `offset` of
    /// `into`, and computes their guards on the way.
    ///
    /// # Safety
    /// As for [`deliver::deliver`].
    pub unsafe fn deliver(
        self,
        into: &Segments,
        (offset, source): (u64, *const u8),
        block: usize,
        guards: &mut [GuardTag],
    ) -> Result<(), MemoryError> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Policy::Checked => deliver::deliver(into, offset, source, block, guards),
                Policy::Unchecked => {
                    deliver::put(into, offset, source, guards.len().saturating_mul(block))
                }
            }
        }
    }

    /// Computes the guards of blocks that are in memory.
    pub fn guards(self, data: &[u8], computed: &mut [GuardTag]) {
        if self.compares() {
            guards(data, computed);
        }
    }
}

fn fetch_and_compare(state: &mut WriteState, block_bytes: usize) -> Result<(), TrapError> {
    let WriteState { write, doorbell, changed, guards, raced, .. } = state;
    let blocks = usize::try_from(write.blocks.0).unwrap_or(usize::MAX);
    *guards = List::of(GuardTag(0), blocks);
    *changed = doorbell.again(write, guards)?;
    if let Some(changed) = changed {
        raced.extend(raced_between(write, doorbell, changed, block_bytes, Phase::InWindow));
        // Stable: of one block's races the earlier phase stays first.
        raced.sort_by_key(|block| block.index);
    }
    Ok(())
}
