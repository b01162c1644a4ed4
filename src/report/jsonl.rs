//! The records file: one whole JSON line after another, written by a thread of its own.
//!
//! A request must never wait for the disk that holds the records, so records go through a bounded
//! channel. What cannot be written (the channel or the disk is full) is counted, never passed over in
//! silence, and a line that was cut by a full disk is taken back: what the file holds is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::record::{Line, Record};
use crate::sandbox::{Thread, confine};

/// How many records may wait for the writer.
const BACKLOG: usize = 1 << 16;

/// Why records cannot be written at all.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be made.
    #[error("cannot write records to {0}: choose another --races file")]
    Create(String, #[source] io::Error),
    /// Another daemon writes there.
    #[error("{0} gets the records of another dixtrapd: choose another --races file")]
    InUse(String),
    /// No thread for the writer.
    #[error("cannot start the thread that writes the records")]
    Thread(#[source] io::Error),
}

/// Where records go. Cheap to clone; all clones feed one file.
#[derive(Debug, Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channel: Mutex<Option<SyncSender<Record>>>,
    /// What the writer will have, until it begins.
    ready: Mutex<Option<(Receiver<Record>, Output)>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    /// A sink that keeps nothing.
    pub fn none() -> Sink {
        Sink::over(None)
    }

    /// Writes to the file at `path`, which begins anew with the first record, or to standard output for `-`.
    pub fn open(path: &Path) -> Result<Sink, SinkError> {
        if path.as_os_str() == "-" {
            return Ok(Sink::to(Output::Stream(Box::new(io::stdout()))));
        }
        let name = || path.display().to_string();
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .and_then(Output::of_file)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => SinkError::InUse(name()),
                _ => SinkError::Create(name(), error),
            })
            .map(Sink::to)
    }

    fn to(output: Output) -> Sink {
        let (sender, receiver) = sync_channel(BACKLOG);
        Sink::over(Some((sender, receiver, output)))
    }

    fn over(ready: Option<(SyncSender<Record>, Receiver<Record>, Output)>) -> Sink {
        let (channel, ready) = match ready {
            Some((sender, receiver, output)) => (Some(sender), Some((receiver, output))),
            None => (None, None),
        };
        let (channel, ready, writer) = (Mutex::new(channel), Mutex::new(ready), Mutex::default());
        Sink { shared: Arc::new(Shared { channel, ready, writer, lost: Arc::default() }) }
    }

    /// Starts the thread that writes: not at once, for it has to be inside of the sandbox. Records wait
    /// for it.
    pub fn begin(&self) -> Result<(), SinkError> {
        let ready = self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((receiver, output)) = ready else { return Ok(()) };
        let losses = Arc::clone(&self.shared.lost);
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                confine(Thread::Records);
                write_all(receiver, output, &losses);
            })
            .map_err(SinkError::Thread)?;
        *self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    /// Hands a record to the writer; never waits.
    pub fn emit(&self, record: Record) {
        let channel = self.shared.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = channel.as_ref()
            && sender.try_send(record).is_err()
        {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records could not be written.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes everything handed over so far, and ends the writer. Later records are dropped.
    pub fn close(&self) {
        if let Err(error) = self.begin() {
            log::error!("{error}");
        }
        let sender = self.shared.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(sender);
        let writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            log::error!("the thread that writes the records ended early");
        }
    }
}

/// The writer's loop: as many records as are waiting make one write.
fn write_all(receiver: Receiver<Record>, mut output: Output, lost: &AtomicU64) {
    let mut buffer = Vec::new();
    while let Ok(first) = receiver.recv() {
        let mut count = 0;
        buffer.clear();
        for record in std::iter::once(first).chain(receiver.try_iter().take(256)) {
            if append_line(&mut buffer, record).is_ok() {
                count += 1;
            }
        }
        let (missing, error) = match output.write_whole(&buffer) {
            Ok(Written::All) => continue,
            Ok(Written::Short { lines_lost, error }) => (lines_lost, error),
            Err(error) => (count, error),
        };
        if lost.fetch_add(missing, Ordering::Relaxed) == 0 {
            log::error!("records cannot be written and are only counted: {error}");
        }
    }
}

/// Appends a record as one line.
fn append_line(buffer: &mut Vec<u8>, record: Record) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *buffer, &Line::from(record))?;
    buffer.push(b'\n');
    Ok(())
}

/// A file that can be cut back to its last whole line, or a stream that cannot.
enum Output {
    File { file: File, whole: u64, begun: bool },
    Stream(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// A regular file can be cut, and belongs to one daemon; a pipe or device is a stream.
    fn of_file(file: File) -> io::Result<Output> {
        if !file.metadata()?.is_file() {
            return Ok(Output::Stream(Box::new(file)));
        }
        file.try_lock().map_err(io::Error::from)?;
        Ok(Output::File { file, whole: 0, begun: false })
    }

    /// Writes whole lines; answers how many did not fit.
    ///
    /// What an earlier daemon left in the file goes when the first line comes, not before: a start
    /// that fails loses nothing.
    fn write_whole(&mut self, lines: &[u8]) -> io::Result<Written> {
        match self {
            Output::Stream(stream) => {
                stream.write_all(lines).and_then(|()| stream.flush())?;
                Ok(Written::All)
            }
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
enum Written {
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
    let lines_lost = lost.iter().filter(|byte| **byte == b'\n').count() as u64;
    Ok(Written::Short { lines_lost, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Healed, RaceId};

    fn healed(id: u64) -> Record {
        Record::Healed(Healed { t_us: 0, race: RaceId(id), after_us: 0 })
    }

    #[test]
    fn what_is_emitted_is_in_the_file_after_close() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        let sink = Sink::open(&path).unwrap();
        sink.begin().unwrap();
        for id in 0..1000 {
            sink.emit(healed(id));
        }
        sink.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 1000);
        assert_eq!(lines[999].record, healed(999));
        assert_eq!(sink.lost(), 0);
    }

    #[test]
    fn a_full_disk_is_counted() {
        let sink = Sink::open(Path::new("/dev/full")).unwrap();
        sink.begin().unwrap();
        for id in 0..10 {
            sink.emit(healed(id));
        }
        sink.close();
        assert_eq!(sink.lost(), 10);
    }

    #[test]
    fn a_file_is_one_daemons_and_is_not_emptied_before_the_first_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        std::fs::write(&path, "an earlier session\n").unwrap();
        let sink = Sink::open(&path).unwrap();
        sink.begin().unwrap();
        assert!(matches!(Sink::open(&path), Err(SinkError::InUse(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "an earlier session\n");
        sink.emit(healed(1));
        sink.close();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let error = Sink::open(Path::new("/nonexistent/races.jsonl")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/races.jsonl"));
    }
}
