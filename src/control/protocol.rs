//! What goes over the control socket.

use serde::{Deserialize, Serialize};

use crate::record::{Counters, MarkState};
use crate::units::WindowSpec;

/// A request, one a line: `{"cmd":"stats"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The counters so far.
    Stats,
    /// Opens or closes a label.
    Mark {
        /// What records and counters are filed under until the mark's end.
        label: String,
        /// Whether the label is opened (as where this is left out) or closed.
        #[serde(default = "begin")]
        state: MarkState,
    },
    /// Sets the window of writes to come.
    Window {
        /// As `--window` spells it.
        spec: WindowSpec,
    },
    /// Adds a fault, or takes away all those that are still to come.
    Inject {
        /// As `--inject` spells it, or [`NONE`].
        spec: String,
    },
    /// Fetches every write that is held in its window now.
    Release,
    /// Takes a logical unit away from the guest (SCSI).
    Unplug {
        /// The unit's number, as `--blk-file` numbered it from 0.
        lun: u16,
    },
    /// Gives a logical unit that was taken away back to the guest (SCSI).
    Plug {
        /// The unit's number, as `--blk-file` numbered it from 0.
        lun: u16,
    },
    /// Drains, flushes and ends the daemon.
    Quit,
}

/// The fault that takes away all others.
pub const NONE: &str = "none";

fn begin() -> MarkState {
    MarkState::Begin
}

/// The counters as `stats` answers them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Microseconds since the start record.
    pub t_us: u64,
    /// The label in force.
    pub label: Option<String>,
    /// The window asked for.
    pub window: WindowSpec,
    /// Writes that are inside their window now.
    pub held: u64,
    /// A front end is connected.
    pub connected: bool,
    /// Whether the guest's kernel is known, so that who stores can be named; nothing where stores are not watched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub names_culprits: Option<bool>,
    /// Of the whole session.
    pub counters: Counters,
}

/// An answer, one a line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request was carried out.
    pub ok: bool,
    /// Why the request was not carried out, in words for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// To `stats`: the counters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stats: Option<Box<Stats>>,
    /// To `mark` with state `end`: what was counted while the label was open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub counters: Option<Box<Counters>>,
    /// To `release`: how many writes were let go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub released: Option<u64>,
    /// To `inject` with `none`: the faults that had still been to come.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disarmed: Option<Vec<String>>,
}

impl Reply {
    /// Carried out, nothing to say.
    pub fn done() -> Self {
        Reply { ok: true, ..Reply::default() }
    }

    /// The request was not carried out, and `why` tells the reason.
    pub fn refused(why: impl Into<String>) -> Self {
        Reply { ok: false, error: Some(why.into()), ..Reply::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_mark_begins() {
        let request: Request = serde_json::from_str(r#"{"cmd":"mark","label":"x"}"#).unwrap();
        assert_eq!(request, Request::Mark { label: "x".into(), state: MarkState::Begin });
    }

    #[test]
    fn an_unknown_request_is_an_error() {
        assert!(serde_json::from_str::<Request>(r#"{"cmd":"explode"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"cmd":"window","spec":"soon"}"#).is_err());
    }
}
