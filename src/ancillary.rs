//! Bytes with descriptors over a Unix socket (unix(7), SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most that the kernel passes at once (SCM_MAX_FD).
const MOST: usize = 253;

/// Sends some of `bytes`, and with the first of them `files`.
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    files: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = flags | SendFlags::NOSIGNAL;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Receives some of `bytes`, none at the end, and what comes with them.
pub fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    files: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            files.extend(passed);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // The kernel hands over as many as this process may have open, and drops the rest.
        return Err(io::Error::other("its descriptors are more than may be open here"));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_come_with_the_first_of_their_bytes() {
        let (near, far) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let many = vec![file.as_fd(); MOST];
        assert_eq!(send(&near, b"hello", &many, SendFlags::empty()).unwrap(), 5);
        let (mut bytes, mut files) = ([0; 3], Vec::new());
        assert_eq!(receive(&far, &mut bytes, &mut files, RecvFlags::empty()).unwrap(), 3);
        assert_eq!((&bytes, files.len()), (b"hel", MOST));
        assert_eq!(receive(&far, &mut bytes, &mut files, RecvFlags::empty()).unwrap(), 2);
        assert_eq!(files.len(), MOST);
        drop(near);
        assert_eq!(receive(&far, &mut bytes, &mut files, RecvFlags::empty()).unwrap(), 0);
    }
}
