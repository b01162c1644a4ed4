//! One sink or format a file. Every figure in every format derives from the records.

mod jsonl;

pub use jsonl::{Sink, SinkError};
