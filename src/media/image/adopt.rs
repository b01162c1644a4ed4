//! Protection information for data that has none.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::{Image, ImageError, Progress, chunk_blocks};
use crate::media::backing::{Access, Backing};
use crate::media::error::{HeaderError, OpenError};
use crate::media::geometry::Geometry;
use crate::media::header::Header;
use crate::media::open::{format_pi, require_place_for_pi, whole_blocks};
use crate::media::pi_file::PiFile;
use crate::pi::{PiType, generate};
use crate::units::{BlockCount, BlockSize, Lba};

/// How to adopt. What is left out comes from the PI file that is replaced, or is 512 bytes and Type 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adoption {
    /// The size of a logical block.
    pub block_size: Option<BlockSize>,
    /// The protection type.
    pub pi_type: Option<PiType>,
    /// Replaces a PI file that is there.
    pub replace: bool,
}

/// What was adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The image's shape.
    pub geometry: Geometry,
    /// Blocks that have protection information now; the others are holes of the data file.
    pub protected: BlockCount,
}

/// Computes the PI of all data and puts it into place in one step; `progress` hears how far
/// it is.
///
/// The data is read and not changed. A PI file that is replaced stays as it is until the new one
/// is complete.
pub fn adopt(image: &Image, how: Adoption, progress: Progress<'_>) -> Result<Adopted, ImageError> {
    require_place_for_pi(&image.path, image.pi_file.as_deref())?;
    let pi_path = image.pi_path();
    let data = Backing::open(&image.path, Access::ReadAlone)?;
    let replaced = existing_header(&pi_path, how.replace)?;
    let geometry = geometry(&image.path, &data, how, replaced)?;
    let (pi, name) = new_pi_file(&pi_path, geometry)?;
    let protected = compute(&data, &pi, geometry, progress).map_err(|error| match error {
        ComputeError::Read(source) => {
            OpenError::Io { what: "read", path: image.path.clone(), source }.into()
        }
        ComputeError::Write(source) => write_error(&pi_path, source),
    })?;
    pi.sync().map_err(|source| write_error(&pi_path, source))?;
    let placed =
        if how.replace { name.persist(&pi_path) } else { name.persist_noclobber(&pi_path) };
    placed.map_err(|error| write_error(&pi_path, error.error))?;
    Ok(Adopted { geometry, protected })
}

/// What the PI file says that is to be replaced; a file that is not one is never replaced.
fn existing_header(pi: &Path, replace: bool) -> Result<Option<Header>, ImageError> {
    match PiFile::open(pi, Access::Read) {
        Err(OpenError::Missing(_)) => Ok(None),
        _ if !replace => Err(ImageError::PiExists(pi.to_owned())),
        Ok(file) => Ok(Some(file.header())),
        Err(
            OpenError::PiLength { .. }
            | OpenError::NotAPiFile { why: HeaderError::Damaged | HeaderError::Version(_), .. },
        ) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn geometry(
    path: &Path,
    data: &Backing,
    how: Adoption,
    replaced: Option<Header>,
) -> Result<Geometry, ImageError> {
    let block_size =
        how.block_size.or(replaced.map(|header| header.block_size)).unwrap_or(BlockSize::B512);
    let pi_type = how.pi_type.or(replaced.map(|header| header.pi_type)).unwrap_or(PiType::Type1);
    if !pi_type.is_protected() {
        return Err(ImageError::Unprotected);
    }
    let blocks = whole_blocks(path, data.bytes(), block_size)?;
    Ok(Geometry { block_size, blocks, pi_type, read_only: true })
}

/// A PI file under a name of its own, which goes away unless it is put into place.
fn new_pi_file(pi: &Path, geometry: Geometry) -> Result<(PiFile, TempPath), ImageError> {
    let beside = pi.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (file, name) = tempfile::Builder::new()
        .prefix(".dixtrap-adopt-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(beside.unwrap_or(Path::new(".")))
        .map_err(|source| write_error(pi, source))?
        .into_parts();
    file.set_len(PiFile::bytes_for(geometry.blocks)).map_err(|e| write_error(pi, e))?;
    let backing = Backing::lock(file, &name, Access::Write)?;
    Ok((format_pi(backing, geometry, pi)?, name))
}

enum ComputeError {
    Read(io::Error),
    Write(io::Error),
}

/// Generates the tuples of everything that is not a hole.
fn compute(
    data: &Backing,
    pi: &PiFile,
    geometry: Geometry,
    progress: Progress<'_>,
) -> Result<BlockCount, ComputeError> {
    let block = geometry.block_size.bytes_u64();
    let chunk = chunk_blocks(geometry.block_size);
    let mut protected = BlockCount(0);
    let mut at = Lba(0);
    while let Some((start, end)) =
        data.next_data(at.0.saturating_mul(block)).map_err(ComputeError::Read)?
    {
        // A hole may begin or end inside a block; the whole block counts as data then.
        let first = Lba((start / block).max(at.0));
        let last = end.div_ceil(block).min(geometry.blocks.0);
        let count = BlockCount(last.saturating_sub(first.0).min(chunk.0));
        if count.0 == 0 {
            break;
        }
        compute_range(data, pi, geometry, first, count)?;
        protected.0 = protected.0.saturating_add(count.0);
        at = first.offset(count.0);
        progress(BlockCount(at.0), geometry.blocks);
    }
    progress(geometry.blocks, geometry.blocks);
    Ok(protected)
}

fn compute_range(
    data: &Backing,
    pi: &PiFile,
    geometry: Geometry,
    lba: Lba,
    count: BlockCount,
) -> Result<(), ComputeError> {
    let block = geometry.block_size;
    let blocks = usize::try_from(count.0).unwrap_or(0);
    let mut bytes = vec![0; blocks.saturating_mul(block.bytes())];
    let offset = lba.0.saturating_mul(block.bytes_u64());
    data.read(offset, &mut bytes).map_err(ComputeError::Read)?;
    let tuples = bytes
        .chunks(block.bytes())
        .zip((lba.0..).map(Lba))
        .map(|(block, lba)| generate(geometry.pi_type, block, lba));
    pi.write_each(lba, tuples).map_err(ComputeError::Write)
}

fn write_error(pi: &Path, source: io::Error) -> ImageError {
    ImageError::Write { pi: PathBuf::from(pi), source }
}
