//! A socket that only this process can reach: between the relay and the vhost-user crate, which wants a
//! listener to accept from.
//!
//! It lies in a folder of our own for a moment and has no path after that. Who holds its door can still
//! connect, by the file's descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{Mode, OFlags, open};

use crate::sandbox::{Door, Porter};

/// The listening end, and the way to it.
#[derive(Debug)]
pub struct Private {
    /// What the crate accepts from.
    pub listener: UnixListener,
    /// What the relay connects by.
    pub door: PrivateDoor,
}

impl Private {
    /// Makes one. Before the sandbox: it takes a path.
    pub fn make() -> io::Result<Private> {
        let folder = tempfile::Builder::new().prefix("dixtrapd").tempdir()?;
        let path = folder.path().join("private");
        let listener = UnixListener::bind(&path)?;
        let door = open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        folder.close()?;
        Ok(Private { listener, door: PrivateDoor(door) })
    }
}

/// The way to a private socket.
#[derive(Debug)]
pub struct PrivateDoor(OwnedFd);

impl Door for PrivateDoor {
    /// Needs /proc, and what a sandbox takes away.
    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

impl AsFd for PrivateDoor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who connects to it: we ourselves, or the janitor where a sandbox holds us.
#[derive(Debug)]
pub enum Connector {
    /// Outside of a sandbox.
    Ourselves(PrivateDoor),
    /// Inside.
    Janitor(Porter),
}

impl Connector {
    /// A new connection.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Connector::Ourselves(door) => door.connect(),
            Connector::Janitor(porter) => porter.connect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn the_door_leads_to_the_listener_and_no_path_does() {
        let private = Private::make().unwrap();
        let path = private.listener.local_addr().unwrap().as_pathname().unwrap().to_owned();
        assert!(!path.exists() && !path.parent().unwrap().exists());
        for _ in 0..2 {
            let mut near = private.door.connect().unwrap();
            near.write_all(b"x").unwrap();
            let (mut far, _) = private.listener.accept().unwrap();
            far.read_exact(&mut [0]).unwrap();
        }
    }
}
