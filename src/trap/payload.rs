//! What goes to the medium.

use std::borrow::Cow;

use crate::memory::List;
use crate::pi::{PiType, Tuple};
use crate::units::{BlockCount, Lba};

/// Blocks, their tuples and their place.
#[derive(Debug)]
pub struct WritePayload<'a> {
    /// The first block.
    pub lba: Lba,
    /// The data.
    pub bytes: Cow<'a, [u8]>,
    /// One for each block.
    pub tuples: List<Tuple>,
}

/// Data and tuples of consecutive blocks, on their way.
#[derive(Debug)]
pub struct Moving<'a> {
    /// The data.
    pub bytes: &'a mut [u8],
    /// One for each block.
    pub tuples: &'a mut [Tuple],
}

impl WritePayload<'_> {
    /// How many blocks these are.
    pub fn blocks(&self) -> BlockCount {
        BlockCount(self.tuples.len() as u64)
    }

    /// Data and tuples, to be changed.
    pub fn moving(&mut self) -> Moving<'_> {
        Moving { bytes: self.bytes.to_mut(), tuples: &mut self.tuples }
    }

    /// Keeps only so many of the first blocks.
    pub fn truncate(&mut self, blocks: BlockCount) {
        let kept = usize::try_from(blocks.0).unwrap_or(usize::MAX).min(self.tuples.len());
        let size = self.bytes.len().checked_div(self.tuples.len()).unwrap_or(0);
        self.tuples.truncate(kept);
        match &mut self.bytes {
            Cow::Borrowed(bytes) => *bytes = bytes.get(..kept * size).unwrap_or_default(),
            Cow::Owned(bytes) => bytes.truncate(kept * size),
        }
    }

    /// The same blocks so many times; reference tags that are counted count on.
    pub fn repeated(self, kind: PiType, copies: BlockCount) -> WritePayload<'static> {
        let times = usize::try_from(copies.0).unwrap_or(usize::MAX);
        let each = self.tuples.iter().cycle().take(self.tuples.len().saturating_mul(times));
        let period = u32::try_from(self.tuples.len()).unwrap_or(u32::MAX).max(1);
        let tuples = each.zip(0u32..).map(|(tuple, i)| tuple.counted_on(kind, i - i % period));
        let bytes = self.bytes.repeat(times).into();
        WritePayload { lba: self.lba, bytes, tuples: tuples.collect() }
    }
}
