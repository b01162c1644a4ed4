//! A file that is read for a report, or a pipe in its place: of a FIFO nobody may ever write to, and of a
//! writer that says nothing for long.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a FIFO's writer may take to open it, and how long one that has may be silent before that is said.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a writer is looked for, in milliseconds.
const LOOK: u16 = 50;

/// What is read: a pipe's writer is waited for here, and never in the system's `open`.
pub(super) struct Input {
    path: PathBuf,
    file: File,
    is_pipe: bool,
    /// A writer has had the pipe open.
    met: bool,
    /// When something came last, or the wait began.
    since: Instant,
    /// That the writer is silent was said.
    told: bool,
    patience: Duration,
}

impl Input {
    pub(super) fn open(path: &Path) -> io::Result<Input> {
        Input::open_for(path, PATIENCE)
    }

    fn open_for(path: &Path, patience: Duration) -> io::Result<Input> {
        // What is no pipe does not mind the flag.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let is_pipe = file.metadata()?.file_type().is_fifo();
        let (path, since) = (path.to_owned(), Instant::now());
        Ok(Input { path, file, is_pipe, met: false, since, told: false, patience })
    }

    /// Waits a moment for something to read. A writer that came and left without a word has come.
    fn wait(&mut self) -> io::Result<()> {
        let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LOOK)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => self.met = true,
            Err(errno) => return Err(errno.into()),
        }
        if self.since.elapsed() < self.patience {
            return Ok(());
        }
        if !self.met {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !std::mem::replace(&mut self.told, true) {
            log::warn!(
                "nothing comes from {}, which its writer still has open: waiting for it until it is closed (Ctrl-C ends this)",
                self.path.display()
            );
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                // Nobody has the pipe open: not yet, where nobody ever had.
                Ok(0) if self.is_pipe && !self.met && !buffer.is_empty() => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.met = true,
                Ok(count) => {
                    (self.met, self.since) = (true, Instant::now());
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
            self.wait()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    fn fifo() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        (dir, path)
    }

    fn all_of(input: io::Result<Input>) -> io::Result<String> {
        io::read_to_string(input?)
    }

    #[test]
    fn a_fifo_that_nobody_writes_to_is_given_up() {
        let (_dir, path) = fifo();
        let error = all_of(Input::open_for(&path, Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_writer_that_is_there_may_take_its_time() {
        use std::io::Write;
        let (_dir, path) = fifo();
        let input = Input::open_for(&path, Duration::ZERO);
        // It finds a reader, so it is not kept waiting, and this one finds it.
        let mut writer = File::options().write(true).open(&path).unwrap();
        let mut input = input.unwrap();
        input.met =
            matches!(input.file.read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        assert!(input.met);
        input.wait().unwrap();
        assert!(input.told, "a silence is said, and waited for");
        writer.write_all(b"one\ntwo\n").unwrap();
        drop(writer);
        assert_eq!(io::read_to_string(input).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn what_was_written_before_is_read_and_a_writer_that_left_is_the_end() {
        use std::io::Write;
        let (mut reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        writer.write_all(b"x").unwrap();
        let input = Input::open(Path::new(&path));
        drop(writer);
        assert_eq!(all_of(input).unwrap(), "x");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let (_dir, path) = fifo();
        let input = Input::open(&path);
        drop(File::options().write(true).open(&path).unwrap());
        assert_eq!(all_of(input).unwrap(), "");
    }
}
