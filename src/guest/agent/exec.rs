//! Runs one program for the host: streams its output, and kills its process group when its time is up,
//! and what it left behind when it has ended.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::channel::Channel;
use super::orphans::Orphans;
use super::output::forward;
use super::watched::Watched;
use crate::guest::protocol::{ExitStatus, Reply, Stream, WRITING};

/// How often the program is looked at while it is silent.
const LOOK: Duration = Duration::from_millis(10);

/// How long a killed program may take to die, and its output to arrive after its end.
const DYING: Duration = Duration::from_secs(5);

/// How many lines may wait for the host before the program has to wait too.
const BACKLOG: usize = 256;

/// A program to run for the host, and what it is run with.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables on top of ours.
    pub env: BTreeMap<String, String>,
    /// How long it may run.
    pub timeout_ms: u64,
    /// A file to be read while it writes.
    pub watch: Option<PathBuf>,
}

/// What the host asks of a program that runs.
#[derive(Debug, Default)]
pub struct Wishes {
    /// That its process group ends.
    pub terminate: AtomicBool,
    /// How many of those that wait for it go on writing: each is waited for, so none may be lost.
    pub heard: AtomicU32,
}

/// Runs it and sends every reply that it gives rise to.
pub fn run(work: Work, wishes: &Wishes, orphans: &Orphans, send: &dyn Fn(Reply)) {
    match Attended::start(&work, orphans) {
        Ok(attended) => attended.attend(wishes, send),
        Err(error) => {
            send(Reply::Error { message: format!("cannot run {}: {error}", work.argv.join(" ")) });
        }
    }
}

/// A program that runs.
struct Attended<'a> {
    child: Child,
    group: Option<Pid>,
    channel: Channel,
    /// The channel has nothing more to say.
    over: Arc<AtomicBool>,
    output: Receiver<Reply>,
    watched: Watched,
    orphans: &'a Orphans,
    limit: Duration,
    started: Instant,
}

impl Attended<'_> {
    fn start<'a>(work: &Work, orphans: &'a Orphans) -> io::Result<Attended<'a>> {
        let (program, args) = work.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let channel = Channel::make()?;
        let mut command = Command::new(program);
        command.args(args).envs(&work.env).envs(channel.variables()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = orphans.start(|| command.spawn())?;
        let over = Arc::<AtomicBool>::default();
        let (lines, output) = sync_channel(BACKLOG);
        forward(channel.listen(Arc::clone(&over)).ok(), Stream::Told, lines.clone());
        forward_outputs(&mut child, lines);
        Ok(Attended {
            group: i32::try_from(child.id()).ok().map(Pid::from_raw),
            child,
            channel,
            over,
            output,
            watched: Watched::new(work.watch.as_deref()),
            orphans,
            limit: Duration::from_millis(work.timeout_ms),
            started: Instant::now(),
        })
    }

    fn attend(mut self, wishes: &Wishes, send: &dyn Fn(Reply)) {
        let mut left_behind = Vec::new();
        let mut ended: Option<(ExitStatus, Instant)> = None;
        let mut killed = None;
        loop {
            let open = self.pass_on(send);
            self.watched.look();
            if ended.is_none() {
                ended = self.status(killed.is_some()).map(|status| (status, Instant::now()));
                if ended.is_some() {
                    left_behind = self.bury();
                }
            }
            if ended.is_none() {
                self.grant(wishes);
            }
            if killed.is_none() && ended.is_none() && self.started.elapsed() >= self.limit {
                self.signal(Signal::SIGKILL);
                killed = Some(Instant::now());
            }
            let late = |since: Instant| since.elapsed() > DYING;
            match (ended, killed) {
                (Some((status, since)), _) if !open || late(since) => {
                    return send(self.exited(status, left_behind));
                }
                (None, Some(since)) if late(since) => {
                    return send(self.exited(ExitStatus::TimedOut { stuck: true }, left_behind));
                }
                _ => {}
            }
        }
    }

    /// Passes the next line on, and tells whether there may be more.
    fn pass_on(&mut self, send: &dyn Fn(Reply)) -> bool {
        match self.output.recv_timeout(LOOK) {
            Ok(reply) => {
                if matches!(&reply, Reply::Output { stream: Stream::Told, text } if text == WRITING)
                {
                    self.watched.begin();
                }
                send(reply);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(LOOK);
                false
            }
        }
    }

    /// Sees to what the host wishes.
    fn grant(&self, wishes: &Wishes) {
        if wishes.terminate.swap(false, Ordering::Relaxed) {
            self.signal(Signal::SIGTERM);
        }
        for _ in 0..wishes.heard.swap(0, Ordering::Relaxed) {
            self.channel.answer();
        }
    }

    /// Ends what the program left behind: it would hold its output open, and write on.
    fn bury(&self) -> Vec<String> {
        self.signal(Signal::SIGKILL);
        self.orphans.forget(&self.child);
        let names = self.orphans.end();
        self.over.store(true, Ordering::Release);
        names
    }

    fn signal(&self, signal: Signal) {
        // Nobody left to signal is what is wanted.
        let _ = self.group.map(|group| killpg(group, signal));
    }

    fn status(&mut self, killed: bool) -> Option<ExitStatus> {
        // An error means that there is no such child any more; PID 1 does not take ours.
        let status = self.child.try_wait().ok()??;
        Some(match (status.signal(), status.code()) {
            _ if killed => ExitStatus::TimedOut { stuck: false },
            (Some(signal), _) => ExitStatus::Signal(signal),
            (None, code) => ExitStatus::Code(code.unwrap_or_default()),
        })
    }

    fn exited(&self, status: ExitStatus, left_behind: Vec<String>) -> Reply {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Reply::Exited { status, elapsed_ms, watched: self.watched.values(), left_behind }
    }
}

