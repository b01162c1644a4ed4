//! The sandbox from inside: forbidden system calls, made by each thread of the running daemon.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Arc;

use dixtrap::control::{Client, Request};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use tempfile::TempDir;

use crate::kit::scsi::ScsiGuest;
use crate::kit::*;
use crate::prisoner::attempts::{self, Attempt};
use crate::prisoner::ring::{PAGE, READ, Ring, WRITE, descriptor_of};
use crate::prisoner::{Outcome, Prisoner, status_of, threads_of};

/// A daemon with a thread of every kind.
struct Cell {
    daemon: Daemon,
    scsi: bool,
    /// Who is connected.
    guest: Option<Guest>,
    _client: Client,
    victim: PathBuf,
}

/// What the victim says.
const PRECIOUS: &str = "precious";

impl Cell {
    fn new(folder: Arc<TempDir>, flags: &[&str]) -> Cell {
        let victim = folder.path().join("victim");
        std::fs::write(&victim, PRECIOUS).unwrap();
        let scsi = flags.contains(&"scsi");
        // A queue for SCSI that is never used: its thread is one too.
        let usual = ["--window", "100us", "--num-queues", if scsi { "2" } else { "1" }];
        let daemon = Daemon::start_in(folder, &[&usual, flags].concat());
        let guest = if scsi {
            ScsiGuest::plug(&daemon, false).guest
        } else {
            let mut guest = daemon.guest();
            guest.proves_it_works(0, 0);
            guest
        };
        let mut client = daemon.control();
        client.ask(&Request::Stats).unwrap();
        Cell { daemon, scsi, guest: Some(guest), _client: client, victim }
    }

    /// Whether the kernel has what this is about, and lets us look; says why not.
    fn can_be_searched(&self) -> bool {
        let reason = match status_of(self.daemon.id(), "Seccomp").as_str() {
            "2" => match Prisoner::take(self.daemon.id(), Pid::from_raw(self.daemon.id() as i32)) {
                Ok(_) => return true,
                Err(errno) => format!("its threads may not be traced here ({errno})"),
            },
            _ => format!("no filter of system calls: {}", self.daemon.stderr()),
        };
        eprintln!("skipped: {reason}");
        false
    }

    /// Has every thread make every attempt; answers what came of them.
    fn try_all(&self, attempts: &[&Attempt]) -> Vec<(String, &'static str, Outcome)> {
        let mut outcomes = Vec::new();
        for (thread, kind) in threads_of(self.daemon.id()) {
            // The kernel's own, for io_uring: nobody can stop them, and they run no code of ours.
            if kind.starts_with("iou-") {
                continue;
            }
            let mut prisoner = Prisoner::take(self.daemon.id(), thread).unwrap();
            for attempt in attempts.iter().filter(|it| !it.allowed.contains(&kind.as_str())) {
                let outcome = prisoner.call(attempt.number, &attempt.words);
                outcomes.push((kind.clone(), attempt.name, outcome));
            }
        }
        outcomes
    }

    /// It still does what it is for, to its end.
    fn works(mut self) {
        match self.guest.take() {
            Some(mut guest) if !self.scsi => guest.proves_it_works(0, 64),
            guest => drop(guest),
        }
        assert_eq!(std::fs::read_to_string(&self.victim).unwrap(), PRECIOUS);
        let (socket, control) = (self.daemon.socket(), self.daemon.control_path());
        self.daemon.stop();
        assert!(!socket.exists() && !control.exists(), "the sockets are removed");
    }
}

/// The kinds of threads that a daemon has with a front end and a control client.
fn kinds() -> BTreeSet<String> {
    let kinds = [
        "dixtrapd",
        "records",
        "messages",
        "explain",
        "growth",
        "control",
        "control client",
        "signals",
        "relay",
        "vhost-user",
        "vring_worker",
    ];
    kinds.into_iter().map(str::to_owned).collect()
}

/// On a real file system where there is one, for direct I/O and the page cache.
fn folder() -> Arc<TempDir> {
    crate::kit::direct::folder().unwrap_or_else(|| Arc::new(TempDir::new().unwrap()))
}

