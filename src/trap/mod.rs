//! The trap: samples of guest memory, the window between them, their comparison, and the races.
//!
//! A write is sampled at the doorbell and again when its window is over. The second sample is the one
//! copy that goes to the medium, so what was checked is what is stored: a race detector must not have
//! a race of its own.

mod by_block;
mod compare;
mod error;
mod evidence;
mod faults;
mod histogram;
mod ledger;
mod load;
mod overlap;
mod read;
mod read_back;
mod read_into;
mod sample;
mod swap;
mod tally;
#[expect(clippy::module_inception, reason = "it is what the room is named after")]
mod trap;
mod unchecked;
mod verdict;
mod window;
mod write;

pub use error::{Cause, TrapError};
pub use faults::{Faults, InjectError};
pub use ledger::Ledger;
pub use overlap::{Begun, Reading, Storing};
pub use swap::{HeldSwap, Swap};
pub use trap::{Trap, TrapOptions, inject};
pub use window::{Link, WindowPolicy};
pub use write::{Held, Stored, Write, WriteProtection};

#[cfg(test)]
mod tests;
