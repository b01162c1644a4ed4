//! The records file: one whole JSON line after another, written by a thread of its own.
//!
//! A request must never wait for the disk that holds the records, so records go through a bounded
//! channel. What cannot be written (the channel or the disk is full, or nobody reads a pipe) is counted,
//! never passed over in silence, and a line that was cut by a full disk is taken back: what the file holds
//! is whole. Nor does the daemon wait for a reader that has stopped, at its end or at its start.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::{Output, Written};
use super::quota::{Quota, Ruling, Withheld, begins_label};
use crate::made::MadeFile;
use crate::record::{Line, Record};
use crate::sandbox::{Thread, confine};
use crate::units::ByteSize;

/// How many records may wait for the writer.
const BACKLOG: usize = 1 << 16;
/// How long a FIFO's reader may take to open it.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end waits for a reader to take what is left.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// Why records cannot be written at all.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file cannot be made.
    #[error("cannot write records to {0}: choose another --races file")]
    Create(String, #[source] io::Error),
    /// Another daemon writes there.
    #[error("{0} gets the records of another dixtrapd: choose another --races file")]
    InUse(String),
    /// A FIFO without a reader.
    #[error("nobody reads the FIFO {0}: start its reader first, or choose another --races file")]
    NoReader(String),
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
    channel: Mutex<Option<Feed>>,
    /// What the writer will have, until it begins.
    ready: Mutex<Option<(Receiver<Record>, Writer)>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    made: Mutex<Option<MadeFile>>,
    tail: Arc<Tail>,
}

/// Where records are handed over.
#[derive(Debug)]
struct Feed {
    sender: SyncSender<Record>,
    /// How many labels have begun.
    labels: u64,
}

/// What the writer and the others have in common.
#[derive(Debug, Default)]
struct Tail {
    lost: AtomicU64,
    withheld: Withheld,
    /// When the writer has to have ended.
    deadline: Mutex<Option<Instant>>,
    /// What it writes last, whatever finds no room.
    last: Mutex<Option<Record>>,
}

impl Sink {
    /// A sink that keeps nothing.
    pub fn none() -> Sink {
        Sink::over(None)
    }

    /// Writes to the file at `path`, which begins anew with the first record, or to standard output for `-`.
    /// Races and their like end at `limit`, where there is one.
    pub fn open(path: &Path, limit: Option<ByteSize>) -> Result<Sink, SinkError> {
        let name = || path.display().to_string();
        let output = if path.as_os_str() == "-" {
            Output::stdout().map(|output| (output, None))
        } else {
            Output::open(path, START_PATIENCE)
        };
        let (output, made) = output.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => SinkError::InUse(name()),
            io::ErrorKind::TimedOut => SinkError::NoReader(name()),
            _ => SinkError::Create(name(), error),
        })?;
        let sink = Sink::to(Writer { output, quota: Quota::new(limit) });
        *lock(&sink.shared.made) = made;
        Ok(sink)
    }

    /// The records' file, where [`Sink::open`] has made it; told once.
    pub fn take_made(&self) -> Option<MadeFile> {
        lock(&self.shared.made).take()
    }

    fn to(writer: Writer) -> Sink {
        let (sender, receiver) = sync_channel(BACKLOG);
        Sink::over(Some((Feed { sender, labels: 0 }, (receiver, writer))))
    }

    fn over(ends: Option<(Feed, (Receiver<Record>, Writer))>) -> Sink {
        let (channel, ready) = ends.unzip();
        let (channel, ready) = (Mutex::new(channel), Mutex::new(ready));
        let (writer, made) = (Mutex::default(), Mutex::default());
        Sink { shared: Arc::new(Shared { channel, ready, writer, made, tail: Arc::default() }) }
    }

    /// Starts the thread that writes: not at once, for it has to be inside of the sandbox. Records wait
    /// for it.
    pub fn begin(&self) -> Result<(), SinkError> {
        let ready = lock(&self.shared.ready).take();
        let Some((receiver, writer)) = ready else { return Ok(()) };
        let tail = Arc::clone(&self.shared.tail);
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                confine(Thread::Records);
                write_all(&receiver, writer, &tail);
            })
            .map_err(SinkError::Thread)?;
        *lock(&self.shared.writer) = Some(thread);
        Ok(())
    }

    /// Hands a record to the writer; never waits.
    pub fn emit(&self, record: Record) {
        let (mut channel, tail) = (lock(&self.shared.channel), &self.shared.tail);
        let Some(feed) = channel.as_mut() else { return };
        feed.labels = feed.labels.saturating_add(u64::from(begins_label(&record)));
        if tail.withheld.takes(&record, feed.labels) || feed.sender.try_send(record).is_ok() {
            return;
        }
        if tail.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            log::error!(
                "records find no room and are only counted: are they read, is the disk slow?"
            );
        }
    }

    /// How many records were not written because of the limit.
    pub fn withheld(&self) -> u64 {
        self.shared.tail.withheld.count()
    }

    /// How many records could not be written.
    pub fn lost(&self) -> u64 {
        self.shared.tail.lost.load(Ordering::Relaxed)
    }

    /// Writes everything handed over so far and then `last`, and ends the writer. Later records are
    /// dropped. A reader that has stopped is waited for, but not for ever.
    pub fn close(&self, last: Option<Record>) {
        if let Err(error) = self.begin() {
            log::error!("{error}");
        }
        *lock(&self.shared.tail.last) = last;
        *lock(&self.shared.tail.deadline) = Some(Instant::now() + END_PATIENCE);
        let sender = lock(&self.shared.channel).take();
        drop(sender);
        let writer = lock(&self.shared.writer).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            log::error!("the thread that writes the records ended early");
        }
        match self.lost() {
            0 => {}
            lost => {
                log::error!("{lost} records could not be written: what there is of them is not all")
            }
        }
    }
}

