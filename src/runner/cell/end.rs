//! How a run of a cell ended.

use crate::runner::guest::GuestError;
use crate::runner::host::errors::one_line;

/// How a run of a cell ended, and why.
#[derive(Debug)]
pub enum End {
    /// The script did its work.
    Done,
    /// The script cannot do its work here, and said why.
    Skipped(String),
    /// The script failed.
    Trouble(String),
    /// The script calls a program that is not there: whoever wrote it has to mend it.
    Broken(String),
    /// The script did not end in time; the guest may be at fault, and is not to be trusted.
    Hung(String),
    /// The guest is lost; no other cell can run on it.
    GuestLost(GuestError),
}

impl End {
    /// In one line.
    pub fn words(&self) -> String {
        match self {
            End::Done => "the script did its work".to_owned(),
            End::Skipped(why) => format!("skipped: {why}"),
            End::Trouble(why) | End::Broken(why) | End::Hung(why) => why.clone(),
            End::GuestLost(error) => one_line(error),
        }
    }
}
