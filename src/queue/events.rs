//! The descriptors that a front end gives to ring and to be called, used so that none of them can make
//! us wait: whoever gave one shares its state and its flags, and may fill it, empty it or let it block
//! at any moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use crate::descriptor::Description;

/// Takes a descriptor that is made for events: an eventfd, which has no file type, a pipe or a socket.
/// A file or a device could keep us waiting however it is asked.
pub fn only_events(file: Option<File>, what: &str) -> Option<File> {
    let file = file?;
    match Description::of(&file).map(|description| description.kind) {
        Ok(0 | libc::S_IFIFO | libc::S_IFSOCK) => Some(file),
        _ => {
            log::warn!("a {what} descriptor is no eventfd: it is not used");
            None
        }
    }
}

/// Interrupts the driver. A descriptor that has no room holds an interrupt already.
pub fn call(notifier: &EventNotifier) -> io::Result<()> {
    let fd = notifier.as_raw_fd();
    // SAFETY: the notifier owns the descriptor and outlives the call.
    signal(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Rings a doorbell that is ours to answer.
pub fn ring_own(doorbell: &EventConsumer) -> io::Result<()> {
    let fd = doorbell.as_raw_fd();
    // SAFETY: the consumer owns the descriptor and outlives the call.
    signal(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Adds one to an eventfd that has room for it.
fn signal(borrowed: BorrowedFd<'_>) -> io::Result<()> {
    if !is_ready(borrowed, PollFlags::POLLOUT)? {
        return Ok(());
    }
    match nix::unistd::write(borrowed, &1u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes what has been rung; `false` where nothing was.
pub fn take_ring(consumer: &EventConsumer) -> io::Result<bool> {
    let mut count = [0; 8];
    let fd = consumer.as_raw_fd();
    // SAFETY: the consumer owns the descriptor and outlives the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    match read_now(borrowed, &mut count) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads what is there without waiting, whatever the descriptor's flags say.
fn read_now(fd: BorrowedFd<'_>, bytes: &mut [u8; 8]) -> Result<usize, Errno> {
    let piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: one piece, which is all of `bytes`; an offset of -1 is the descriptor's own.
    let read = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    match Errno::result(read) {
        Ok(read) => Ok(usize::try_from(read).unwrap_or(0)),
        // Kernels know this of eventfds for longer than of pipes, and of sockets not at all.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if is_ready(fd, PollFlags::POLLIN)? => {
            nix::unistd::read(fd, bytes)
        }
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Err(Errno::EAGAIN),
        Err(errno) => Err(errno),
    }
}

/// Whether something can be done right now. Errors count: they are for the read or write to find.
fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> Result<bool, Errno> {
    poll(&mut [PollFd::new(fd.as_fd(), flags)], PollTimeout::ZERO).map(|ready| ready > 0)
}
