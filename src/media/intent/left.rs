//! What a killed process left in the log.

use super::layout::{Record, parse_header, parse_records};

/// Everything that was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::media) struct Left {
    /// Data and tuples may disagree where there is no record either.
    pub(in crate::media) suspect: bool,
    /// The records.
    pub(in crate::media) records: Vec<Record>,
}

impl Left {
    /// Reads the bytes of a log; `None` where they are none.
    pub(in crate::media) fn parse(bytes: &[u8]) -> Option<Left> {
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let suspect = parse_header(&words)?;
        Some(Left { suspect, records: parse_records(&words) })
    }
}
