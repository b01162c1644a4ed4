//! A tuple that does not fit, and which of its checks says so.

/// Which check failed; the order is the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// LOGICAL BLOCK GUARD CHECK FAILED (0Bh/10h/01h).
    Guard,
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED (0Bh/10h/02h).
    App,
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED (0Bh/10h/03h).
    Reference,
}

impl Check {
    /// The name that records use.
    pub const fn name(self) -> &'static str {
        match self {
            Check::Guard => "guard",
            Check::App => "app",
            Check::Reference => "ref",
        }
    }
}

/// A tuple that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The first check that failed.
    pub check: Check,
    /// The tag that the tuple has.
    pub stored: u32,
    /// The tag that data or address give.
    pub computed: u32,
}
