//! One look at a write in guest memory.

use super::error::TrapError;
use super::write::{Write, WriteProtection};
use crate::memory::Segments;
use crate::pi::{TUPLE_BYTES, Tuple};

/// A copy of what a write has in guest memory, each byte read once.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample {
    /// The guest's tuples, one a block, where the command carries them.
    pub tuples: Option<Vec<Tuple>>,
    /// The data.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// Copies tuples and data.
    pub fn take(write: &Write) -> Result<Sample, TrapError> {
        let tuples = write.protection.as_ref().and_then(|protection| protection.tuples.as_ref());
        let tuples = tuples.map(|segments| sample_tuples(write, segments)).transpose()?;
        Ok(Sample { tuples, bytes: copy(&write.data)? })
    }

    /// The tuple of block number `index`, where the command carries tuples.
    pub fn tuple(&self, index: usize) -> Option<Tuple> {
        self.tuples.as_ref()?.get(index).copied()
    }
}

impl WriteProtection {
    /// How many bytes of tuples the command carries.
    pub(super) fn tuple_bytes(&self) -> u64 {
        self.tuples.as_ref().map_or(0, Segments::len)
    }
}

fn sample_tuples(write: &Write, segments: &Segments) -> Result<Vec<Tuple>, TrapError> {
    if Some(segments.len()) != write.blocks.0.checked_mul(TUPLE_BYTES as u64) {
        return Err(TrapError::TupleCount { bytes: segments.len(), blocks: write.blocks });
    }
    let bytes = copy(segments)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| Tuple::from_bytes(*bytes)).collect())
}

/// Copies a list out of guest memory.
pub fn copy(segments: &Segments) -> Result<Vec<u8>, TrapError> {
    let mut bytes = vec![0; usize::try_from(segments.len()).unwrap_or(usize::MAX)];
    segments.copy_out(&mut bytes)?;
    Ok(bytes)
}