fn nothing_is_let_through(flags: &[&str]) {
    let cell = Cell::new(folder(), flags);
    if !cell.can_be_searched() {
        return;
    }
    let all = attempts::all(&cell.victim, std::process::id());
    assert!(all.len() >= 40, "{} attempts", all.len());
    let outcomes = cell.try_all(&all.iter().collect::<Vec<_>>());
    let through: Vec<_> = outcomes.iter().filter(|(.., outcome)| !outcome.is_refused()).collect();
    assert!(through.is_empty(), "{flags:?} lets through: {through:#?}");
    let tried: BTreeSet<_> = outcomes.iter().map(|(kind, ..)| kind.clone()).collect();
    assert_eq!(tried, kinds(), "a thread of every kind has tried");
    for kind in &tried {
        let count = outcomes.iter().filter(|(tried, ..)| tried == kind).count();
        assert!(count >= 40, "{kind} made {count} attempts");
    }
    cell.works();
}

#[test]
fn nothing_is_let_through_by_blk_on_a_file() {
    nothing_is_let_through(&[]);
}

#[test]
fn nothing_is_let_through_by_blk_in_memory() {
    nothing_is_let_through(&["--memory"]);
}

#[test]
fn nothing_is_let_through_by_blk_on_a_direct_file() {
    if crate::kit::direct::folder().is_some() {
        nothing_is_let_through(&["--direct"]);
    }
}

#[test]
fn nothing_is_let_through_by_scsi_on_a_file() {
    nothing_is_let_through(&["--device", "scsi"]);
}

#[test]
fn nothing_is_let_through_by_scsi_in_memory() {
    nothing_is_let_through(&["--device", "scsi", "--memory"]);
}

#[test]
fn nothing_is_let_through_by_scsi_on_a_direct_file() {
    if crate::kit::direct::folder().is_some() {
        nothing_is_let_through(&["--device", "scsi", "--direct"]);
    }
}

/// The attempts are real ones: without the sandbox the same threads make the same calls, and most of them
/// take effect.
#[test]
fn without_the_sandbox_they_are_let_through() {
    let cell = Cell::new(folder(), &["--no-sandbox"]);
    assert_eq!(status_of(cell.daemon.id(), "Seccomp"), status_of(std::process::id(), "Seccomp"));
    let main = Pid::from_raw(cell.daemon.id() as i32);
    let mut prisoner = match Prisoner::take(cell.daemon.id(), main) {
        Ok(prisoner) => prisoner,
        Err(errno) => return eprintln!("skipped: no thread may be traced here ({errno})"),
    };
    let all = attempts::all(&cell.victim, std::process::id());
    let mut effective = Vec::new();
    for attempt in all.iter().filter(|attempt| attempt.harmless) {
        let outcome = prisoner.call(attempt.number, &attempt.words);
        assert_ne!(outcome, Outcome::Trapped, "{}", attempt.name);
        if outcome.took_effect() {
            effective.push(attempt.name);
        } else {
            println!("{}: {outcome:?}", attempt.name);
        }
    }
    println!("{} of {} took effect: {effective:?}", effective.len(), all.len());
    if nix::unistd::geteuid().is_root() {
        assert!(effective.len() >= 40, "only {effective:?} took effect");
    }
}

/// A forbidden call that nobody keeps from it ends the daemon, with a word and a status of its own.
#[test]
fn a_forbidden_call_ends_the_daemon_with_a_word() {
    let mut cell = Cell::new(folder(), &[]);
    if !cell.can_be_searched() {
        return;
    }
    let threads = threads_of(cell.daemon.id());
    let (queue, _) = threads.into_iter().find(|(_, kind)| kind == "vring_worker").unwrap();
    let prisoner = Prisoner::take(cell.daemon.id(), queue).unwrap();
    prisoner.call_and_go(libc::SYS_socket, &[libc::AF_INET.into(), libc::SOCK_STREAM.into()]);
    let status = cell.daemon.wait();
    assert_eq!(status.code(), Some(dixtrap::sandbox::EXIT_STATUS), "{status}");
    let stderr = cell.daemon.stderr();
    for word in ["'vring_worker'", &format!("system call {}", libc::SYS_socket), "--no-sandbox"] {
        assert!(stderr.contains(word), "no {word} in {stderr}");
    }
}

