//! A descriptor chain is walked once, into checked segments and a token that must be completed.

mod chain;
mod events;
mod inflight;
mod left;
mod ring;
mod token;
mod vring;

pub use chain::{ChainError, Flaw, Request, collect};
pub use inflight::{InFlight, InFlightFileError, InFlightShape, Region};
pub use left::{LastPlace, from_note, to_note};
pub use ring::{Ring, RingError};
pub use token::Token;
pub use vring::{SharedMemory, Vring};
