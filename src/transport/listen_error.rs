//! Why nobody can connect to a socket.

use std::io;
use std::os::fd::RawFd;

/// The longest path that fits `sun_path` with its terminating zero (unix(7)).
pub(super) const MAX_PATH_BYTES: usize = 107;

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Longer than a socket address can be.
    #[error(
        "socket path {0} is longer than {MAX_PATH_BYTES} bytes: choose a shorter one, for instance under /run or /tmp"
    )]
    PathTooLong(String),
    /// Somebody answers there.
    #[error("socket {0} is in use by a live daemon: stop it or choose another path")]
    InUse(String),
    /// Something that is not a socket lies there.
    #[error("{0} exists and is not a socket: choose another path")]
    NotASocket(String),
    /// The socket cannot be made.
    #[error("cannot listen on {0}")]
    Bind(String, #[source] io::Error),
    /// What was passed is no listening socket.
    #[error(
        "descriptor {0} is not a listening Unix socket: pass one, as systemd's socket activation does from 3 on"
    )]
    BadDescriptor(RawFd),
}