/// Who writes.
#[derive(Debug)]
struct Writer {
    output: Output,
    quota: Quota,
}

/// The writer's loop: as many records as are waiting make one write.
fn write_all(receiver: &Receiver<Record>, mut writer: Writer, tail: &Tail) {
    while let Ok(first) = receiver.recv() {
        let batch = std::iter::once(first).chain(receiver.try_iter().take(256));
        writer.write_batch(batch, tail);
    }
    let Some(mut last) = lock(&tail.last).take() else { return };
    if let Record::Stop(stop) = &mut last {
        stop.counters.records_lost = tail.lost.load(Ordering::Relaxed);
        stop.counters.records_withheld = tail.withheld.count();
    }
    writer.write_batch(std::iter::once(last), tail);
}

impl Writer {
    fn write_batch(&mut self, records: impl Iterator<Item = Record>, tail: &Tail) {
        let (mut buffer, mut count) = (Vec::new(), 0);
        for record in records {
            count += u64::from(self.append(&mut buffer, record, tail).is_ok());
        }
        let go_on = || lock(&tail.deadline).is_none_or(|deadline| Instant::now() < deadline);
        let (missing, error) = match self.output.write_whole(&buffer, go_on) {
            Ok(Written::All) => return,
            Ok(Written::Short { lines_lost, error }) => (lines_lost, error),
            Err(error) => (count, error),
        };
        if tail.lost.fetch_add(missing, Ordering::Relaxed) == 0 {
            let why = match error.kind() {
                io::ErrorKind::TimedOut => "nobody reads them".to_owned(),
                _ => error.to_string(),
            };
            log::error!("records cannot be written and are only counted: {why}");
        }
    }

    /// Appends a record as one line, where it is one that is written.
    fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        record: Record,
        tail: &Tail,
    ) -> serde_json::Result<()> {
        let line = line_of(record.clone())?;
        match self.quota.judge(&record, line.len() as u64, &tail.withheld) {
            Ruling::Written => buffer.extend(line),
            Ruling::WrittenAfter(limit) => {
                buffer.extend(line_of(limit)?);
                buffer.extend(line);
            }
            Ruling::Withheld => {}
            Ruling::Replaced(limit) => buffer.extend(line_of(limit)?),
        }
        Ok(())
    }
}

/// A record as one line.
fn line_of(record: Record) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Line::from(record))?;
    line.push(b'\n');
    Ok(line)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let sink = Sink::open(&path, None).unwrap();
        sink.begin().unwrap();
        for id in 0..1000 {
            sink.emit(healed(id));
        }
        sink.close(None);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 1000);
        assert_eq!(lines[999].record, healed(999));
        assert_eq!(sink.lost(), 0);
    }

    #[test]
    fn a_full_disk_is_counted() {
        let sink = Sink::open(Path::new("/dev/full"), None).unwrap();
        sink.begin().unwrap();
        for id in 0..10 {
            sink.emit(healed(id));
        }
        sink.close(None);
        assert_eq!(sink.lost(), 10);
    }

    #[test]
    fn a_file_is_one_daemons_and_is_not_emptied_before_the_first_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("races.jsonl");
        std::fs::write(&path, "an earlier session\n").unwrap();
        let sink = Sink::open(&path, None).unwrap();
        sink.begin().unwrap();
        assert!(matches!(Sink::open(&path, None), Err(SinkError::InUse(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "an earlier session\n");
        sink.emit(healed(1));
        sink.close(None);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let error = Sink::open(Path::new("/nonexistent/races.jsonl"), None).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/races.jsonl"));
    }
}