/// The other gate into the kernel has other numbers: nobody may use it.
#[test]
fn a_call_as_a_32_bit_program_ends_the_daemon() {
    let mut cell = Cell::new(folder(), &[]);
    if !cell.can_be_searched() {
        return;
    }
    let main = Pid::from_raw(cell.daemon.id() as i32);
    let prisoner = Prisoner::take(cell.daemon.id(), main).unwrap();
    // getpid; as a 64-bit number it is writev.
    prisoner.call_and_go_as_32_bits(20);
    let status = cell.daemon.wait();
    let ended_by = [Some(libc::SIGSYS), Some(libc::SIGSEGV)];
    assert!(ended_by.contains(&status.signal()), "{status}");
}

/// The process beside the daemon, which removes its sockets.
fn janitor_of(daemon: u32) -> u32 {
    let mut processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        status.contains(&format!("\nPPid:\t{daemon}\n")).then_some(process)
    });
    processes.next().expect("there is a janitor")
}

/// It removes sockets in their folders, connects to one, and does nothing else for nobody.
#[test]
fn the_janitor_can_do_nothing_else() {
    let elsewhere = TempDir::new().unwrap();
    let foreign = elsewhere.path().join("foreign");
    std::fs::write(&foreign, PRECIOUS).unwrap();
    let cell = Cell::new(folder(), &[]);
    if !cell.can_be_searched() {
        return;
    }
    let janitor = janitor_of(cell.daemon.id());
    assert_eq!(status_of(janitor, "Seccomp"), "2");
    assert_eq!(std::fs::read_dir(format!("/proc/{janitor}/fd")).unwrap().count(), 2);
    let mut prisoner = Prisoner::take(janitor, Pid::from_raw(janitor as i32)).unwrap();
    let its_own =
        ["unlink", "unlinkat", "newfstatat", "statx", "a Unix socket", "connect", "sendmsg"];
    for attempt in attempts::all(&cell.victim, std::process::id()) {
        if !its_own.contains(&attempt.name) {
            let outcome = prisoner.call(attempt.number, &attempt.words);
            assert!(outcome.is_refused(), "{}: {outcome:?}", attempt.name);
        }
    }
    if !cell.daemon.stderr().contains("no Landlock") {
        let removed = prisoner.call(libc::SYS_unlink, &[foreign.to_str().unwrap().into()]);
        assert_eq!(removed, Outcome::Answered(-i64::from(libc::EACCES)));
    }
    drop(prisoner);
    cell.works();
}

/// A killed daemon's sockets stay: the next one may have taken the paths by then.
#[test]
fn the_janitor_of_a_killed_daemon_removes_nothing() {
    let mut cell = Cell::new(folder(), &[]);
    let janitor = janitor_of(cell.daemon.id());
    cell.daemon.signal(nix::sys::signal::Signal::SIGKILL);
    cell.daemon.wait();
    let ended = || {
        let status = std::fs::read_to_string(format!("/proc/{janitor}/status"));
        status.map_or(true, |status| status.contains("State:\tZ")).then_some(())
    };
    eventually("the janitor's end", ended);
    assert!(cell.daemon.socket().exists() && cell.daemon.control_path().exists());
}

/// What goes through io_uring is seen by no filter: the daemon's own ring refuses all but reads and
/// writes.
#[test]
fn the_rings_of_direct_io_take_nothing_but_reads_and_writes() {
    if crate::kit::direct::folder().is_none() {
        return;
    }
    let cell = Cell::new(folder(), &["--direct"]);
    if !cell.can_be_searched() {
        return;
    }
    let process = cell.daemon.id();
    let Some(ring) = Ring::of(process) else {
        return eprintln!("skipped: no io_uring here: {}", cell.daemon.stderr());
    };
    let (queue, _) =
        threads_of(process).into_iter().find(|(_, kind)| kind == "vring_worker").unwrap();
    let mut prisoner = Prisoner::take(process, queue).unwrap();
    let mut refused = 0;
    for opcode in (0..=70).filter(|opcode| ![READ, WRITE].contains(opcode)) {
        let result = ring.submit(&mut prisoner, opcode, 0, -1);
        // Numbers that this kernel does not know yet are invalid.
        assert!([-libc::EACCES, -libc::EINVAL].contains(&result), "opcode {opcode}: {result}");
        refused += u32::from(result == -libc::EACCES);
    }
    assert!(refused >= 30, "{refused} opcodes are refused");
    let disk = descriptor_of(process, "/disk.img").unwrap();
    for flags in [1u8, 2, 4, 8, 16, 32] {
        assert_eq!(ring.submit(&mut prisoner, READ, flags, disk), -libc::EACCES, "flags {flags}");
    }
    assert_eq!(ring.submit(&mut prisoner, READ, 0, disk), PAGE, "what it is for still works");
    drop(prisoner);
    cell.works();
}

