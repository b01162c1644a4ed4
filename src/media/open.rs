//! Which files make a disk. Whatever does not fit is an error; nothing that exists is overwritten.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::backing::{Access, Backing, io_error, is_block_device, remove};
use super::error::OpenError;
use super::geometry::Geometry;
use super::header::{Header, State};
use super::pi_file::PiFile;
use crate::made::MadeFile;
use crate::pi::PiType;
use crate::units::{BlockCount, BlockSize, ByteSize};

/// The size of a memory disk that nobody gave a size.
pub const DEFAULT_SIZE: ByteSize = ByteSize(1 << 30);

/// What to open.
#[derive(Debug, Clone)]
pub struct DiskSpec {
    /// Raw file or block device; `None` is a memory disk.
    pub file: Option<PathBuf>,
    /// The disk's size. Creates a file that is missing; must agree with one that exists.
    pub size: Option<ByteSize>,
    /// The size of a logical block.
    pub block_size: BlockSize,
    /// The protection type; [`PiType::None`] has no PI file.
    pub pi_type: PiType,
    /// Where the protection information is kept; the file's name with `.pi` when left out.
    pub pi_file: Option<PathBuf>,
    /// Opens both files to be read, and creates none.
    pub read_only: bool,
    /// Goes past the page cache to the data.
    pub direct: bool,
}

/// Open, locked files that belong together.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) data: Backing,
    pub(super) pi: Option<PiFile>,
    pub(super) geometry: Geometry,
    /// Files that were not there before.
    pub(super) made: Vec<MadeFile>,
}

/// Opens, or creates, what the specification names.
pub(super) fn open(spec: &DiskSpec) -> Result<Parts, OpenError> {
    let made = spec.file.as_ref().filter(|path| !path.exists());
    let mut parts = open_buffered(spec)?;
    let unit = spec.block_size.bytes();
    if let Some(path) = spec.file.as_ref().filter(|_| spec.direct)
        && let Err(source) = parts.data.go_direct(unit)
    {
        if let Some(data) = made {
            remove(data);
            parts.pi.iter().for_each(|_| remove(&pi_path_of(data, spec.pi_file.as_deref())));
        }
        return Err(OpenError::NotDirect { path: path.to_owned(), unit, source });
    }
    Ok(parts)
}

fn open_buffered(spec: &DiskSpec) -> Result<Parts, OpenError> {
    match (&spec.file, spec.size) {
        (None, size) => open_memory(spec, size.unwrap_or(DEFAULT_SIZE)),
        (Some(path), Some(size)) if !spec.read_only && !path.exists() => {
            create(path, spec.pi_file.as_deref(), size, spec.block_size, spec.pi_type)
        }
        (Some(path), size) => open_files(spec, path, size),
    }
}

fn open_memory(spec: &DiskSpec, size: ByteSize) -> Result<Parts, OpenError> {
    let geometry = geometry_of(spec.block_size, spec.pi_type, size)?;
    let data = Backing::memory("data", size.0)?;
    let pi = if geometry.pi_type.is_protected() {
        let backing = Backing::memory("pi", PiFile::bytes_for(geometry.blocks))?;
        Some(format_pi(backing, geometry, Path::new("memory disk (pi)"))?)
    } else {
        None
    };
    let geometry = Geometry { read_only: spec.read_only, ..geometry };
    Ok(Parts { data, pi, geometry, made: Vec::new() })
}

/// Makes a sparse data file and its PI file; where one cannot be made, none is left behind.
pub(super) fn create(
    path: &Path,
    pi_file: Option<&Path>,
    size: ByteSize,
    block_size: BlockSize,
    pi_type: PiType,
) -> Result<Parts, OpenError> {
    let geometry = geometry_of(block_size, pi_type, size)?;
    let pi_path = pi_path_of(path, pi_file);
    if path.exists() {
        return Err(OpenError::Exists(path.to_owned()));
    }
    if pi_path.exists() {
        return Err(OpenError::OrphanPiFile { data: path.to_owned(), pi: pi_path });
    }
    let data = Backing::create(path, size.0)?;
    let mut made = Vec::from_iter(data.made_at(path));
    let mut pi = None;
    if pi_type.is_protected() {
        let (file, made_pi) = create_pi(&pi_path, geometry).inspect_err(|_| remove(path))?;
        pi = Some(file);
        made.extend(made_pi);
    }
    Ok(Parts { data, pi, geometry, made })
}

fn create_pi(path: &Path, geometry: Geometry) -> Result<(PiFile, Option<MadeFile>), OpenError> {
    let backing = Backing::create(path, PiFile::bytes_for(geometry.blocks))?;
    let made = backing.made_at(path);
    Ok((format_pi(backing, geometry, path).inspect_err(|_| remove(path))?, made))
}

/// Gives a new PI file its header.
pub(super) fn format_pi(
    backing: Backing,
    geometry: Geometry,
    path: &Path,
) -> Result<PiFile, OpenError> {
    let Geometry { block_size, pi_type, blocks, .. } = geometry;
    let header = Header { block_size, pi_type, blocks, state: State::Clean };
    PiFile::format(backing, header).map_err(|e| io_error("write the header of", path, e))
}

