//! Bytes of a raw file, a block device or a memory file: one code path for all three.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, Flock, FlockArg, OFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek};

use super::error::OpenError;
use super::losses::Losses;
use super::mapped::Mapped;
use crate::descriptor::Description;
use crate::made::MadeFile;
use crate::memory::Buffer;

/// How long a file that is locked is waited for, and how long between two attempts.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Others may read at the same time.
    Read,
    /// Nobody else may have it.
    Write,
    /// Reading alone, while its companion is being made.
    ReadAlone,
}

/// An open file, locked (flock) for as long as this lives.
///
/// A write that finds the file system full has to be an error number and never a SIGBUS, so only
/// pages that are known to be there are touched through a mapping; see [`Mapped`].
#[derive(Debug)]
pub(super) struct Backing {
    file: Flock<File>,
    bytes: u64,
    mapped: Option<Mapped>,
    /// Past the page cache (O_DIRECT), through buffers that the device can reach.
    direct: bool,
    losses: Losses,
}

/// A write that stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    /// How many bytes had been written.
    pub(super) written: u64,
    /// Why it stopped.
    pub(super) source: io::Error,
}

impl Backing {
    /// Opens what exists.
    pub(super) fn open(path: &Path, access: Access) -> Result<Backing, OpenError> {
        let kind = std::fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
            _ => io_error("look at", path, source),
        })?;
        if !kind.is_file() && !is_block_device(&kind) {
            return Err(OpenError::NotADisk(path.to_owned()));
        }
        let file = open_existing(path, &kind, access)?;
        Self::lock(file, path, access)
    }

    /// Makes a sparse file that was not there before.
    pub(super) fn create(path: &Path, bytes: u64) -> Result<Backing, OpenError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(
            |source| match source.kind() {
                io::ErrorKind::AlreadyExists => OpenError::Exists(path.to_owned()),
                _ => io_error("create", path, source),
            },
        )?;
        let sized = file.set_len(bytes).map_err(|source| io_error("size", path, source));
        sized.and_then(|()| Self::lock(file, path, Access::Write)).inspect_err(|_| remove(path))
    }

    /// The file at `path`, which [`Backing::create`] has made; `None` where it cannot be kept in mind.
    pub(super) fn made_at(&self, path: &Path) -> Option<MadeFile> {
        MadeFile::of(path, &self.file).ok()
    }

    /// Makes a sparse memory file.
    pub(super) fn memory(name: &str, bytes: u64) -> Result<Backing, OpenError> {
        let path = PathBuf::from(format!("memory disk ({name})"));
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC)
            .map(File::from)
            .map_err(|errno| io_error("create", &path, errno.into()))?;
        file.set_len(bytes).map_err(|source| io_error("size", &path, source))?;
        Self::lock(file, &path, Access::Write)
    }

    /// Locks a file that is open, so that two daemons never share one image.
    pub(super) fn lock(file: File, path: &Path, access: Access) -> Result<Backing, OpenError> {
        let arg = match access {
            Access::Read => FlockArg::LockSharedNonblock,
            Access::Write | Access::ReadAlone => FlockArg::LockExclusiveNonblock,
        };
        let mut file = lock_soon(file, arg).map_err(|errno| match errno {
            Errno::EWOULDBLOCK => OpenError::InUse(path.to_owned()),
            _ => io_error("lock", path, errno.into()),
        })?;
        // The end of a block device is where its size is; a file's too.
        let bytes = file.seek(SeekFrom::End(0)).map_err(|e| io_error("measure", path, e))?;
        // /dev is a tmpfs too, and what lies there is no memory.
        let is_file = file.metadata().is_ok_and(|kind| kind.is_file());
        let mapped =
            if is_file { Mapped::of(&*file, bytes, access == Access::Write) } else { None };
        let backing = Backing { file, bytes, mapped, direct: false, losses: Losses::none(bytes) };
        backing.find_pages().map_err(|e| io_error("look for the data of", path, e))?;
        Ok(backing)
    }

    /// Notes the pages that a mapped file has already.
    fn find_pages(&self) -> io::Result<()> {
        let Some(mapped) = &self.mapped else { return Ok(()) };
        let mut at = 0;
        while let Some((start, end)) = self.next_data(at)? {
            mapped.note_present(start, end.saturating_sub(start));
            at = end;
        }
        Ok(())
    }

    /// Goes past the page cache from now on, if that can be done in units of `unit` bytes.
    pub(super) fn go_direct(&mut self, unit: usize) -> io::Result<()> {
        if self.mapped.is_some() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let flags = OFlag::from_bits_retain(fcntl(&*self.file, FcntlArg::F_GETFL)?);
        fcntl(&*self.file, FcntlArg::F_SETFL(flags | OFlag::O_DIRECT))?;
        self.direct = true;
        // Not every device takes such small units: the second one, where there is one, is aligned to
        // nothing larger.
        let mut probe = Buffer::new(unit);
        let at = u64::try_from(unit).unwrap_or(0);
        let at = if at.saturating_mul(2) <= self.bytes { at } else { 0 };
        self.file.read_at(&mut probe, at).map(drop)
    }

    /// Whether it goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Whether most copies are made without a system call.
    pub(super) fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// The size when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The size as it is now; a block device's is told only when it is opened.
    pub(super) fn measure(&self) -> io::Result<u64> {
        let now = Description::of(&*self.file)?;
        Ok(if now.is_file() { now.bytes } else { self.bytes })
    }

    /// Makes the file longer; what is added is a hole.
    pub(super) fn extend(&self, bytes: u64) -> io::Result<()> {
        self.require_whole()?;
        self.file.set_len(bytes)?;
        self.losses.grown_to(bytes);
        Ok(())
    }

    /// Gives up what lies behind `bytes`.
    pub(super) fn cut(&self, bytes: u64) -> io::Result<()> {
        if self.measure()? <= bytes {
            return Ok(());
        }
        self.losses.cut_to(bytes);
        self.file.set_len(bytes)
    }

    /// Writes zeros behind everything else; what lies between is a hole.
    pub(super) fn append_zeros(&self, offset: u64, len: usize) -> io::Result<()> {
        self.file.write_all_at(&vec![0; len], offset)
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Somebody else made the file longer, and this is taken over.
    pub(super) fn grown_to(&self, bytes: u64) {
        self.losses.grown_to(bytes);
    }

    /// Refuses a file that somebody else made shorter. Asked before each write, which would make it longer
    /// again, with zeros where something was.
    pub(super) fn require_whole(&self) -> io::Result<()> {
        self.losses.measure(&self.file)
    }

    /// The file's beginning is not what was written there.
    pub(super) fn disown(&self) -> io::Error {
        self.losses.note_short()
    }

    /// Fills `buffer` from `offset` on. A file that became shorter is `UnexpectedEof`, from then on
    /// wherever it is read.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.losses.refuse_short()?;
        self.read_whole(offset, buffer).map_err(|error| self.losses.note(error))
    }

    fn read_whole(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.mapped.as_ref().is_some_and(|mapped| mapped.read(offset, buffer)) {
            return Ok(());
        }
        if self.direct {
            let mut reached = Buffer::new(buffer.len());
            self.file.read_exact_at(&mut reached, offset)?;
            buffer.copy_from_slice(&reached);
            return Ok(());
        }
        self.file.read_exact_at(buffer, offset)
    }

    /// Lets `copy` have the bytes where they lie, if they lie in memory; see [`Mapped::in_place`].
    pub(super) fn in_place(&self, offset: u64, len: usize, copy: impl FnOnce(*const u8)) -> bool {
        let mapped = self.mapped.as_ref().filter(|_| self.losses.refuse_short().is_ok());
        mapped.is_some_and(|mapped| mapped.in_place(offset, len, copy))
    }

    /// These bytes will be touched soon.
    pub(super) fn expect(&self, offset: u64, len: usize) {
        if let Some(mapped) = &self.mapped {
            mapped.expect(offset, len);
        }
    }

    /// Writes all of `bytes`, or says how far it came.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Stopped> {
        match &self.mapped {
            Some(mapped) if mapped.write(offset, bytes) => Ok(()),
            Some(mapped) => {
                self.write_file(offset, bytes)?;
                mapped.note_present(offset, u64::try_from(bytes.len()).unwrap_or(0));
                Ok(())
            }
            None if self.direct => self.write_file(offset, &Buffer::with(bytes)),
            None => self.write_file(offset, bytes),
        }
    }

    fn write_file(&self, offset: u64, bytes: &[u8]) -> Result<(), Stopped> {
        let mut written: u64 = 0;
        let mut rest = bytes;
        self.require_whole().map_err(|source| Stopped { written, source })?;
        while !rest.is_empty() {
            match self.file.write_at(rest, offset.saturating_add(written)) {
                Ok(0) => return Err(Stopped { written, source: io::ErrorKind::WriteZero.into() }),
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    written = written.saturating_add(u64::try_from(n).unwrap_or(0));
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Stopped { written, source }),
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros and gives its space back where the file system can.
    pub(super) fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len)
    }

    /// Makes a range read as zeros and keeps its space.
    pub(super) fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, len)
    }

    fn clear(&self, how: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.require_whole()?;
        if let Some(mapped) = &self.mapped {
            mapped.note_absent(offset, len);
        }
        let flags = how | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&*self.file, flags, signed(offset)?, signed(len)?) {
            Ok(()) => Ok(()),
            // Not every file system and device can, and a device only in units of its own sectors.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::EINTR) => {
                self.write_zeros(offset, len)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let end = offset.saturating_add(len);
        let mut at = offset;
        while at < end {
            let step = usize::try_from(end - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
            let piece = ZEROS.get(..step).unwrap_or(&ZEROS);
            self.write(at, piece).map_err(|stopped| stopped.source)?;
            at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Waits until everything written so far is on stable storage (fdatasync). Where that fails once, or
    /// something of the file is gone, it fails every time.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.losses.flush(&self.file)
    }

    /// The next range at or after `offset` that is not a hole, or `None` where only holes follow.
    pub(super) fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let start = match lseek(&*self.file, signed(offset)?, Whence::SeekData) {
            Ok(start) => u64::try_from(start).unwrap_or(offset),
            Err(Errno::ENXIO) => return Ok(None),
            // Block devices have no holes to tell.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
                return Ok((offset < self.bytes).then_some((offset, self.bytes)));
            }
            Err(errno) => return Err(errno.into()),
        };
        let end = lseek(&*self.file, signed(start)?, Whence::SeekHole)?;
        Ok(Some((start, u64::try_from(end).unwrap_or(self.bytes))))
    }
}

