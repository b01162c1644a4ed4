//! A disk of the guest.

use std::path::{Path, PathBuf};

/// A disk of the guest, in the order of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// A vhost-user-blk backend that listens on `socket`.
    VhostUserBlk {
        /// Its socket.
        socket: PathBuf,
        /// How many request queues the guest gets; no more than the backend has.
        queues: u16,
    },
    /// A vhost-user-scsi backend that listens on `socket`.
    VhostUserScsi {
        /// Its socket.
        socket: PathBuf,
        /// How many request queues the guest gets; no more than the backend has.
        queues: u16,
        /// Whether the guest may send protection information.
        t10_pi: bool,
    },
    /// QEMU's own virtio-blk over a raw file.
    File {
        /// The file.
        path: PathBuf,
        /// The guest may only read.
        read_only: bool,
    },
}

impl Disk {
    /// Where its back end listens, where it has one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Disk::VhostUserBlk { socket, .. } | Disk::VhostUserScsi { socket, .. } => Some(socket),
            Disk::File { .. } => None,
        }
    }

    /// The same disk of a back end that listens elsewhere.
    #[must_use]
    pub fn listening_on(&self, elsewhere: &Path) -> Disk {
        let mut disk = self.clone();
        if let Disk::VhostUserBlk { socket, .. } | Disk::VhostUserScsi { socket, .. } = &mut disk {
            elsewhere.clone_into(socket);
        }
        disk
    }
}
