//! A program in the guest: what is to run, what it says, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::guest::protocol::{ExitStatus, Stream};

/// A program for the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables set on top of the agent's environment.
    pub env: BTreeMap<String, String>,
    /// Its process group is killed after this long.
    pub timeout: Duration,
    /// A file of the guest that is read while the program writes.
    pub watch: Option<String>,
}

/// A line that a program in the guest wrote, or told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Where it was written.
    pub stream: Stream,
    /// The line, without its line feed.
    pub text: String,
}

/// What a watch over a program hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// The program wrote a line.
    Line(OutputLine),
    /// Nothing happened for a while.
    Tick,
}

/// What a watch over a program wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The program goes on.
    GoOn,
    /// The program waits until we have heard that it writes: it goes on.
    Heard,
    /// The program is asked to end.
    Terminate,
    /// Nobody waits for the program any more: its disk is gone, and it may never end.
    Abandon,
}

/// How a program in the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// How.
    pub status: ExitStatus,
    /// How long it ran, by the guest's clock.
    pub elapsed: Duration,
    /// The different first lines of the watched file while it wrote.
    pub watched: Vec<String>,
    /// The processes that it left behind, which were killed.
    pub left_behind: Vec<String>,
}
