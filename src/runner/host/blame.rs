//! Whose fault a failure is.

/// Whose fault a failure is; it decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// This kernel could not be tested: exit status 125, `git bisect` skips the commit.
    Kernel,
    /// Ours, the machine's or the user's: exit status 129, `git bisect` stops.
    Host,
}
