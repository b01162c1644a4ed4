//! The intent log: which blocks are being written, and with which tuples.
//!
//! Data and tuples lie in two files, and a process can be killed (kill -9) between the two stores. So a
//! write says first, at the end of the PI file, what it is about to store, and takes that back once both
//! are stored. Whoever opens the image after a kill completes what he finds there: a block whose data is
//! new gets the tuple that goes with it, one whose data is still old keeps its own.
//!
//! | file | what it knows |
//! |---|---|
//! | `region` | the log's bytes, as words of memory that outlive the process |
//! | `layout` | what stands in them |
//! | `slots` | which places for records are free |
//! | `log` | a record's life: noted before the data, cleared after the tuples |
//! | `left` | the records that a killed process left; what is done with them is `replay`'s above |
//!
//! The log costs no system call: the region is a shared mapping, so what was stored to it is in the page
//! cache, which outlives the process as the data's does. It is there only while the image is in use: a
//! clean close cuts it off, and the PI file is as long as its header says.
//!
//! What it does not promise: a power failure can keep any part of what was not flushed. Records of another
//! boot are completed like others, where data and tuple fit, and the image stays suspect.

mod layout;
mod left;
mod log;
mod region;
mod slots;

pub(super) use layout::{LOG_BYTES, Record};
pub(super) use left::Left;
pub(super) use log::{Intent, IntentLog};
