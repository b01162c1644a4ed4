//! vhost-user: listener, connections, and the worker of each queue.
//!
//! One thread a queue does everything for it: doorbell, samples, timer, completion. A worker's lock is
//! taken by that thread, and by whoever has to empty its queue from outside (a ring that stops, a
//! release, a disconnect). What the worker has in hand are collections that own their requests (windows,
//! in flight, unanswered, event buffers, audits) and know nothing of the worker.

mod answers;
mod audits;
mod backend;
mod budget;
mod control;
mod error;
mod event_buffers;
mod in_flight;
mod listen_error;
mod listener;
mod management;
mod peers;
mod place;
mod private;
mod queue;
mod relay;
mod requests;
mod schedule;
mod server;
mod state;
mod timer;
mod unanswered;
mod watch;
mod windows;
mod worker;

pub use control::WindowControl;
pub use listen_error::ListenError;
pub use listener::{Endpoint, SocketPath};
pub use private::{Connector, Private};
pub use server::{Server, ServerError};
