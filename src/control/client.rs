//! The side that asks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Reply, Request};

/// Why a request over the control socket came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is not there, or nobody listens on it.
    #[error("cannot reach a daemon at {0}: start dixtrapd with --control {0}")]
    Connect(String, #[source] std::io::Error),
    /// The daemon went away or was silent for too long.
    #[error("the daemon did not answer over its control socket")]
    Silent(#[source] std::io::Error),
    /// The answer is not of this protocol.
    #[error("the daemon's answer cannot be read: are both programs of one version?")]
    Unreadable(#[source] serde_json::Error),
    /// The daemon refused, and said why.
    #[error("the daemon refused: {0}")]
    Refused(String),
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a daemon's control socket.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|e| ClientError::Connect(path.display().to_string(), e))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(ClientError::Silent)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(ClientError::Silent)?;
        Ok(Client { reader: BufReader::new(stream) })
    }

    /// Sends one request and waits for its answer; a refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(ClientError::Unreadable)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(ClientError::Silent)?;
        let mut answer = String::new();
        let read = self.reader.read_line(&mut answer).map_err(ClientError::Silent)?;
        if read == 0 {
            return Err(ClientError::Silent(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let reply: Reply = serde_json::from_str(&answer).map_err(ClientError::Unreadable)?;
        if reply.ok {
            return Ok(reply);
        }
        Err(ClientError::Refused(reply.error.unwrap_or_else(|| "no reason given".to_owned())))
    }
}
