//! What was seen, for people and for machines: one sink or format a file.

mod hexdiff;
mod json;
mod junit;
mod ktap;
mod offenders;
mod session;
mod text;
mod words;

pub use hexdiff::Colour;
pub use json::{WriteError, verdict_json, write_whole};
pub use junit::verdict_junit;
pub use ktap::verdict_ktap;
pub use offenders::{Offender, Offenders};
pub use session::{LabelSummary, Session, SessionError, UNLABELLED};
pub use text::{offenders_text, session_text, verdict_text};

#[cfg(test)]
mod agree;
