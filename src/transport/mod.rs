//! vhost-user: listener, connections, and the lane of each queue.
//!
//! One thread a queue does everything for it: doorbell, samples, timer, completion. A lane's lock is
//! taken by that thread, and by whoever has to empty the lane from outside (a ring that stops, a
//! release, a disconnect).

mod audit;
mod backend;
mod budget;
mod lane;
mod listener;
mod pace;
mod parked;
mod place;
mod private;
mod relay;
mod schedule;
mod server;
mod silenced;
mod sweep;
mod timer;
mod under_way;
mod watch;
mod work;

pub use listener::{Endpoint, ListenError, SocketPath};
pub use pace::Pace;
pub use private::{Connector, Private};
pub use server::{Server, ServerError};
