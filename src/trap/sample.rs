//! One look at a write in guest memory.

use super::error::TrapError;
use super::request::Write;
use crate::memory::resample::resample;
use crate::memory::{Buffer, List, Segments};
use crate::pi::{GuardTag, TUPLE_BYTES, Tuple};

/// A copy of what a write has in guest memory, each byte read once.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample {
    /// The guest's tuples, one a block, where the command carries them.
    pub tuples: Option<List<Tuple>>,
    /// The data.
    pub bytes: Buffer,
}

impl Sample {
    /// Copies tuples and data.
    pub fn take(write: &Write) -> Result<Sample, TrapError> {
        Ok(Sample { tuples: sample_tuples(write)?, bytes: copy(&write.data)? })
    }

    /// The sample that is not taken.
    pub fn none() -> Sample {
        Sample { tuples: None, bytes: Buffer::empty() }
    }

    /// Takes a later sample than this one, and computes the guards of its blocks on the way.
    ///
    /// Answers `None` where nothing has changed: then this sample is the later one too, bit by bit.
    /// It was read all the same, each byte once; only the second copy is spared.
    pub fn again(
        &self,
        write: &Write,
        guards: &mut [GuardTag],
    ) -> Result<Option<Sample>, TrapError> {
        let tuples = sample_tuples(write)?;
        let bytes = resample(&write.data, &self.bytes, guards)?;
        if bytes.is_none() && tuples == self.tuples {
            return Ok(None);
        }
        let bytes = bytes.unwrap_or_else(|| self.bytes.clone());
        Ok(Some(Sample { tuples, bytes }))
    }

    /// The tuple of block number `index`, where the command carries tuples.
    pub fn tuple(&self, index: usize) -> Option<Tuple> {
        self.tuples.as_ref()?.get(index).copied()
    }
}

/// The tuples that the command carries, if it does.
fn sample_tuples(write: &Write) -> Result<Option<List<Tuple>>, TrapError> {
    let Some(segments) = write.tuples() else { return Ok(None) };
    if Some(segments.len()) != write.blocks.0.checked_mul(TUPLE_BYTES as u64) {
        return Err(TrapError::TupleCount { bytes: segments.len(), blocks: write.blocks });
    }
    let bytes = copy(segments)?;
    Ok(Some(bytes.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect()))
}

/// Copies a list out of guest memory.
pub fn copy(segments: &Segments) -> Result<Buffer, TrapError> {
    let mut bytes = Buffer::new(usize::try_from(segments.len()).unwrap_or(usize::MAX));
    segments.copy_out(&mut bytes)?;
    Ok(bytes)
}
