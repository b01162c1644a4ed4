//! The control socket: JSON lines both ways, one request a line, several clients at once.

mod client;
mod clients;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use protocol::{NONE, Reply, Request, Stats};
pub use server::{ControlHandler, ControlServer, control_handler};
