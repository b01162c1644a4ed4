//! Whose block it was: from an address of the disk to a file, the journal or a metadata structure.
//!
//! Pure: it reads bytes through [`ReadAt`], and so serves the helper in the guest, which is the only
//! one that can see a disk in memory, as well as images on the host. The guest adds what only a
//! running kernel knows, files foremost, and hands everything over as [`Area`]s; the host puts them
//! into a [`Map`] and asks it for each race.

mod area;
mod btrfs;
mod bytes;
mod ext4;
mod f2fs;
mod fat;
mod map;
mod swap;
mod told;
mod xfs;

pub use area::{Area, joined};
pub use btrfs::{Btrfs, Chunk, ChunkKind};
pub use bytes::ReadAt;
pub use ext4::Ext4;
pub use map::{Map, freed};
pub use told::{TOLD, Told};
pub use xfs::Xfs;

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

/// What a disk says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The file system's name, that of a family for ext2, ext3 and ext4.
    pub name: &'static str,
    /// The structures whose place is fixed.
    pub areas: Vec<Area>,
    /// What finding a file's blocks takes.
    pub details: Details,
}

/// What is known of a file system beyond its fixed structures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Details {
    /// Nothing.
    None,
    /// Inode tables: the blocks of a file's own tree can be found.
    Ext4(Ext4),
    /// The geometry that turns an inode's number into its place.
    Xfs(Xfs),
    /// What the kernel calls physical is an address that chunks translate.
    Btrfs(Btrfs),
}

/// Reads what lies on `disk`; `None` where no known file system begins there.
///
/// # Errors
/// When the disk cannot be read, and when a file system contradicts itself.
pub fn layout(disk: &dyn ReadAt) -> Result<Option<Layout>, LayoutError> {
    for read in [Ext4::read, Xfs::read, Btrfs::read, swap::read, f2fs::read, fat::read] {
        match read(disk) {
            Ok(None) => {}
            // Too short for a superblock at that place.
            Err(LayoutError::Read(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            found => return found,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
