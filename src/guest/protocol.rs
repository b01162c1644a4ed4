//! What the host and the agent in the guest say to each other over the virtio-serial port
//! [`PORT_NAME`]: JSON lines both ways. Every request carries an id, every reply repeats it.
//!
//! ```text
//! host  {"id":1,"op":"hello"}
//! guest {"id":1,"reply":"hello","release":"6.1.0-32-cloud-amd64","drivers":["virtio_blk"]}
//! host  {"id":2,"op":"exec","argv":["cat","/proc/partitions"],"env":{},"timeout_ms":5000}
//! guest {"id":2,"reply":"output","stream":"stdout","text":"major minor  #blocks  name"}
//! guest {"id":2,"reply":"exited","status":{"code":0},"elapsed_ms":12,"watched":[],"left_behind":[]}
//! ```
//!
//! `exec` answers with any number of `output` lines and one `exited` or `error`; every other request
//! with one line. Requests may overlap: each `exec` runs on its own.
//!
//! A program speaks to the host over a channel of its own ([`TELL`]), so that what it does with its
//! standard output is nobody's business. One that has said [`WRITING`] waits at [`HEARD`] until the
//! host counts what it writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name of the virtio-serial port, as `/sys/class/virtio-ports/*/name` shows it in the guest.
pub const PORT_NAME: &str = "dixtrap.0";

/// The variable that names the FIFO in which a program tells the host something, a line at a time.
pub const TELL: &str = "DIXTRAP_TELL";

/// The variable that names the FIFO out of which a program that has told that it writes reads an empty
/// line before it does.
pub const HEARD: &str = "DIXTRAP_HEARD";

/// What a program tells before it writes.
pub const WRITING: &str = "dixtrap: writing";

/// The longest line either end accepts, in bytes: what lies beyond is a broken peer.
pub const MAX_LINE: usize = 4 << 20;

/// A request of the host, with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the host; repeated in each reply to the request.
    pub id: u64,
    /// The request or the reply.
    #[serde(flatten)]
    pub body: T,
}

/// What the host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Which kernel is this.
    Hello,
    /// Run a program, in a process group of its own, with nothing on its standard input.
    Exec {
        /// The program and its arguments; looked up in PATH.
        argv: Vec<String>,
        /// Variables set on top of the agent's own environment.
        env: BTreeMap<String, String>,
        /// The process group is killed after this long.
        timeout_ms: u64,
        /// A file of which the first line is read when the program says that it writes, and from then
        /// on until it ends.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        watch: Option<String>,
    },
    /// Let a running `exec` that has said that it writes go on.
    Heard {
        /// The id of the `exec` request.
        exec: u64,
    },
    /// Ask the process group of a running `exec` to end (SIGTERM); its time-out stays in force. One
    /// that has ended already needs no asking.
    Terminate {
        /// The id of the `exec` request.
        exec: u64,
    },
    /// Put the guest back to the state that it was in when this was first asked. Nothing else may run.
    Reset {
        /// The disk under test.
        disk: String,
    },
    /// Send a file's contents.
    ReadFile {
        /// An absolute path in the guest.
        path: String,
    },
    /// Sync and power the guest off.
    PowerOff,
    /// Sync and restart the guest.
    Reboot,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To `hello`: what the guest runs.
    Hello {
        /// `uname -r`.
        release: String,
        /// The drivers that the kernel has now: those on the virtio and SCSI buses, block majors
        /// and file systems; the names as sysfs and procfs spell them.
        drivers: Vec<String>,
    },
    /// A line that a program wrote, without its line feed; bytes that are not UTF-8 are replaced.
    Output {
        /// Where it was written.
        stream: Stream,
        /// One line of output, without its end.
        text: String,
    },
    /// The program has ended; no output follows.
    Exited {
        /// How.
        status: ExitStatus,
        /// How long it ran.
        elapsed_ms: u64,
        /// The different values of the watched file, in the order in which they were seen.
        #[serde(default)]
        watched: Vec<String>,
        /// The names of the processes that it left behind, which were killed.
        #[serde(default)]
        left_behind: Vec<String>,
    },
    /// To `reset`: what had to be put back, and what would not be.
    Reset {
        /// What was not as it had been, and is again.
        undone: Vec<String>,
        /// What could not be put back, and why.
        left: Vec<String>,
        /// `/proc/sys/kernel/tainted`.
        taint: u64,
    },
    /// To `read-file`: what is in the file.
    File {
        /// The contents; bytes that are not UTF-8 are replaced.
        text: String,
    },
    /// To `terminate` and `heard`: passed on. To `power-off` and `reboot`: about to happen.
    Done,
    /// The request could not be carried out.
    Error {
        /// Why not, in words for people.
        message: String,
    },
}

/// Where a program wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The channel to the host.
    Told,
}

/// How a program in the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It exited with this status.
    Code(i32),
    /// A signal that the agent did not send ended it.
    Signal(i32),
    /// Its time ran out and its process group was killed.
    TimedOut {
        /// It did not even die of SIGKILL: it hangs inside the kernel.
        stuck: bool,
    },
}

impl ExitStatus {
    /// Exited with status 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lines_are_as_documented() {
        let request = Envelope {
            id: 2,
            body: Request::Exec {
                argv: vec!["cat".into(), "/proc/partitions".into()],
                env: BTreeMap::new(),
                timeout_ms: 5000,
                watch: None,
            },
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"id":2,"op":"exec","argv":["cat","/proc/partitions"],"env":{},"timeout_ms":5000}"#
        );
        let line = r#"{"id":2,"reply":"exited","status":{"code":0},"elapsed_ms":12,"watched":["1"],"left_behind":[]}"#;
        let reply: Envelope<Reply> = serde_json::from_str(line).unwrap();
        let exited = Reply::Exited {
            status: ExitStatus::Code(0),
            elapsed_ms: 12,
            watched: vec!["1".into()],
            left_behind: Vec::new(),
        };
        assert_eq!(reply.body, exited);
        assert_eq!(serde_json::to_string(&reply).unwrap(), line);
    }

    proptest! {
        #[test]
        fn any_output_survives_the_line(text in any::<String>(), id in any::<u64>()) {
            let reply = Envelope { id, body: Reply::Output { stream: Stream::Stderr, text } };
            let line = serde_json::to_string(&reply).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Envelope<Reply>>(&line).unwrap(), reply);
        }
    }
}
