//! The control socket: JSON lines both ways, one request a line, several clients at once.

mod client;
mod protocol;

pub use client::{Client, ClientError};
pub use protocol::{Reply, Request, Stats};