/// Runs `test` where the kernel knows nothing of these calls: on a thread with a filter of its own, which
/// what it starts inherits.
fn on_a_kernel_without(calls: &[i64], test: impl FnOnce() + Send) {
    let rules = calls.iter().map(|number| (*number, Vec::new())).collect();
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = TargetArch::x86_64;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let run = move || match seccompiler::apply_filter(&program) {
        Ok(()) => test(),
        Err(error) => eprintln!("skipped: no filter of system calls here: {error}"),
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}

/// The layers hold each on its own, and the log has one line on what is missing.
#[test]
fn a_kernel_that_lacks_a_layer_has_the_others_and_a_line_says_so() {
    let landlock = libc::SYS_landlock_create_ruleset;
    let words = ["no Landlock", "system calls are not filtered"];
    for (missing, told) in [
        (&[landlock] as &[i64], [true, false]),
        (&[libc::SYS_seccomp], [false, true]),
        (&[landlock, libc::SYS_seccomp], [true, true]),
    ] {
        on_a_kernel_without(missing, || {
            let cell = Cell::new(folder(), &[]);
            let stderr = cell.daemon.stderr();
            assert_eq!(words.map(|word| stderr.contains(word)), told, "{stderr}");
            assert_eq!(stderr.matches("the sandbox has holes").count(), 1, "{stderr}");
            cell.works();
        });
    }
}

#[test]
fn nothing_is_let_through_without_landlock() {
    on_a_kernel_without(&[libc::SYS_landlock_create_ruleset], || nothing_is_let_through(&[]));
}

#[test]
fn without_io_uring_direct_transfers_are_made_one_at_a_time() {
    if crate::kit::direct::folder().is_some() {
        on_a_kernel_without(&[libc::SYS_io_uring_setup], || nothing_is_let_through(&["--direct"]));
    }
}

#[test]
fn the_process_gives_up_privileges_and_core_dumps() {
    for (flag, given_up) in [("--sandbox", "1"), ("--no-sandbox", "0")] {
        let cell = Cell::new(folder(), &[flag]);
        let process = cell.daemon.id();
        assert_eq!(status_of(process, "NoNewPrivs"), given_up, "{flag}");
        for (thread, kind) in threads_of(process) {
            let path = format!("/proc/{process}/task/{thread}/status");
            let status = std::fs::read_to_string(path).unwrap();
            assert!(status.contains(&format!("NoNewPrivs:\t{given_up}")), "{kind}: {status}");
        }
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let none = core.split_whitespace().skip(4).take(2).all(|limit| limit == "0");
        assert_eq!(none, given_up == "1" || core_is_off(), "{core}");
        cell.works();
    }
}

/// Not by the sandbox alone: without it there may be core dumps, and they are passed around.
#[test]
fn guest_memory_and_memory_disks_are_in_no_core_dump() {
    let cell = Cell::new(folder(), &["--memory", "--no-sandbox"]);
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", cell.daemon.id())).unwrap();
    let mut flags = Vec::new();
    for line in maps.lines() {
        if line.contains("/memfd:") {
            flags.push(None);
        }
        if let (Some(there), Some(last)) = (line.strip_prefix("VmFlags:"), flags.last_mut())
            && last.is_none()
        {
            *last = Some(there.split_whitespace().any(|flag| flag == "dd"));
        }
    }
    // Two regions of the guest's, the data and the tuples.
    assert_eq!(flags, [Some(true); 4]);
    cell.works();
}

/// Whether this test may dump core itself.
fn core_is_off() -> bool {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_CORE).unwrap() == (0, 0)
}
