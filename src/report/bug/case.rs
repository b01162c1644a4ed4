//! What a mail is made of.

use crate::report::plain::plain;
use crate::report::session::Session;
use crate::verdict::{Cell, Verdict};

use super::evidence::Evidence;

/// Everything that a mail is made of.
#[derive(Debug)]
pub struct Case<'a> {
    /// The records.
    pub session: &'a Session,
    /// The race that stands for the others of its label.
    pub evidence: &'a Evidence,
    /// The run that the records are of, where there is a verdict.
    pub verdict: Option<&'a Verdict>,
    /// The cell that the race's label is of.
    pub cell: Option<&'a Cell>,
    /// The scenario's script, where it is one of dixtrap's own.
    pub scenario: Option<&'a str>,
    /// What fsck or a scrub said in the cell's log.
    pub checked: &'a [String],
}

impl Case<'_> {
    /// The kernel's release, where a verdict tells it.
    pub(super) fn kernel(&self) -> Option<String> {
        self.cell.map(|cell| plain(&cell.kernel))
    }
}
