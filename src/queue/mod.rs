//! A descriptor chain is walked once, into checked segments and a token that must be completed.

mod chain;
mod ring;
mod token;

pub use chain::{ChainError, Flaw, Request, collect};
pub use ring::{Ring, RingError, SharedMemory};
pub use token::Token;
