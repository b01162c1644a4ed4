//! What the daemon says on standard error, without ever waiting for it.
//!
//! A guest can make the daemon complain as often as it likes, and nobody need be reading. So the threads
//! that complain hand their lines to one that writes them, over a bounded channel: what finds it full is
//! counted, and a line tells how many were lost. And of each kind of message, which is the place in the
//! program that it comes from, the first ones in a while are said in full; those after them are counted.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use env_logger::{Builder, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::patient;
use crate::sandbox::{Thread, confine};

/// How many lines may wait to be written.
const BACKLOG: usize = 1024;
/// How many of a kind are said in full, until the kinds are told and begin anew.
const IN_FULL: u64 = 8;
/// How often what was only counted is told.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the end waits for a reader.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of a message stands for its kind.
const SHOWN: usize = 160;

/// The daemon's messages: [`begin`](Messages::begin) has them written, [`end`](Messages::end) writes the
/// last ones.
#[derive(Debug)]
pub struct Messages {
    gate: &'static Gate,
    shared: Arc<Shared>,
    /// What the writer will have, until it begins.
    lines: Mutex<Option<Receiver<Vec<u8>>>>,
    ended: Mutex<Option<Receiver<()>>>,
}

/// What those that complain share with the one that writes.
#[derive(Debug)]
struct Shared {
    channel: Mutex<Option<SyncSender<Vec<u8>>>>,
    lost: AtomicU64,
    /// When the writer has to have ended.
    deadline: Mutex<Option<Instant>>,
}

impl Messages {
    /// Takes all messages of this process from here on; they wait until the writer begins. `RUST_LOG` says
    /// which there are: warnings and errors, if it is not set.
    pub fn install() -> Messages {
        let (sender, receiver) = sync_channel(BACKLOG);
        let (channel, lost) = (Mutex::new(Some(sender)), AtomicU64::new(0));
        let shared = Arc::new(Shared { channel, lost, deadline: Mutex::default() });
        // As `env_logger` would have it for standard error: what it writes to here is no terminal.
        let plain = std::env::var_os("NO_COLOR").is_some() || !io::stderr().is_terminal();
        let style = if plain { WriteStyle::Never } else { WriteStyle::Always };
        let inner = Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
            .target(Target::Pipe(Box::new(Tube(Arc::clone(&shared)))))
            .write_style(style)
            .build();
        let level = inner.filter();
        // As long as the process: `log` asks for that.
        let gate: &'static Gate = Box::leak(Box::new(Gate::new(inner)));
        if log::set_logger(gate).is_ok() {
            log::set_max_level(level);
        }
        Messages { gate, shared, lines: Mutex::new(Some(receiver)), ended: Mutex::default() }
    }

    /// Starts the thread that writes: not at once, for it has to be inside of the sandbox.
    pub fn begin(&self) -> io::Result<()> {
        let Some(lines) = lock(&self.lines).take() else { return Ok(()) };
        let (gate, shared) = (self.gate, Arc::clone(&self.shared));
        let (told, ended) = sync_channel(1);
        std::thread::Builder::new().name("messages".to_owned()).spawn(move || {
            confine(Thread::Messages);
            write_lines(&lines, gate, &shared);
            // Nobody waits any more where this fails.
            let _ = told.send(());
        })?;
        *lock(&self.ended) = Some(ended);
        Ok(())
    }

    /// Tells what was only counted, and writes what is left for as long as somebody reads it. Messages
    /// after this are dropped.
    pub fn end(&self) {
        self.gate.tell_counts();
        *lock(&self.shared.deadline) = Some(Instant::now() + PATIENCE);
        drop(lock(&self.shared.channel).take());
        if let Some(lines) = lock(&self.lines).take() {
            write_lines(&lines, self.gate, &self.shared);
        }
        if let Some(ended) = lock(&self.ended).take() {
            // It keeps to the deadline itself; a terminal that was stopped may hold it for ever.
            let _ = ended.recv_timeout(2 * PATIENCE);
        }
    }
}

/// The last word of a program that ends, on standard error: whoever does not read it is not waited for.
pub fn last_word(line: &str) {
    let until = Instant::now() + PATIENCE;
    // Nothing is left to do where it cannot be said.
    let _ = patient::write_all(io::stderr().as_fd(), format!("{line}\n").as_bytes(), || {
        Instant::now() < until
    });
}

