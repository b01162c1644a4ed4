//! What a package holds, as every kind of package shows it; and why one is not taken.

use std::io::{self, BufRead, Read};

use crate::runner::host::beneath::BeneathError;
use crate::runner::kernel::packing::unpacking;

/// Names are no longer (Linux' PATH_MAX).
pub(super) const NAME_LIMIT: usize = 4096;
/// Why a package is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Not what its first bytes promise.
    #[error("it is not a whole package")]
    Broken(#[source] io::Error),
    /// A name that leads out of it.
    #[error("it has an entry named {0}, which leads out of it: that is not a kernel's package")]
    LeadsOut(String),
    /// More than a kernel can be.
    #[error("it unpacks to far more than a kernel's package of its size does")]
    TooMuch,
    /// Its files cannot be written.
    #[error(transparent)]
    Write(#[from] BeneathError),
}

impl From<io::Error> for PackageError {
    fn from(error: io::Error) -> PackageError {
        match error.kind() {
            io::ErrorKind::FileTooLarge => PackageError::TooMuch,
            _ => PackageError::Broken(error),
        }
    }
}

impl PackageError {
    pub(super) fn broken(what: &str) -> PackageError {
        PackageError::Broken(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()))
    }
}

/// What a package holds under one name.
pub struct Entry<'a> {
    /// The name, as the package has it.
    pub name: &'a [u8],
    /// It is a plain file; links, folders, devices and pipes are not.
    pub is_file: bool,
    /// What is in it.
    pub contents: &'a mut dyn Read,
}

/// Takes what a package holds.
pub type Visit<'v> = dyn FnMut(Entry<'_>) -> Result<(), PackageError> + 'v;

/// What a package says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The packages that a .deb depends on, as its control file lists them.
    pub depends: Vec<String>,
}

/// Bytes that come out of a packed file, up to a limit: a few kilobytes of it may be a disk of zeroes.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let left = u64::try_from(read).ok().and_then(|read| self.left.checked_sub(read));
        self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// Unpacks `input` to at most `limit` bytes.
pub(super) fn bounded<'a>(input: impl BufRead + 'a, limit: u64) -> io::Result<impl Read + 'a> {
    Ok(Bounded { input: unpacking(input)?, left: limit })
}

/// Passes over `length` bytes.
pub(super) fn skip(input: &mut dyn Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
