//! The exit status, fit for `git bisect run`: 125 skips a commit, 128 and above stop the search.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run came to, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// Every scenario as expected.
    Pass,
    /// A race where none may be, or an expectation broken, proven.
    Fail,
    /// This kernel could not be tested.
    Untestable,
    /// Ours or the user's fault; nothing is said about the kernel.
    Error,
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ruling::Pass => "pass",
            Ruling::Fail => "fail",
            Ruling::Untestable => "untestable",
            Ruling::Error => "error",
        })
    }
}

/// The status that the process ends with. The contract's numbers stand here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// 0: every scenario as expected.
    AsExpected,
    /// 1: a race where none may be, or an expectation broken, proven.
    Proven,
    /// 125: this kernel could not be tested; `git bisect run` skips the commit.
    Untestable,
    /// 129: our fault or the user's; `git bisect run` stops and blames no commit.
    Fault,
    /// 130: interrupted by the user; stops `git bisect run` likewise.
    Interrupted,
}

impl ExitStatus {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            ExitStatus::AsExpected => 0,
            ExitStatus::Proven => 1,
            ExitStatus::Untestable => 125,
            ExitStatus::Fault => 129,
            ExitStatus::Interrupted => 130,
        }
    }

    /// The word that the verdict says for it.
    pub const fn ruling(self) -> Ruling {
        match self {
            ExitStatus::AsExpected => Ruling::Pass,
            ExitStatus::Proven => Ruling::Fail,
            ExitStatus::Untestable => Ruling::Untestable,
            ExitStatus::Fault | ExitStatus::Interrupted => Ruling::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_contract() {
        for (status, code, ruling) in [
            (ExitStatus::AsExpected, 0, "pass"),
            (ExitStatus::Proven, 1, "fail"),
            (ExitStatus::Untestable, 125, "untestable"),
            (ExitStatus::Fault, 129, "error"),
            (ExitStatus::Interrupted, 130, "error"),
        ] {
            assert_eq!(status.code(), code);
            assert_eq!(status.ruling().to_string(), ruling);
        }
    }
}
