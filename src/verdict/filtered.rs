//! A verdict of which a report shows only some cells.

use serde::{Deserialize, Serialize};

/// What was left out. The verdict's word and exit status are still those of all cells, and such a verdict
/// goes into no other: its cells are not all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// The flags of `dixtrap report` that chose the cells.
    pub by: String,
    /// How many cells there were.
    pub of: usize,
    /// How many of those that were left out failed, or had no result.
    pub bad_left_out: usize,
}
