//! Writing to a descriptor that somebody has to read: for no longer than the caller is willing to wait.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A pipe that says that it has room takes as much at once without making its writer wait (pipe(7)).
const PIECE: usize = libc::PIPE_BUF;
/// How often a writer that waits asks whether it should, in milliseconds.
const LOOK: u16 = 50;

/// Writes all of `bytes`; `Err` says how many were written until there was an error, or until `go_on` had
/// no more patience (`TimedOut`).
pub fn write_all(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    mut go_on: impl FnMut() -> bool,
) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let piece = rest.get(..PIECE.min(rest.len())).unwrap_or_default();
        match write_when_ready(fd, piece) {
            Ok(Some(0)) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(Some(written)) => done += written,
            Ok(None) if go_on() => {}
            Ok(None) => return Err((done, io::ErrorKind::TimedOut.into())),
            Err(errno) => return Err((done, errno.into())),
        }
    }
    Ok(())
}

/// Writes some of it, or waits a moment for room.
fn write_when_ready(fd: BorrowedFd<'_>, piece: &[u8]) -> Result<Option<usize>, Errno> {
    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
    match poll(&mut ready, PollTimeout::from(LOOK)) {
        Ok(0) | Err(Errno::EINTR) => return Ok(None),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    match nix::unistd::write(fd, piece) {
        Ok(written) => Ok(Some(written)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_reader_that_reads_gets_all_of_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..300_000u32).map(|at| at as u8).collect();
        std::thread::scope(|scope| {
            let read = scope.spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            write_all(writer.as_fd(), &bytes, || true).unwrap();
            drop(writer);
            assert_eq!(read.join().unwrap().unwrap(), bytes);
        });
    }

    #[test]
    fn a_reader_that_does_not_is_waited_for_as_long_as_the_caller_likes() {
        let (reader, writer) = io::pipe().unwrap();
        let mut looks = 0;
        let (done, error) = write_all(writer.as_fd(), &[1; 1 << 20], || {
            looks += 1;
            looks < 3
        })
        .unwrap_err();
        assert_eq!((looks, error.kind()), (3, io::ErrorKind::TimedOut));
        assert!((1..1 << 20).contains(&done), "{done}");
        drop(reader);
        let (done, error) = write_all(writer.as_fd(), &[1], || true).unwrap_err();
        assert_eq!((done, error.kind()), (0, io::ErrorKind::BrokenPipe));
    }
}
