//! What is kept of a read for the look after its completion (`--audit`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::read_race::Reader;
use super::tally::Span;
use crate::memory::{Buffer, List, Segments};
use crate::pi::{TUPLE_BYTES, Tuple};

/// A read that was looked at before its completion, and will be once more after it.
#[derive(Debug)]
pub struct AuditedRead {
    pub(super) reader: Reader,
    /// The number of the request, where there was something to tell of it already.
    pub(super) id: Option<u64>,
    /// Where the data is.
    pub(super) into: Segments,
    /// The data at the look before the completion.
    pub(super) bytes: Buffer,
    /// Where the tuples are, and which they were at that look.
    pub(super) tuples: Option<(Segments, List<Tuple>)>,
    /// The blocks that had changed by then: they are on record.
    pub(super) told: BTreeSet<usize>,
    pub(super) span: Arc<Span>,
}

impl AuditedRead {
    /// How many bytes are kept of it.
    pub fn bytes(&self) -> u64 {
        let tuples = self.tuples.as_ref().map_or(0, |(_, tuples)| tuples.len() * TUPLE_BYTES);
        (self.bytes.len() + tuples) as u64
    }
}
