//! `dixtrap-guest map …`: a linear device-mapper device over a part of a disk, made with the kernel's
//! own ioctls (Linux `include/uapi/linux/dm-ioctl.h`), so that no guest needs dmsetup.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::minor;

/// Where the device mapper listens.
const CONTROL: &str = "/dev/mapper/control";
/// The interface's version that is spoken; any kernel of version 4 takes it.
const VERSION: [u32; 3] = [4, 0, 0];
/// The size of `struct dm_ioctl`.
const HEADER: usize = 312;
/// The size of `struct dm_target_spec`, which the target's parameters follow.
const SPEC: usize = 40;
/// The room for a request: the header, one target and its parameters.
const ROOM: usize = 1024;
/// The longest name, its zero byte included.
const NAME: usize = 128;

/// Offsets in `struct dm_ioctl`.
mod at {
    pub const DATA_SIZE: usize = 12;
    pub const DATA_START: usize = 16;
    pub const TARGET_COUNT: usize = 20;
    pub const DEV: usize = 40;
    pub const NAME: usize = 48;
}

/// The commands that are used.
#[derive(Debug, Clone, Copy)]
enum Command {
    Create,
    Remove,
    Resume,
    Load,
}

impl Command {
    fn request(self) -> libc::Ioctl {
        // Linux: DM_DEV_CREATE_CMD, DM_DEV_REMOVE_CMD, DM_DEV_SUSPEND_CMD, DM_TABLE_LOAD_CMD.
        match self {
            Command::Create => nix::request_code_readwrite!(0xfd, 3, HEADER),
            Command::Remove => nix::request_code_readwrite!(0xfd, 4, HEADER),
            Command::Resume => nix::request_code_readwrite!(0xfd, 6, HEADER),
            Command::Load => nix::request_code_readwrite!(0xfd, 9, HEADER),
        }
    }
}

/// Why a device cannot be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The device mapper is not there.
    #[error("this kernel has no device mapper (module dm_mod)")]
    NoMapper(#[source] io::Error),
    /// A name or a path that does not fit.
    #[error("'{0}' is too long")]
    TooLong(String),
    /// The kernel refused an ioctl of the device mapper.
    #[error("the device mapper refused to {0} {1}")]
    Refused(&'static str, String, #[source] io::Error),
}

impl MapError {
    /// This kernel cannot do it; nothing went wrong.
    pub fn is_lack(&self) -> bool {
        matches!(self, MapError::NoMapper(_))
    }
}

/// A part of a disk, in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first sector.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// Makes the device `name` over `part` of `disk` and returns its node.
///
/// # Errors
/// [`MapError::NoMapper`] where the kernel has no device mapper.
pub fn create(name: &str, disk: &Path, part: Part) -> Result<PathBuf, MapError> {
    let control = open()?;
    let refused = |what| move |error| MapError::Refused(what, name.to_owned(), error);
    let mut request = Request::new(name)?;
    request.send(&control, Command::Create).map_err(refused("create"))?;
    let minor = minor(request.device());
    let mut load = Request::new(name)?;
    load.target(disk, part)?;
    let loaded = load.send(&control, Command::Load).map_err(refused("load a table for"));
    let resumed = loaded.and_then(|()| {
        Request::new(name)?.send(&control, Command::Resume).map_err(refused("start"))
    });
    if resumed.is_err() {
        // What is half made must not be in the way of the next one.
        let _ = remove(name);
    }
    resumed.map(|()| PathBuf::from(format!("/dev/dm-{minor}")))
}

/// Removes the device `name`.
///
/// # Errors
/// When it is in use, or not there.
pub fn remove(name: &str) -> Result<(), MapError> {
    let refused = |error| MapError::Refused("remove", name.to_owned(), error);
    Request::new(name)?.send(&open()?, Command::Remove).map_err(refused)
}

fn open() -> Result<File, MapError> {
    OpenOptions::new().read(true).write(true).open(CONTROL).map_err(MapError::NoMapper)
}

/// A `struct dm_ioctl` with what follows it.
struct Request(Box<[u8; ROOM]>);

impl Request {
    fn new(name: &str) -> Result<Request, MapError> {
        let mut request = Request(Box::new([0; ROOM]));
        for (index, number) in VERSION.iter().enumerate() {
            request.put_u32(index.saturating_mul(4), *number);
        }
        request.put_u32(at::DATA_SIZE, u32::try_from(ROOM).unwrap_or(u32::MAX));
        request.put_u32(at::DATA_START, u32::try_from(HEADER).unwrap_or(u32::MAX));
        if name.len() >= NAME {
            return Err(MapError::TooLong(name.to_owned()));
        }
        request.put(at::NAME, name.as_bytes());
        Ok(request)
    }

    /// Adds one linear target that covers the whole device.
    fn target(&mut self, disk: &Path, part: Part) -> Result<(), MapError> {
        let parameters = format!("{} {}", disk.display(), part.start);
        if parameters.len() >= ROOM - HEADER - SPEC {
            return Err(MapError::TooLong(parameters));
        }
        self.put_u32(at::TARGET_COUNT, 1);
        // struct dm_target_spec: sector_start, length, status, next, target_type.
        self.put(HEADER + 8, &part.length.to_ne_bytes());
        self.put(HEADER + 24, b"linear");
        self.put(HEADER + SPEC, parameters.as_bytes());
        Ok(())
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let places = self.0.iter_mut().skip(offset);
        places.zip(bytes).for_each(|(place, byte)| *place = *byte);
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_ne_bytes());
    }

    /// The device's number, as the kernel filled it in.
    fn device(&self) -> u64 {
        let bytes = self.0.get(at::DEV..at::DEV + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_ne_bytes).unwrap_or_default()
    }

    fn send(&mut self, control: &File, command: Command) -> io::Result<()> {
        let place = self.0.as_mut_ptr();
        // SAFETY: the request says in data_size how long the buffer is, and the kernel reads and
        // writes no byte beyond it; nobody else has the buffer.
        let result = unsafe { libc::ioctl(control.as_raw_fd(), command.request(), place) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let mut request = Request::new("leg").unwrap();
        request.target(Path::new("/dev/vda"), Part { start: 8, length: 2048 }).unwrap();
        let bytes = &request.0[..];
        assert_eq!(bytes[..4], 4_u32.to_ne_bytes());
        assert_eq!(bytes[12..24], [1024_u32, 312, 1].map(u32::to_ne_bytes).concat());
        assert_eq!(&bytes[48..52], b"leg\0");
        assert_eq!(bytes[312..328], [0_u64, 2048].map(u64::to_ne_bytes).concat());
        assert_eq!(&bytes[336..343], b"linear\0");
        assert_eq!(&bytes[352..363], b"/dev/vda 8\0");
    }

    #[test]
    fn the_numbers_are_the_kernels() {
        // As strace shows dmsetup's: _IOC(_IOC_READ|_IOC_WRITE, 0xfd, 0x3, 0x138).
        assert_eq!(Command::Create.request(), 0xc138_fd03);
        assert_eq!(Command::Load.request(), 0xc138_fd09);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(Request::new(&"n".repeat(128)), Err(MapError::TooLong(_))));
        let long = "d".repeat(ROOM);
        let mut request = Request::new("n").unwrap();
        assert!(request.target(Path::new(&long), Part { start: 0, length: 1 }).is_err());
    }
}
