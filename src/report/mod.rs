//! One sink or format a file. Every figure in every format derives from the records.

pub mod bug;
mod culprits;
mod filter;
mod format;
mod hexdiff;
mod html;
mod incidents;
mod input;
pub mod interval;
mod json;
mod jsonl;
mod junit;
mod ktap;
mod lines;
mod offenders;
mod output;
mod owners;
mod pages;
mod picture;
mod plain;
mod provenance;
mod quota;
mod session;
mod story;
mod tame;
mod text;
mod told;
mod words;

pub use filter::{Filter, Glob, Moment, PHASES, cell_of, parse_phase};
pub use format::{Format, FormatError};
pub use hexdiff::Colour;
pub use json::{WriteError, verdict_json, write_whole};
pub use jsonl::{Sink, SinkError};
pub use lines::{SessionError, each_record};
pub use offenders::{Offender, Offenders, worst_of};
pub use plain::{plain, plain_json, plain_lines};
pub use session::{CULPRITS, LabelSummary, OWNERS, Session, UNLABELLED, culprits_beside};
pub use story::BootStory;
pub use text::{offenders_text, session_text, verdict_line, verdict_text};
pub use words::micros_words;

/// The output formats of the verdict, in the order of their flags.
pub static FORMATS: [Format; 4] = [junit::FORMAT, ktap::FORMAT, json::FORMAT, html::FORMAT];

#[cfg(test)]
mod agree;
