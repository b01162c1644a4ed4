//! Runs one program for the host: streams its output, and kills its process group when its time is up.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::guest::protocol::{ExitStatus, Reply, Stream};

/// How often the program is looked at while it is silent.
const LOOK: Duration = Duration::from_millis(10);

/// How long a killed program may take to die, and its output to arrive after its end.
const DYING: Duration = Duration::from_secs(5);

/// The longest piece of output that is sent as one line.
const MAX_TEXT: u64 = 64 << 10;

/// How many lines may wait for the host before the program has to wait too.
const BACKLOG: usize = 256;

/// What to run.
#[derive(Debug, Clone)]
pub struct Work {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of ours.
    pub env: BTreeMap<String, String>,
    /// How long it may run.
    pub timeout_ms: u64,
}

/// Runs it and sends every reply that it gives rise to. Setting `terminate` asks its process group
/// to end.
pub fn run(work: Work, terminate: &AtomicBool, send: &dyn Fn(Reply)) {
    match start(&work) {
        Ok(child) => attend(child, Duration::from_millis(work.timeout_ms), terminate, send),
        Err(error) => {
            send(Reply::Error { message: format!("cannot run {}: {error}", work.argv.join(" ")) });
        }
    }
}

fn start(work: &Work) -> io::Result<Child> {
    let (program, args) = work.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).envs(&work.env).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn()
}

fn attend(mut child: Child, limit: Duration, terminate: &AtomicBool, send: &dyn Fn(Reply)) {
    let started = Instant::now();
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let signal = |signal| {
        // Nobody left to signal is what is wanted.
        let _ = group.map(|group| killpg(group, signal));
    };
    let kill = || signal(Signal::SIGKILL);
    let (lines, output) = sync_channel(BACKLOG);
    forward(child.stdout.take(), Stream::Stdout, lines.clone());
    forward(child.stderr.take(), Stream::Stderr, lines);
    let mut ended: Option<(ExitStatus, Instant)> = None;
    let mut killed = None;
    loop {
        let open = match output.recv_timeout(LOOK) {
            Ok(reply) => {
                send(reply);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(LOOK);
                false
            }
        };
        if ended.is_none() {
            ended = status(&mut child, killed.is_some()).map(|status| (status, Instant::now()));
            if ended.is_some() {
                // What the program left behind in its group would hold its output open.
                kill();
            }
        }
        if ended.is_none() && terminate.swap(false, Ordering::Relaxed) {
            signal(Signal::SIGTERM);
        }
        if killed.is_none() && ended.is_none() && started.elapsed() >= limit {
            kill();
            killed = Some(Instant::now());
        }
        let late = |since: Instant| since.elapsed() > DYING;
        match (ended, killed) {
            (Some((status, since)), _) if !open || late(since) => {
                return send(exited(status, started));
            }
            (None, Some(since)) if late(since) => {
                return send(exited(ExitStatus::TimedOut { stuck: true }, started));
            }
            _ => {}
        }
    }
}

fn status(child: &mut Child, killed: bool) -> Option<ExitStatus> {
    // An error means that there is no such child any more; PID 1 does not take ours.
    let status = child.try_wait().ok()??;
    Some(match (status.signal(), status.code()) {
        _ if killed => ExitStatus::TimedOut { stuck: false },
        (Some(signal), _) => ExitStatus::Signal(signal),
        (None, code) => ExitStatus::Code(code.unwrap_or_default()),
    })
}

fn exited(status: ExitStatus, started: Instant) -> Reply {
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Reply::Exited { status, elapsed_ms }
}

/// Sends what comes out of `pipe` line by line, on a thread of its own.
fn forward(pipe: Option<impl Read + Send + 'static>, stream: Stream, lines: SyncSender<Reply>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.by_ref().take(MAX_TEXT).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
            if lines.send(Reply::Output { stream, text: text.into_owned() }).is_err() {
                return;
            }
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// How long a child that nobody ends would sleep; a busy machine is faster than that.
    const LEFT_BEHIND: Duration = Duration::from_secs(30);

    fn shell(script: &str, timeout_ms: u64) -> Vec<Reply> {
        let replies = Mutex::new(Vec::new());
        let argv = ["sh", "-c", script].map(String::from).to_vec();
        let env = [("X".to_owned(), "y".to_owned())].into();
        let terminate = AtomicBool::new(false);
        run(Work { argv, env, timeout_ms }, &terminate, &|reply| {
            if reply == line(Stream::Stdout, "ready") {
                terminate.store(true, Ordering::Relaxed);
            }
            replies.lock().unwrap().push(reply);
        });
        replies.into_inner().unwrap()
    }

    fn line(stream: Stream, text: &str) -> Reply {
        Reply::Output { stream, text: text.into() }
    }

    fn status_of(replies: &[Reply]) -> ExitStatus {
        let Some(Reply::Exited { status, .. }) = replies.last() else { panic!("{replies:?}") };
        *status
    }

    #[test]
    fn output_is_tagged_and_the_status_comes_last() {
        let replies = shell("echo $X; printf unfinished >&2; exit 3", 10_000);
        assert!(replies.contains(&line(Stream::Stdout, "y")));
        assert!(replies.contains(&line(Stream::Stderr, "unfinished")));
        assert_eq!((replies.len(), status_of(&replies)), (3, ExitStatus::Code(3)));
        assert_eq!(status_of(&shell("kill -TERM $$", 10_000)), ExitStatus::Signal(15));
    }

    #[test]
    fn a_script_that_is_asked_to_end_still_cleans_up() {
        // The signal may come before the first sleep begins, so no sleep may be a long one.
        let script = "trap 'stopped=1' TERM; echo ready
            while [ -z \"$stopped\" ]; do sleep 0.05; done; echo clean $stopped";
        let replies = shell(script, 20_000);
        assert!(replies.contains(&line(Stream::Stdout, "clean 1")), "{replies:?}");
        assert_eq!(status_of(&replies), ExitStatus::Code(0));
    }

    #[test]
    fn the_whole_group_dies_when_time_is_up() {
        let started = Instant::now();
        let replies = shell("sleep 30 & echo begun; wait", 300);
        assert_eq!(status_of(&replies), ExitStatus::TimedOut { stuck: false });
        assert_eq!(replies.len(), 2);
        assert!(started.elapsed() < LEFT_BEHIND);
    }

    #[test]
    fn a_child_left_behind_does_not_hold_the_answer() {
        let started = Instant::now();
        assert_eq!(status_of(&shell("sleep 30 & exit 0", 20_000)), ExitStatus::Code(0));
        assert!(started.elapsed() < LEFT_BEHIND);
    }

    #[test]
    fn no_such_program_is_an_error() {
        let replies = Mutex::new(Vec::new());
        for argv in [vec!["/no/such".to_owned()], vec![]] {
            let work = Work { argv, env: BTreeMap::new(), timeout_ms: 1 };
            run(work, &AtomicBool::new(false), &|reply| replies.lock().unwrap().push(reply));
        }
        let replies = replies.into_inner().unwrap();
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Error { .. })), "{replies:?}");
        assert_eq!(replies.len(), 2);
    }
}
