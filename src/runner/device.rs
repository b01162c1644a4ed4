//! The devices that a guest can be given.

use std::path::PathBuf;

use crate::runner::qemu::Disk;

/// Which device the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// virtio-blk, without protection information in the guest
    Blk,
}

impl Device {
    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Device::Blk => "blk",
        }
    }

    /// The driver that the guest needs.
    pub fn driver(self) -> &'static str {
        match self {
            Device::Blk => "virtio_blk",
        }
    }

    /// The disk's path in the guest.
    pub fn path(self) -> &'static str {
        match self {
            Device::Blk => "/dev/vda",
        }
    }

    /// QEMU's device in front of the daemon at `socket`.
    pub fn disk(self, socket: PathBuf, queues: u16) -> Disk {
        match self {
            Device::Blk => Disk::VhostUserBlk { socket, queues },
        }
    }
}