/// The writer's loop.
fn write_lines(lines: &Receiver<Vec<u8>>, gate: &Gate, shared: &Shared) {
    let mut told = Instant::now();
    loop {
        match lines.recv_timeout(INTERVAL.saturating_sub(told.elapsed())) {
            Ok(line) => shared.write(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if told.elapsed() >= INTERVAL {
            gate.tell_counts();
            told = Instant::now();
        }
    }
}

impl Shared {
    /// Writes a line, and one before it where others were lost.
    fn write(&self, line: &[u8]) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut bytes = Vec::new();
        if lost > 0 {
            bytes =
                format!("dixtrapd: {lost} messages were lost: nobody read this in time\n").into();
        }
        bytes.extend_from_slice(line);
        let go_on = || lock(&self.deadline).is_none_or(|deadline| Instant::now() < deadline);
        if patient::write_all(io::stderr().as_fd(), &bytes, go_on).is_err() {
            self.lost.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// What `env_logger` writes to: a line a call.
struct Tube(Arc<Shared>);

impl Write for Tube {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let channel = lock(&self.0.channel);
        if channel.as_ref().is_none_or(|channel| channel.try_send(line.to_vec()).is_err()) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in the program a message comes from.
type Kind = (&'static str, u32);

/// What is known of the messages of a kind.
#[derive(Debug)]
struct Known {
    level: Level,
    said: u64,
    more: u64,
    /// The first of those that were only counted.
    like: String,
}

/// Lets the first messages of a kind through, and counts the others.
struct Gate {
    inner: env_logger::Logger,
    kinds: Mutex<HashMap<Kind, Known>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    fn new(inner: env_logger::Logger) -> Self {
        Gate { inner, kinds: Mutex::default() }
    }

    /// Counts a message; answers whether it is said in full. Who asks for more than `info` looks for
    /// something, and gets every message that there is room for.
    fn admits(&self, record: &Record<'_>) -> bool {
        let Some(place) = record.file_static().or_else(|| record.module_path_static()) else {
            return true;
        };
        if record.level() > LevelFilter::Info {
            return true;
        }
        let mut kinds = lock(&self.kinds);
        let known = kinds.entry((place, record.line().unwrap_or(0))).or_insert_with(|| Known {
            level: record.level(),
            said: 0,
            more: 0,
            like: String::new(),
        });
        if known.said < IN_FULL {
            known.said += 1;
            return true;
        }
        if known.more == 0 {
            known.like = record.args().to_string().chars().take(SHOWN).collect();
        }
        known.more = known.more.saturating_add(1);
        false
    }

    /// Tells of each kind how many were only counted; all kinds begin anew.
    fn tell_counts(&self) {
        let kinds = std::mem::take(&mut *lock(&self.kinds));
        for ((place, line), known) in kinds.into_iter().filter(|(_, known)| known.more > 0) {
            let Known { level, more, like, .. } = known;
            self.inner.log(
                &Record::builder()
                    .level(level)
                    .target(module_path!())
                    .file_static(Some(place))
                    .line(Some(line))
                    .args(format_args!("{more} more like this: {like}"))
                    .build(),
            );
        }
    }
}

impl Log for Gate {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.inner.matches(record) && self.admits(record) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gate, and what comes through it.
    fn gate(filter: &str) -> (Gate, Arc<Shared>, Receiver<Vec<u8>>) {
        let (sender, lines) = sync_channel(100);
        let shared = Arc::new(Shared {
            channel: Mutex::new(Some(sender)),
            lost: AtomicU64::new(0),
            deadline: Mutex::default(),
        });
        let mut builder = Builder::new();
        builder.parse_filters(filter).format_timestamp(None);
        builder.target(Target::Pipe(Box::new(Tube(Arc::clone(&shared)))));
        (Gate::new(builder.build()), shared, lines)
    }

    fn say(gate: &Gate, (line, level): (u32, Level), text: &str) {
        let (file, target) = (Some("src/x.rs"), "dixtrap::x");
        let mut record = Record::builder();
        record.level(level).target(target).file_static(file).line(Some(line));
        gate.log(&record.args(format_args!("{text}")).build());
    }

    fn heard(lines: &Receiver<Vec<u8>>) -> Vec<String> {
        lines.try_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn the_first_of_a_kind_are_said_and_the_others_counted() {
        let (gate, _, lines) = gate("info");
        for number in 0..30 {
            say(&gate, (1, Level::Warn), &format!("bad request {number}"));
        }
        say(&gate, (2, Level::Error), "another matter");
        let said = heard(&lines);
        assert_eq!(said.len() as u64, IN_FULL + 1, "{said:?}");
        assert!(said[0].contains("bad request 0") && said[8].contains("another matter"));
        gate.tell_counts();
        let told = heard(&lines);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("WARN") && told[0].contains("22 more like this: bad request 8"));
        gate.tell_counts();
        assert!(heard(&lines).is_empty());
        say(&gate, (1, Level::Warn), "bad request again");
        assert_eq!(heard(&lines).len(), 1, "a kind that was told begins anew");
    }

    #[test]
    fn who_asks_for_everything_gets_it_and_a_message_that_is_filtered_out_is_none() {
        let (gate, _, lines) = gate("warn,dixtrap::x=debug");
        for _ in 0..30 {
            say(&gate, (1, Level::Debug), "a step");
            say(&gate, (2, Level::Trace), "a small step");
        }
        assert_eq!(heard(&lines).len(), 30);
        gate.tell_counts();
        assert!(heard(&lines).is_empty());
    }

    #[test]
    fn what_finds_the_channel_full_is_counted_and_nobody_waits() {
        let (gate, shared, lines) = gate("debug");
        for _ in 0..130 {
            say(&gate, (1, Level::Debug), "a step");
        }
        assert_eq!(shared.lost.load(Ordering::Relaxed), 30);
        assert_eq!(heard(&lines).len(), 100);
    }
}