impl AsRawFd for Backing {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Locks a file that is free, or becomes so in a moment: a killed daemon's direct transfers keep its
/// files open in the kernel until they have ended.
fn lock_soon(file: File, arg: FlockArg) -> Result<Flock<File>, Errno> {
    let give_up = Instant::now() + LOCK_PATIENCE;
    let mut file = file;
    loop {
        match Flock::lock(file, arg) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < give_up => file = back,
            Err((_, errno)) => return Err(errno),
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// A system call on `path` that failed.
pub(super) fn io_error(what: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { what, path: path.to_owned(), source }
}

/// Whether this is a block device.
pub(super) fn is_block_device(kind: &Metadata) -> bool {
    kind.file_type().is_block_device()
}

/// Removes a file that was made a moment ago and is of no use; what is left of it is only noise.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

fn open_existing(path: &Path, kind: &Metadata, access: Access) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::Write);
    if access == Access::Write && is_block_device(kind) {
        // Without O_CREAT, O_EXCL asks the kernel for a device that nobody has mounted (open(2)).
        options.custom_flags(libc::O_EXCL);
    }
    options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => OpenError::DeviceBusy(path.to_owned()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            if access == Access::Write =>
        {
            OpenError::NotWritable { path: path.to_owned(), source }
        }
        _ => io_error("open", path, source),
    })
}

/// Offsets below 2^63, as the system takes them.
fn signed(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