fn open_files(spec: &DiskSpec, path: &Path, size: Option<ByteSize>) -> Result<Parts, OpenError> {
    let access = if spec.read_only { Access::Read } else { Access::Write };
    let data = Backing::open(path, access)?;
    let blocks = whole_blocks(path, data.bytes(), spec.block_size)?;
    if let Some(asked) = size.filter(|asked| asked.0 != data.bytes()) {
        return Err(OpenError::SizeDiffers { path: path.to_owned(), bytes: data.bytes(), asked });
    }
    let DiskSpec { block_size, pi_type, read_only, .. } = *spec;
    let geometry = Geometry { block_size, blocks, pi_type, read_only };
    let pi = open_pi(spec, path, geometry, access)?;
    let geometry = pi.as_ref().map_or(geometry, |pi| as_left(pi.header(), geometry));
    Ok(Parts { data, pi, geometry, made: Vec::new() })
}

/// Opens the PI file that belongs to existing data.
fn open_pi(
    spec: &DiskSpec,
    path: &Path,
    geometry: Geometry,
    access: Access,
) -> Result<Option<PiFile>, OpenError> {
    let pi = pi_path_of(path, spec.pi_file.as_deref());
    if !spec.pi_type.is_protected() {
        if pi.exists() && !spec.read_only {
            return Err(OpenError::PiNotAsked { data: path.to_owned(), pi });
        }
        return Ok(None);
    }
    require_place_for_pi(path, spec.pi_file.as_deref())?;
    let file = PiFile::open(&pi, access).map_err(|error| match error {
        OpenError::Missing(pi) => OpenError::NoPiFile { data: path.to_owned(), pi },
        other => other,
    })?;
    require_same(&pi, file.header(), as_left(file.header(), geometry))?;
    Ok(Some(file))
}

/// Opens data to be read, and the PI file for `access`, with the geometry that the PI file's header gives.
pub(super) fn open_as_header_says(
    path: &Path,
    pi_file: Option<&Path>,
    access: Access,
) -> Result<Parts, OpenError> {
    require_place_for_pi(path, pi_file)?;
    let pi_path = pi_path_of(path, pi_file);
    let data = Backing::open(path, Access::Read)?;
    let pi = PiFile::open(&pi_path, access).map_err(|error| match error {
        OpenError::Missing(pi) => OpenError::NoPiFile { data: path.to_owned(), pi },
        other => other,
    })?;
    let Header { block_size, pi_type, .. } = pi.header();
    let blocks = whole_blocks(path, data.bytes(), block_size)?;
    let geometry = Geometry { block_size, blocks, pi_type, read_only: true };
    let geometry = as_left(pi.header(), geometry);
    require_same(&pi_path, pi.header(), geometry)?;
    Ok(Parts { data, pi: Some(pi), geometry, made: Vec::new() })
}

/// The disk as a killed process left it: data that grew just before may not have been taken over, and is
/// later, as by a daemon that is running.
fn as_left(header: Header, geometry: Geometry) -> Geometry {
    let grew = header.state == State::InUse && header.blocks < geometry.blocks;
    if grew { Geometry { blocks: header.blocks, ..geometry } } else { geometry }
}

/// Holds a PI file's header against the disk that is to be opened.
fn require_same(pi: &Path, header: Header, geometry: Geometry) -> Result<(), OpenError> {
    let pi = pi.to_owned();
    if header.block_size != geometry.block_size {
        let (has, asked) = (header.block_size, geometry.block_size);
        return Err(OpenError::PiBlockSize { pi, has, asked });
    }
    if header.pi_type != geometry.pi_type {
        let (has, asked) = (header.pi_type, geometry.pi_type);
        return Err(OpenError::PiTypeDiffers { pi, has, asked });
    }
    if header.blocks != geometry.blocks {
        let (has, wanted) = (header.blocks, geometry.blocks);
        return Err(OpenError::PiBlocks { pi, has, wanted });
    }
    Ok(())
}

/// The PI file of a data file.
pub(super) fn pi_path_of(path: &Path, pi_file: Option<&Path>) -> PathBuf {
    pi_file.map_or_else(
        || {
            let mut name = OsString::from(path);
            name.push(".pi");
            PathBuf::from(name)
        },
        Path::to_owned,
    )
}

/// A block device's PI file has to be named: beside the device there is only /dev.
pub(super) fn require_place_for_pi(path: &Path, pi_file: Option<&Path>) -> Result<(), OpenError> {
    let is_device = std::fs::metadata(path).is_ok_and(|kind| is_block_device(&kind));
    if is_device && pi_file.is_none() {
        return Err(OpenError::NoPlaceForPi(path.to_owned()));
    }
    Ok(())
}

/// How many blocks a file of this size holds.
pub(super) fn whole_blocks(
    path: &Path,
    bytes: u64,
    block_size: BlockSize,
) -> Result<BlockCount, OpenError> {
    if bytes == 0 {
        return Err(OpenError::Empty(path.to_owned()));
    }
    block_size.blocks_in(bytes).ok_or_else(|| OpenError::PartialBlock {
        path: path.to_owned(),
        bytes,
        block_size,
    })
}

/// The geometry of a disk that is to be made.
fn geometry_of(
    block_size: BlockSize,
    pi_type: PiType,
    size: ByteSize,
) -> Result<Geometry, OpenError> {
    let blocks = block_size.blocks_in(size.0).ok_or(OpenError::OddSize { size, block_size })?;
    Ok(Geometry { block_size, blocks, pi_type, read_only: false })
}
