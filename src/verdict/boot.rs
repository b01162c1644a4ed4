//! What is to be told of a boot beside its cells.

use serde::{Deserialize, Serialize};

/// A boot of one kernel on one device, where something is to be told of it that belongs to no cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The guest's `uname -r`; the kernel as it was asked for where the guest never told.
    pub kernel: String,
    /// `blk` or `scsi`.
    pub device: String,
    /// Its directory, seen from that of `--out`; `None` where that was not kept.
    pub directory: Option<String>,
    /// How often it was tried; 0 where that is not known, or it was not tried at all.
    #[serde(default)]
    pub tries: u32,
    /// What each kernel said that died before its agent answered, so that it was booted again: a panic or an
    /// oops, and the file of its console.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early_deaths: Vec<String>,
    /// What the kernel said of itself before the first cell, and went on after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Boot {
    /// Whether there is anything to tell.
    pub fn is_worth_telling(&self) -> bool {
        !self.notes.is_empty() || !self.early_deaths.is_empty()
    }
}
