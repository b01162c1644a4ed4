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
pub mod fields;
mod layout;
mod map;
mod swap;
mod told;
mod xfs;

pub use area::{Area, joined};
pub use btrfs::Btrfs;
pub use bytes::ReadAt;
pub use ext4::Ext4;
pub use layout::{InodeRun, Layout, LayoutError, Mounted, Run};
pub use map::{Map, freed};
pub use told::{TOLD, Told};
pub use xfs::Xfs;

/// Reads one kind of layout off a disk.
type Read = fn(&dyn ReadAt) -> Result<Option<Box<dyn Layout>>, LayoutError>;

/// What is looked for on a disk, in this order.
static LAYOUTS: [Read; 6] = [
    read_as::<Ext4>,
    read_as::<Xfs>,
    read_as::<Btrfs>,
    read_as::<swap::Swap>,
    read_as::<f2fs::F2fs>,
    read_as::<fat::Fat>,
];

fn read_as<L: Layout + 'static>(disk: &dyn ReadAt) -> Result<Option<Box<dyn Layout>>, LayoutError> {
    Ok(L::read(disk)?.map(|layout| -> Box<dyn Layout> { Box::new(layout) }))
}

/// Reads what lies on `disk`; `None` where no known file system begins there.
///
/// # Errors
/// When the disk cannot be read, and when a file system contradicts itself.
pub fn layout(disk: &dyn ReadAt) -> Result<Option<Box<dyn Layout>>, LayoutError> {
    for read in LAYOUTS {
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
