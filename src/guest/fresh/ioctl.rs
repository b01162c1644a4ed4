//! The kernel's calls that no crate has.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// Linux, include/uapi/linux/loop.h.
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
/// Linux, include/uapi/linux/fs.h: `_IO(0x12, 97)`.
const BLKFLSBUF: libc::Ioctl = nix::request_code_none!(0x12, 97);
/// Linux, include/uapi/linux/blkpg.h: `_IO(0x12, 105)`.
const BLKPG: libc::Ioctl = nix::request_code_none!(0x12, 105);
const BLKPG_DEL_PARTITION: libc::c_int = 2;

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: libc::c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    op: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut Partition,
}

fn done(result: libc::c_int) -> io::Result<()> {
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Ends swapping on `device`.
pub fn swap_off(device: &Path) -> io::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends in a zero and lives until the call is over.
    done(unsafe { libc::swapoff(path.as_ptr()) })
}

/// Takes the file away from a loop device.
pub fn detach_loop(device: &Path) -> io::Result<()> {
    let file = File::open(device)?;
    // SAFETY: LOOP_CLR_FD takes no argument.
    done(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CLR_FD) })
}

/// Writes out what the page cache holds of a device, and forgets it.
pub fn flush_buffers(device: &Path) -> io::Result<()> {
    let file = File::open(device)?;
    // SAFETY: BLKFLSBUF takes no argument.
    done(unsafe { libc::ioctl(file.as_raw_fd(), BLKFLSBUF) })
}

/// Has the kernel forget partition `number` of `disk`; the disk itself stays as it is.
pub fn forget_partition(disk: &Path, number: i32) -> io::Result<()> {
    let file = File::open(disk)?;
    let mut partition = Partition { start: 0, length: 0, number, names: [0; 128] };
    let length = i32::try_from(size_of::<Partition>()).unwrap_or(0);
    let mut argument =
        Argument { op: BLKPG_DEL_PARTITION, flags: 0, length, data: &raw mut partition };
    // SAFETY: `argument` and the partition that it points to are laid out as blkpg.h has them and
    // live until the call is over.
    done(unsafe { libc::ioctl(file.as_raw_fd(), BLKPG, &raw mut argument) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for result in [
            swap_off(file.path()),
            detach_loop(file.path()),
            flush_buffers(file.path()),
            forget_partition(file.path(), 1),
            flush_buffers(Path::new("/no/such")),
        ] {
            assert!(result.is_err());
        }
    }

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!((size_of::<Partition>(), size_of::<Argument>()), (152, 24));
        assert_eq!((BLKFLSBUF, BLKPG), (0x1261, 0x1269));
    }
}
