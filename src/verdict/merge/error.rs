//! Why verdicts cannot be merged.

/// Why verdicts do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("there is no verdict to merge")]
    Nothing,
    /// They were written by different versions, which may expect different things.
    #[error("verdicts of dixtrap {0} and {1} do not go together: run all shards with one version")]
    Versions(String, String),
    /// A report's flags have left some of its cells out.
    #[error("{0} has {1} of its {2} cells ({3}): give the verdict that it was made from")]
    Filtered(String, usize, usize, String),
    /// They asked for different windows.
    #[error("{0} ran with different windows: only shards of one run go together")]
    Windows(String),
}
