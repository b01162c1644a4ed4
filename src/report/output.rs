//! Where the records' lines are written.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::made::MadeFile;
use crate::patient;

/// How often a FIFO's reader is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// A file that can be cut back to its last whole line, or a stream that cannot.
#[derive(Debug)]
pub(super) enum Output {
    File { file: File, whole: u64, begun: bool },
    Stream(File),
}

impl Output {
    /// Opens the file at `path`, and tells whether it was made. A FIFO that nobody reads from is waited for,
    /// for so long.
    pub(super) fn open(path: &Path, patience: Duration) -> io::Result<(Output, Option<MadeFile>)> {
        if let Ok(file) = OpenOptions::new().write(true).create_new(true).open(path) {
            let made = MadeFile::of(path, &file)?;
            return Ok((Output::of_file(file)?, Some(made)));
        }
        let until = Instant::now() + patience;
        loop {
            // What is no FIFO does not mind the flag; and a FIFO's writer is never made to wait.
            let opened = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(libc::O_NONBLOCK)
                .open(path);
            match opened {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => {
                    if Instant::now() >= until {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    std::thread::sleep(LOOK);
                }
                opened => return Ok((Output::of_file(opened?)?, None)),
            }
        }
    }

    /// The daemon's standard output.
    pub(super) fn stdout() -> io::Result<Output> {
        Ok(Output::Stream(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// A regular file can be cut, and belongs to one daemon; a pipe or device is a stream.
    fn of_file(file: File) -> io::Result<Output> {
        if !file.metadata()?.is_file() {
            return Ok(Output::Stream(file));
        }
        file.try_lock().map_err(io::Error::from)?;
        Ok(Output::File { file, whole: 0, begun: false })
    }

    /// Writes whole lines; answers how many did not fit, or were not read while `go_on` had patience.
    ///
    /// What an earlier daemon left in the file goes when the first line comes, not before: a start
    /// that fails loses nothing.
    pub(super) fn write_whole(
        &mut self,
        lines: &[u8],
        go_on: impl FnMut() -> bool,
    ) -> io::Result<Written> {
        match self {
            Output::Stream(stream) => Ok(match patient::write_all(stream.as_fd(), lines, go_on) {
                Ok(()) => Written::All,
                Err((done, error)) => Written::Short { lines_lost: ends(lines.get(done..)), error },
            }),
            Output::File { file, whole, begun } => {
                if !std::mem::replace(begun, true) {
                    file.set_len(0)?;
                }
                append(file, whole, lines)
            }
        }
    }
}

/// How much of a batch of lines was written.
pub(super) enum Written {
    All,
    /// A full disk: so many lines are missing.
    Short {
        lines_lost: u64,
        error: io::Error,
    },
}

/// Appends at `whole`; a line that a full disk cut off is taken back, those before it stay.
fn append(file: &mut File, whole: &mut u64, lines: &[u8]) -> io::Result<Written> {
    let mut done = 0;
    let error = loop {
        let rest = lines.get(done..).unwrap_or_default();
        if rest.is_empty() {
            *whole += lines.len() as u64;
            return Ok(Written::All);
        }
        match file.write(rest) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
    };
    let written = lines.get(..done).unwrap_or_default();
    let kept = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let lost = lines.get(kept..).unwrap_or_default();
    *whole += kept as u64;
    file.set_len(*whole)?;
    file.seek(io::SeekFrom::Start(*whole))?;
    Ok(Written::Short { lines_lost: ends(Some(lost)), error })
}

/// How many lines end here.
fn ends(lines: Option<&[u8]>) -> u64 {
    lines.unwrap_or_default().iter().filter(|byte| **byte == b'\n').count() as u64
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo())
}
