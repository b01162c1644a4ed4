//! The devices that a guest can be given.

use std::path::PathBuf;

use crate::runner::host::qemu::Disk;

/// Which device the guest gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// virtio-blk, without protection information in the guest
    #[default]
    Blk,
    /// virtio-scsi with T10 PI: the guest generates and verifies protection information
    Scsi,
}

impl Device {
    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Device::Blk => "blk",
            Device::Scsi => "scsi",
        }
    }

    /// The device that the contract calls `name`.
    pub fn named(name: &str) -> Option<Device> {
        [Device::Blk, Device::Scsi].into_iter().find(|device| device.name() == name)
    }

    /// The drivers that the guest needs.
    pub fn drivers(self) -> &'static [&'static str] {
        match self {
            Device::Blk => &["virtio_blk"],
            Device::Scsi => &["virtio_scsi", "sd_mod"],
        }
    }

    /// Drivers that make the guest better at it where they are modules: before Linux 6.16 the
    /// checksum of T10 PI is one, and no module that needs it names it.
    pub fn wishes(self) -> &'static [&'static str] {
        match self {
            Device::Blk => &[],
            Device::Scsi => &["crct10dif_generic", "crct10dif_pclmul"],
        }
    }

    /// The disk's path in the guest.
    pub fn path(self) -> &'static str {
        match self {
            Device::Blk => "/dev/vda",
            Device::Scsi => "/dev/sda",
        }
    }

    /// QEMU's device in front of the daemon at `socket`.
    pub fn disk(self, socket: PathBuf, queues: u16) -> Disk {
        match self {
            Device::Blk => Disk::VhostUserBlk { socket, queues },
            Device::Scsi => Disk::VhostUserScsi { socket, queues, t10_pi: true },
        }
    }
}
