//! What every layout can be asked: where its structures lie, and whose a file's blocks are.

use std::fmt::Debug;

use crate::record::Holds;

use super::area::Area;
use super::bytes::ReadAt;

/// Why a layout cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The disk.
    #[error("the file system's structures cannot be read from the disk")]
    Read(#[from] std::io::Error),
    /// It says of itself what cannot be.
    #[error("the file system's {0} makes no sense: is it damaged?")]
    Damaged(&'static str),
}

/// A part of a file on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The device's byte where it begins.
    pub start: u64,
    /// How many bytes of the file lie there.
    pub bytes: u64,
    /// How many bytes of what was asked for come before it.
    pub skipped: u64,
}

/// A run of inodes whose numbers follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeRun {
    /// The number of the first inode.
    pub first: u64,
    /// How many there are, in use or not.
    pub count: u64,
}

/// What only the kernel that has a file system mounted can tell of it. What it does not know is empty.
pub trait Mounted {
    /// Where inodes were made, for a file system that makes them as it needs them.
    fn inode_runs(&self) -> Vec<InodeRun>;
    /// All items of btrfs's chunk tree: each an address and its bytes.
    fn chunk_items(&self) -> Vec<(u64, Vec<u8>)>;
}

/// A file system, or what else lies on a disk, whose blocks have owners.
pub trait Layout: Debug {
    /// Reads what the disk says of itself; `None` where this kind does not begin there.
    ///
    /// # Errors
    /// When the disk cannot be read, and when it contradicts itself.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError>
    where
        Self: Sized;
    /// The file system's name, that of a family for ext2, ext3 and ext4.
    fn name(&self) -> &'static str;
    /// The structures that are no file's.
    fn areas(&self) -> Vec<Area>;
    /// Adds what the kernel knows.
    fn learn(&mut self, _mounted: &dyn Mounted) {}
    /// The blocks that say where the data of a file lies, and what else of it is metadata.
    fn tree_areas(&self, _disk: &dyn ReadAt, _inode: u64, _path: &str) -> Vec<Area> {
        Vec::new()
    }
    /// Where `bytes` bytes at an address that the kernel calls physical lie on this device.
    fn runs(&self, physical: u64, bytes: u64) -> Vec<Run> {
        vec![Run { start: physical, bytes, skipped: 0 }]
    }
    /// What the blocks of a directory hold, its first byte first.
    fn directory(&self) -> Option<Holds> {
        None
    }
    /// What was a file's and is nobody's any more, to be told after all files.
    fn freed(&self) -> Vec<Area> {
        Vec::new()
    }
}
