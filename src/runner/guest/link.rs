//! The host's end of the virtio-serial link to the agent in the guest.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::guest::protocol::{Envelope, MAX_LINE, Reply, Request};

/// How long a request may take to be written: the agent reads all the time.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// What [`Link::receive`] got.
#[derive(Debug)]
pub enum Received {
    /// A reply.
    Reply(Envelope<Reply>),
    /// A line that is not a reply.
    Garbage(String),
    /// Nothing in time.
    Nothing,
    /// QEMU closed the socket.
    Closed,
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    buffer: Vec<u8>,
    last_id: u64,
}

impl Link {
    /// Connects to the socket `name` in the directory `dir`, however long the directory's path is
    /// (a socket's address holds 107 bytes).
    ///
    /// # Errors
    /// The system's.
    pub fn connect(dir: &Path, name: &str) -> io::Result<Link> {
        let dir = File::open(dir)?;
        let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        Ok(Link::new(UnixStream::connect(path)?))
    }

    /// Takes over a connection.
    pub fn new(stream: UnixStream) -> Link {
        Link { stream, buffer: Vec::new(), last_id: 0 }
    }

    /// Sends a request and tells its id.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self, request: Request) -> io::Result<u64> {
        self.last_id = self.last_id.wrapping_add(1);
        let mut line = serde_json::to_vec(&Envelope { id: self.last_id, body: request })?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(WRITE_LIMIT))?;
        self.stream.write_all(&line)?;
        Ok(self.last_id)
    }

    /// Waits at most `limit` for the next line.
    ///
    /// # Errors
    /// The system's.
    pub fn receive(&mut self, limit: Duration) -> io::Result<Received> {
        if let Some(line) = self.take_line() {
            return Ok(parse(&line));
        }
        // A time-out of zero would mean none.
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Ok(Received::Closed),
            Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                ErrorKind::ConnectionReset => return Ok(Received::Closed),
                _ => return Err(error),
            },
        }
        Ok(self.take_line().map_or(Received::Nothing, |line| parse(&line)))
    }

    /// Takes the first whole line out of the buffer; an overlong one counts as whole.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => at.saturating_add(1),
            None if self.buffer.len() > MAX_LINE => self.buffer.len(),
            None => return None,
        };
        Some(self.buffer.drain(..end).collect())
    }
}

fn parse(line: &[u8]) -> Received {
    serde_json::from_slice(line).map_or_else(
        |_| Received::Garbage(String::from_utf8_lossy(line).chars().take(200).collect()),
        Received::Reply,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn partial_lines_are_put_together() {
        let (host, mut guest) = UnixStream::pair().unwrap();
        let mut link = Link::new(host);
        assert_eq!(link.send(Request::Hello).unwrap(), 1);
        guest.write_all(br#"{"id":1,"rep"#).unwrap();
        assert!(matches!(link.receive(SHORT).unwrap(), Received::Nothing));
        guest.write_all(b"ly\":\"done\"}\nrubbish\n{\"id\":2,\"reply\":\"done\"}\n").unwrap();
        let Received::Reply(reply) = link.receive(SHORT).unwrap() else { panic!("no reply") };
        assert_eq!(reply, Envelope { id: 1, body: Reply::Done });
        assert!(
            matches!(link.receive(SHORT).unwrap(), Received::Garbage(line) if line == "rubbish\n")
        );
        assert!(matches!(link.receive(SHORT).unwrap(), Received::Reply(Envelope { id: 2, .. })));
        drop(guest);
        assert!(matches!(link.receive(SHORT).unwrap(), Received::Closed));
    }

    #[test]
    fn a_long_directory_can_be_connected_to() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let handle = File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/s", handle.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
        Link::connect(&deep, "s").unwrap();
        listener.accept().unwrap();
    }
}
