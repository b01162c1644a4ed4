//! The channel between one program and the host: a FIFO that the program tells something in, and one
//! that it waits at. Named by paths, not inherited as descriptors: whatever a program or its children
//! do with theirs, every `echo … >"$DIXTRAP_TELL"` arrives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::guest::protocol::{HEARD, TELL};

/// How long a look at an empty FIFO takes.
const LOOK_MS: u16 = 20;

/// The two FIFOs of one program, in a directory of their own; gone when dropped.
#[derive(Debug)]
pub struct Channel {
    directory: PathBuf,
    told: File,
    heard: File,
}

impl Channel {
    /// Makes the directory and both FIFOs in it.
    ///
    /// # Errors
    /// The system's.
    pub fn make() -> io::Result<Channel> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dixtrap-{}-{number}", std::process::id());
        let run = Path::new("/run");
        let base = if nix::unistd::access(run, nix::unistd::AccessFlags::W_OK).is_ok() {
            run.to_owned()
        } else {
            std::env::temp_dir()
        };
        let directory = base.join(name);
        fs::create_dir(&directory)?;
        let (told, heard) = (fifo(&directory.join("tell"))?, fifo(&directory.join("heard"))?);
        Ok(Channel { directory, told, heard })
    }

    /// The variables that a program finds them by.
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [(TELL, self.directory.join("tell")), (HEARD, self.directory.join("heard"))]
    }

    /// What the program tells. Ends when `over` is set and nothing is left in the FIFO.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, over: Arc<AtomicBool>) -> io::Result<Listener> {
        Ok(Listener { file: self.told.try_clone()?, over })
    }

    /// Lets one that waits go on. A FIFO that is full has let enough of them.
    pub fn answer(&self) {
        let _ = (&self.heard).write(b"\n");
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The program may have removed it itself.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A new FIFO, open in both directions: opening it waits for nobody, and it never seems to end when a
/// writer goes.
fn fifo(path: &Path) -> io::Result<File> {
    mkfifo(path, Mode::from_bits_truncate(0o600))?;
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// The reading end of what is told.
#[derive(Debug)]
pub struct Listener {
    file: File,
    over: Arc<AtomicBool>,
}

impl Read for Listener {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Looked at first: what was told before the end is still read.
            let over = self.over.load(Ordering::Acquire);
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if over {
                return Ok(0);
            }
            let mut waiting = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, PollTimeout::from(LOOK_MS))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_was_told_before_the_end_arrives_and_nobody_waits_for_ever() {
        let channel = Channel::make().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let mut listener = channel.listen(Arc::clone(&over)).unwrap();
        let mut tell = Command::new("sh");
        tell.args(["-c", "exec >/dev/null; echo one >\"$DIXTRAP_TELL\"; read -r _ <\"$DIXTRAP_HEARD\"; echo two >\"$DIXTRAP_TELL\""]);
        let mut child = tell.envs(channel.variables()).spawn().unwrap();
        let mut first = [0; 4];
        listener.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one\n");
        channel.answer();
        assert!(child.wait().unwrap().success());
        over.store(true, Ordering::Release);
        let mut rest = String::new();
        listener.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two\n");
        let directory = channel.directory.clone();
        drop(channel);
        assert!(!directory.exists());
    }

    #[test]
    fn answers_that_nobody_waits_for_do_not_block() {
        let channel = Channel::make().unwrap();
        for _ in 0..100_000 {
            channel.answer();
        }
    }
}
