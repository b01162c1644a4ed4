//! The trap: samples of guest memory, the window between them, their comparison, and the races.
//!
//! A write is sampled at the doorbell and again when its window is over. The second sample is the one
//! copy that goes to the medium, so what was checked is what is stored: a race detector must not have
//! a race of its own.
//!
//! | file | what it knows |
//! |---|---|
//! | `write` | the one way of every write: sample, judge, start, conclude |
//! | `swap`, `read_back` | what COMPARE AND WRITE and WRITE AND VERIFY do besides |
//! | `read`, `read_into` | the one way of every read, and the checks of what is stored |
//! | `delivered`, `read_race` | one more look at what a read put into guest memory, and its record |
//! | `completed`, `audited` | a look at it after the completion (`--audit`), and what is kept for it |
//! | `trap` | a disk with the daemon's ledger and faults; flushes, discards |
//! | `faults` | injected faults carried out, and the blocks that they spoiled |
//! | `ledger` | clock, records, counters, labels, numbers, races that stand |
//! | `evidence`, `compare` | what a record says about a race |
//! | `judge` | which blocks raced, whether a write is refused, which tuples are stored |
//! | `policy` | how often data is looked at |
//! | `held`, `sample`, `request`, `payload` | a write between its steps, and what it has in its hands |
//! | `tally`, `histogram`, `by_block` | counters, measured windows, what is remembered about blocks |
//! | `window` | when a write is fetched |

mod audited;
mod by_block;
mod compare;
mod completed;
mod delivered;
mod error;
mod evidence;
mod faults;
mod held;
mod histogram;
mod judge;
mod ledger;
mod payload;
mod policy;
pub mod read;
pub mod read_back;
pub mod read_into;
mod read_race;
mod request;
mod sample;
pub mod swap;
mod tally;
#[expect(clippy::module_inception, reason = "it is what the room is named after")]
mod trap;
mod window;
pub mod write;

pub use audited::look_after_completion;
pub use completed::AuditedRead;
pub use delivered::{Delivered, look_at_delivered};
pub use error::{Cause, TrapError};
pub use faults::{Faults, InjectError};
pub use held::Held;
pub use ledger::Ledger;
pub use read_into::ReadInFlight;
pub use request::{Arrival, Write, WriteProtection};
pub use swap::{HeldSwap, Swap};
pub use trap::{Trap, TrapOptions, disarm, inject};
pub use window::{Link, WindowPolicy};
pub use write::{Judged, Stored, WriteInFlight};

#[cfg(test)]
mod tests;
