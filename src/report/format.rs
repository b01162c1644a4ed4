//! What an output format of the verdict is: its flag, and how its text is made.

use std::error::Error;

use crate::verdict::Verdict;

use super::story::BootStory;

/// Why the text of a format cannot be made.
pub type FormatError = Box<dyn Error + Send + Sync>;

/// Makes the whole text of a file of a verdict and what lies beside it.
pub type MakeWithRecords = fn(&Verdict, &[BootStory]) -> Result<String, FormatError>;

/// An output format of the verdict.
#[derive(Debug)]
pub struct Format {
    /// The flag that asks for it, without its dashes.
    pub flag: &'static str,
    /// What a file of it is called in sentences, with an article where it takes one.
    pub name: &'static str,
    /// Makes the whole text of a file.
    pub make: fn(&Verdict) -> Result<String, FormatError>,
    /// The same with what the records beside the verdict tell, where the format tells that.
    pub with_records: Option<MakeWithRecords>,
    /// Reads back what the text tells of each cell, for the test that holds all formats against each other.
    #[cfg(test)]
    pub(super) read: fn(&str) -> Vec<ToldCell>,
}

/// A cell as one format tells it.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct ToldCell {
    pub(super) name: String,
    pub(super) outcome: crate::verdict::CellOutcome,
    /// All text about the cell: it holds the figures and the reason.
    pub(super) words: String,
}