fn forward_outputs(child: &mut Child, lines: SyncSender<Reply>) {
    forward(child.stdout.take(), Stream::Stdout, lines.clone());
    forward(child.stderr.take(), Stream::Stderr, lines);
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
        let wishes = Wishes::default();
        let work = Work { argv, env, timeout_ms, watch: Some("/proc/sys/kernel/ostype".into()) };
        run(work, &wishes, &Orphans::default(), &|reply| {
            if reply == line(Stream::Stdout, "ready") {
                wishes.terminate.store(true, Ordering::Relaxed);
            }
            if reply == line(Stream::Told, WRITING) {
                wishes.heard.fetch_add(1, Ordering::Relaxed);
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
    fn who_says_that_it_writes_waits_until_it_is_heard_whatever_its_output_is() {
        let script = "exec >/dev/null 2>&1
            echo 'dixtrap: writing' >\"$DIXTRAP_TELL\"; read -r _ <\"$DIXTRAP_HEARD\"
            echo 'dixtrap: done' >\"$DIXTRAP_TELL\"";
        let replies = shell(script, 20_000);
        let told = [line(Stream::Told, WRITING), line(Stream::Told, "dixtrap: done")];
        assert_eq!(replies[..2], told);
        let Reply::Exited { status, watched, .. } = &replies[2] else { panic!("{replies:?}") };
        assert_eq!((*status, &watched[..]), (ExitStatus::Code(0), &["Linux".to_owned()][..]));
    }

    #[test]
    fn of_many_that_say_so_at_once_every_one_goes_on() {
        let script =
            "say() { echo 'dixtrap: writing' >\"$DIXTRAP_TELL\"; read -r _ <\"$DIXTRAP_HEARD\"; }
            for _ in 1 2 3 4 5 6 7 8; do say & done; wait; echo all";
        let replies = shell(script, 20_000);
        assert!(replies.contains(&line(Stream::Stdout, "all")), "{replies:?}");
        assert_eq!(status_of(&replies), ExitStatus::Code(0));
    }

    #[test]
    fn a_flood_neither_hangs_nor_arrives_whole() {
        let replies =
            shell("head -c 50000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo end", 60_000);
        assert_eq!(status_of(&replies), ExitStatus::Code(0));
        let bytes: usize = replies
            .iter()
            .map(|reply| match reply {
                Reply::Output { text, .. } => text.len(),
                _ => 0,
            })
            .sum();
        assert!(bytes < 1 << 20, "{bytes}");
        assert!(replies.contains(&line(Stream::Stdout, "end")));
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
            let work = Work { argv, timeout_ms: 1, ..Work::default() };
            let send = |reply| replies.lock().unwrap().push(reply);
            run(work, &Wishes::default(), &Orphans::default(), &send);
        }
        let replies = replies.into_inner().unwrap();
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Error { .. })), "{replies:?}");
        assert_eq!(replies.len(), 2);
    }
}
