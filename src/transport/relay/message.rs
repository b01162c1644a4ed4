//! A vhost-user message as it passes by: a header, a body, descriptors (vhost-user, "Message
//! specification").

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvFlags, SendFlags};

use crate::ancillary;

/// Request, flags, size: 32 bits each, of this machine's order.
const HEADER: usize = 12;
/// The largest body that is taken: that of the crate.
const MAX_BODY: usize = 0x1000;
/// The most descriptors: a memory table's, which has 32 slots.
const MAX_FILES: usize = 32;
/// The version of the protocol, in the flags' lowest bits.
const VERSION: u32 = 1;
/// The message answers another.
const REPLY: u32 = 1 << 2;
/// The front end waits for an answer.
const NEED_REPLY: u32 = 1 << 3;

/// How long the rest of a message may take that has begun, or room for one that is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a message does not pass.
#[derive(Debug, thiserror::Error)]
pub(in crate::transport) enum MessageError {
    #[error("a message of {0} bytes: the largest has {MAX_BODY}")]
    TooLong(usize),
    #[error("a message with {0} descriptors: the most is {MAX_FILES}")]
    TooMany(usize),
    #[error("{PATIENCE:?} after its beginning, a message had not come to its end")]
    Unfinished,
    #[error("the connection ended in the middle of a message")]
    Cut,
    #[error("{PATIENCE:?} passed, and no answer was taken")]
    Unread,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) request: u32,
    pub(super) flags: u32,
    pub(super) body: Vec<u8>,
    pub(super) files: Vec<OwnedFd>,
}

impl Message {
    /// A request without a body.
    pub(super) fn request(request: u32) -> Message {
        Message { request, flags: VERSION, body: Vec::new(), files: Vec::new() }
    }

    /// The answer to `self`.
    pub(super) fn reply(&self, body: Vec<u8>, files: Vec<OwnedFd>) -> Message {
        Message { request: self.request, flags: VERSION | REPLY, body, files }
    }

    /// Whether the front end waits for an answer that the request has none of by itself.
    pub(super) fn needs_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    /// Waits for the next message; `None` at the end of the connection.
    pub(super) fn receive(stream: &UnixStream) -> Result<Option<Message>, MessageError> {
        let mut files = Vec::new();
        let mut header = [0; HEADER];
        // What is there already decides whether a message begins; from then on time is short.
        let first = ancillary::receive(stream, &mut header, &mut files, RecvFlags::empty())?;
        if first == 0 {
            return Ok(None);
        }
        let until = Instant::now() + PATIENCE;
        fill(stream, header.get_mut(first..).unwrap_or_default(), &mut files, until)?;
        let [request, flags, size] = fields(&header);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_BODY {
            return Err(MessageError::TooLong(size));
        }
        let mut body = vec![0; size];
        fill(stream, &mut body, &mut files, until)?;
        if files.len() > MAX_FILES {
            return Err(MessageError::TooMany(files.len()));
        }
        Ok(Some(Message { request, flags, body, files }))
    }

    /// Sends it; its descriptors go with the first byte.
    pub(super) fn send(&self, stream: &UnixStream) -> Result<(), MessageError> {
        let size = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let header = [self.request, self.flags, size].map(u32::to_ne_bytes);
        let bytes = [header.as_flattened(), &self.body].concat();
        let mut files: Vec<_> = self.files.iter().map(AsFd::as_fd).collect();
        let (mut rest, until) = (bytes.as_slice(), Instant::now() + PATIENCE);
        while !rest.is_empty() {
            match ancillary::send(stream, rest, &files, SendFlags::DONTWAIT) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    files.clear();
                }
                Err(error) => pass(error, stream, PollFlags::POLLOUT, until, MessageError::Unread)?,
            }
        }
        Ok(())
    }
}

fn fields(header: &[u8; HEADER]) -> [u32; 3] {
    let (words, _) = header.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |word| u32::from_ne_bytes(*word));
    [word(0), word(1), word(2)]
}

/// Receives all of `bytes`.
fn fill(
    stream: &UnixStream,
    bytes: &mut [u8],
    files: &mut Vec<OwnedFd>,
    until: Instant,
) -> Result<(), MessageError> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match ancillary::receive(stream, rest, files, RecvFlags::DONTWAIT) {
            Ok(0) => return Err(MessageError::Cut),
            Ok(received) => filled += received,
            Err(error) => pass(error, stream, PollFlags::POLLIN, until, MessageError::Unfinished)?,
        }
    }
    Ok(())
}

/// Waits where `error` only says that there is nothing yet; at `until` it is `late`.
fn pass(
    error: io::Error,
    stream: &UnixStream,
    flags: PollFlags,
    until: Instant,
    late: MessageError,
) -> Result<(), MessageError> {
    match error.kind() {
        io::ErrorKind::Interrupted => return Ok(()),
        io::ErrorKind::WouldBlock => {}
        _ => return Err(error.into()),
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late);
    }
    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(stream.as_fd(), flags)], left).map_err(io::Error::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let (near, far) = UnixStream::pair().unwrap();
        let file = || OwnedFd::from(tempfile::tempfile().unwrap());
        let sent = Message {
            request: 5,
            flags: VERSION | NEED_REPLY,
            body: vec![7; MAX_BODY],
            files: (0..MAX_FILES).map(|_| file()).collect(),
        };
        sent.send(&near).unwrap();
        Message::request(1).send(&near).unwrap();
        drop(near);
        let received = Message::receive(&far).unwrap().unwrap();
        assert_eq!((received.request, received.body), (5, vec![7; MAX_BODY]));
        assert_eq!((received.flags, received.files.len()), (VERSION | NEED_REPLY, MAX_FILES));
        let second = Message::receive(&far).unwrap().unwrap();
        assert_eq!((second.request, second.body.len(), second.files.len()), (1, 0, 0));
        assert!(Message::receive(&far).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_named() {
        let received = |bytes: &[u8]| {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(bytes).unwrap();
            drop(near);
            Message::receive(&far).unwrap_err().to_string()
        };
        let header = |size: u32| [1, VERSION, size].map(u32::to_ne_bytes).as_flattened().to_vec();
        assert!(received(&header(4097)).contains("4097"));
        assert!(received(&header(u32::MAX)).contains("the largest has 4096"));
        assert!(received(&header(8)).contains("in the middle"));
        assert!(received(&header(0)[..11]).contains("in the middle"));
        let (near, far) = UnixStream::pair().unwrap();
        let files = (0..33).map(|_| tempfile::tempfile().unwrap().into()).collect();
        Message { files, ..Message::request(5) }.send(&near).unwrap();
        assert!(Message::receive(&far).unwrap_err().to_string().contains("33 descriptors"));
    }
}
