//! What can go wrong with a medium, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::pi::PiType;
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

/// Why files do not make a disk. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No data file, and no size to make one of.
    #[error(
        "{0} does not exist: create it with 'dixtrap image create', or start dixtrapd with --size SIZE (and without --read-only)"
    )]
    Missing(PathBuf),
    /// A system call failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing is not allowed.
    #[error("{path} cannot be opened for writing: change its permissions or use --read-only")]
    NotWritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a pipe, a socket.
    #[error("{0} is neither a regular file nor a block device: name one of those")]
    NotADisk(PathBuf),
    /// A file system or device that does not do direct I/O, or not in units so small.
    #[error(
        "{path} cannot be read directly in units of {unit} bytes: leave --direct out, or use \
         --block-size 4096 where its device has sectors of that size"
    )]
    NotDirect {
        /// Which file.
        path: PathBuf,
        /// The size of a block.
        unit: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A lock on the file is held.
    #[error("{0} is in use by another dixtrapd or dixtrap image: end that one first")]
    InUse(PathBuf),
    /// A block device that something mounted or claimed.
    #[error("{0} is mounted or claimed on this host: unmount it first")]
    DeviceBusy(PathBuf),
    /// A disk of no blocks.
    #[error("{0} is empty: remove it and let --size or 'dixtrap image create' make it")]
    Empty(PathBuf),
    /// A part of a block at the end.
    #[error(
        "{path} is {bytes} bytes long, which is not a multiple of the block size {block_size}: \
         extend it with 'truncate -s %{block_size} {path}', or use another --block-size"
    )]
    PartialBlock {
        /// The data file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size of a block.
        block_size: BlockSize,
    },
    /// A size that was asked for is not a number of blocks.
    #[error("size {size} is not a multiple of the block size {block_size}: choose one that is")]
    OddSize {
        /// What was asked for.
        size: ByteSize,
        /// The size of a block.
        block_size: BlockSize,
    },
    /// `--size` and the file disagree.
    #[error("{path} is {bytes} bytes long and --size asks for {asked}: leave --size out")]
    SizeDiffers {
        /// The data file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What was asked for.
        asked: ByteSize,
    },
    /// A file that was to be created is there already.
    #[error("{0} exists already and is not overwritten: remove it or choose another name")]
    Exists(PathBuf),
    /// Data without protection information.
    #[error(
        "{data} has no PI file {pi}: make one from the data with 'dixtrap image adopt', \
         name the right one with --pi-file, or use --pi-type 0"
    )]
    NoPiFile {
        /// The data file.
        data: PathBuf,
        /// The file that should hold its protection information.
        pi: PathBuf,
    },
    /// Protection information without data.
    #[error(
        "{pi} exists but its data file {data} does not: remove the PI file, or restore the data"
    )]
    OrphanPiFile {
        /// The data file that is missing.
        data: PathBuf,
        /// The file left behind.
        pi: PathBuf,
    },
    /// Writing without protection would make the PI file wrong.
    #[error(
        "{data} has protection information in {pi}, which --pi-type 0 would make wrong: leave --pi-type out, or remove the PI file"
    )]
    PiNotAsked {
        /// The data file.
        data: PathBuf,
        /// Its PI file.
        pi: PathBuf,
    },
    /// A block device's PI file has no natural place.
    #[error(
        "{0} is a block device, and a file in /dev is lost at reboot: say with --pi-file where its protection information is kept"
    )]
    NoPlaceForPi(PathBuf),
    /// The file is not a PI file, or is damaged.
    #[error(
        "{pi} {why}: check the name given with --pi-file, or remove it and make a new one with 'dixtrap image adopt'"
    )]
    NotAPiFile {
        /// The file.
        pi: PathBuf,
        /// What is wrong with it.
        why: HeaderError,
    },
    /// A PI file of the wrong length.
    #[error(
        "{pi} is {bytes} bytes long where its header promises {expected}: \
         make a new one from the data with 'dixtrap image adopt --replace'"
    )]
    PiLength {
        /// The PI file.
        pi: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size that its header gives it.
        expected: u64,
    },
    /// A PI file for another number of blocks.
    #[error(
        "{pi} is for {has} blocks and the data is {wanted} blocks long: name the PI file that belongs \
         to it with --pi-file, or make a new one with 'dixtrap image adopt --replace'"
    )]
    PiBlocks {
        /// The PI file.
        pi: PathBuf,
        /// How many blocks it covers.
        has: BlockCount,
        /// How many there are.
        wanted: BlockCount,
    },
    /// A PI file for another block size.
    #[error(
        "{pi} is for blocks of {has} bytes, not {asked}: use --block-size {has}, \
         or make a new one with 'dixtrap image adopt --replace --block-size {asked}'"
    )]
    PiBlockSize {
        /// The PI file.
        pi: PathBuf,
        /// Its block size.
        has: BlockSize,
        /// The one asked for.
        asked: BlockSize,
    },
    /// A PI file of another type.
    #[error(
        "{pi} holds protection information of type {has}, not {asked}: use --pi-type {has}, \
         or make a new one with 'dixtrap image adopt --replace --pi-type {asked}'"
    )]
    PiTypeDiffers {
        /// The PI file.
        pi: PathBuf,
        /// Its type.
        has: PiType,
        /// The one asked for.
        asked: PiType,
    },
}

/// Why a page is not the header of a PI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Shorter than a header, or other magic bytes.
    #[error("is not a PI file")]
    Foreign,
    /// Made by a later dixtrap.
    #[error("has format version {0}, which this dixtrap does not know")]
    Version(u32),
    /// The checksum does not fit, or a field has a value that nobody wrote.
    #[error("has a damaged header")]
    Damaged,
}

/// Why a request did not reach, or did not come from, the medium.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Blocks that do not exist.
    #[error("{count} blocks at LBA {lba} reach past the disk's {blocks} blocks")]
    OutOfRange {
        /// The first block.
        lba: Lba,
        /// How many.
        count: BlockCount,
        /// How many there are.
        blocks: BlockCount,
    },
    /// Data that is not one block for each tuple.
    #[error("{bytes} bytes do not go with {tuples} tuples of blocks of {block_size} bytes")]
    Lengths {
        /// Bytes of data.
        bytes: usize,
        /// Number of tuples.
        tuples: usize,
        /// The size of a block.
        block_size: BlockSize,
    },
    /// A change to a disk that was opened to be read.
    #[error("the disk is read-only")]
    ReadOnly,
    /// A change after [`super::Disk::close`].
    #[error("the disk is closed")]
    Closed,
    /// A system call failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried, as a verb and its object.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl MediaError {
    /// The system's error number where the system refused: ENOSPC for a full disk.
    pub fn errno(&self) -> Option<i32> {
        match self {
            MediaError::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
