//! What `dixtrap image` does to a data file and its PI file while no daemon has them.

mod adopt;
mod check;
mod dump;

use std::fmt;
use std::path::PathBuf;

pub use adopt::{Adopted, Adoption, adopt};
pub use check::{BadBlock, CheckReport, check};
pub use dump::{DumpedBlock, dump};

use super::error::{MediaError, OpenError};
use super::geometry::Geometry;
use super::open;
use crate::pi::{Check, Mismatch, PiType};
use crate::units::{BlockCount, BlockSize, ByteSize};

/// How many bytes of data are read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Hears how many blocks are done, and of how many.
pub type Progress<'a> = &'a mut dyn FnMut(BlockCount, BlockCount);

/// Where an image is.
#[derive(Debug, Clone)]
pub struct Image {
    /// The data: a raw file or a block device.
    pub path: PathBuf,
    /// The PI file; the data file's name with `.pi` when left out.
    pub pi_file: Option<PathBuf>,
}

impl Image {
    /// Where the protection information is.
    pub fn pi_path(&self) -> PathBuf {
        open::pi_path_of(&self.path, self.pi_file.as_deref())
    }
}

/// Why an image could not be worked on.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The files do not make a disk.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A block could not be read.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// There is protection information already.
    #[error(
        "{0} exists already: verify it with 'dixtrap image check', \
         or make it anew from the data with 'dixtrap image adopt --replace'"
    )]
    PiExists(PathBuf),
    /// No protection was asked for, and there is nothing to do.
    #[error("protection type 0 has no protection information: use --pi-type 1, 2 or 3")]
    Unprotected,
    /// The new PI file could not be written.
    #[error("cannot write {pi}")]
    Write {
        /// The PI file.
        pi: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Makes a sparse image: a data file and, with protection, a PI file in which nothing was written yet.
pub fn create(
    image: &Image,
    size: ByteSize,
    block_size: BlockSize,
    pi_type: PiType,
) -> Result<Geometry, ImageError> {
    let parts = open::create(&image.path, image.pi_file.as_deref(), size, block_size, pi_type)?;
    Ok(parts.geometry)
}

/// How many blocks are read at once.
fn chunk_blocks(block_size: BlockSize) -> BlockCount {
    BlockCount(CHUNK_BYTES / block_size.bytes_u64())
}

/// Says which check failed and on what.
fn write_mismatch(f: &mut fmt::Formatter<'_>, mismatch: Mismatch) -> fmt::Result {
    let Mismatch { check, stored, computed } = mismatch;
    let digits = if check == Check::Reference { 8 } else { 4 };
    write!(
        f,
        "{} tag does not fit: stored {stored:0digits$x}, computed {computed:0digits$x}",
        check.name()
    )
}
