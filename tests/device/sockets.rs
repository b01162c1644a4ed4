//! Whose the daemon's sockets are: one daemon's, and its owner's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use dixtrap::control::{Client, Request};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kit::daemon::Refusal;
use crate::kit::programs::Guarded;
use crate::kit::*;

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// A daemon with a memory disk, behind the socket of all of them.
fn start(dir: &Path, before: &str, args: &str) -> Guarded {
    let line = format!("{before}; exec \"$0\" --socket-path its.sock --size 1M {args}");
    let mut command = Command::new("sh");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_dixtrapd")]).current_dir(dir);
    Guarded(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn end(mut daemon: Guarded) -> bool {
    daemon.signal(Signal::SIGTERM);
    daemon.wait().unwrap().success()
}

#[test]
fn sockets_are_their_owners_alone_whatever_the_umask() {
    for (umask, args, wanted) in [
        ("umask 0", "--control ctl.sock", 0o600),
        ("umask 777", "--control ctl.sock", 0o600),
        ("umask 77", "--control ctl.sock --socket-mode 660", 0o660),
        ("umask 77", "--control ctl.sock --socket-mode 666 --no-sandbox", 0o666),
    ] {
        let dir = TempDir::new().unwrap();
        let daemon = start(dir.path(), umask, args);
        let (socket, control) = (dir.path().join("its.sock"), dir.path().join("ctl.sock"));
        let up = || UnixStream::connect(&control).ok().map(|_| ());
        eventually("the daemon's sockets", up);
        assert_eq!((mode_of(&socket), mode_of(&control)), (wanted, wanted), "{umask} {args}");
        assert!(end(daemon));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "they are removed at the end");
    }
}

#[test]
fn of_several_daemons_over_one_stale_socket_one_runs() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("its.sock");
    for round in 0..8 {
        drop(UnixListener::bind(&socket).unwrap());
        let mut daemons: Vec<_> = (0..4).map(|_| start(dir.path(), ":", "")).collect();
        eventually("all but one to end", || {
            daemons.retain_mut(|daemon| daemon.try_wait().unwrap().is_none());
            (daemons.len() <= 1).then_some(())
        });
        // The one that is left has the socket: a guest works, and the socket goes with it.
        assert_eq!(daemons.len(), 1, "round {round}");
        Guest::plug(&socket, Plug::default()).proves_it_works(0, 0);
        assert!(daemons.pop().is_some_and(end), "round {round}");
        assert!(!socket.exists());
    }
}

/// The one that ends with its first front end is not ended by somebody who wants its socket.
#[test]
fn a_start_that_is_refused_is_no_front_end() {
    let mut daemon = Daemon::start(&["--window", "0", "--exit-on-disconnect"]);
    let other = TempDir::new().unwrap();
    let (socket, control) = (daemon.socket(), daemon.control_path());
    for _ in 0..3 {
        Refusal::of(other.path(), &["--socket-path", socket.to_str().unwrap()]).says(&["blk.sock"]);
        Refusal::of(other.path(), &["--control", control.to_str().unwrap()])
            .says(&["control.sock"]);
    }
    assert!(daemon.lives());
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    drop(guest);
    assert!(daemon.wait().success());
}

fn clients(path: &Path, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(path).unwrap()).collect()
}

fn stats(control: &Path) -> dixtrap::control::Stats {
    let mut client = Client::connect(control).unwrap();
    *client.ask(&Request::Stats).unwrap().stats.unwrap()
}

#[test]
fn idle_control_clients_give_way() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut asker = daemon.control();
    asker.ask(&Request::Stats).unwrap();
    let idle = clients(&daemon.control_path(), 200);
    for _ in 0..20 {
        daemon.stats();
    }
    assert!(asker.ask(&Request::Stats).is_ok(), "silent ones go before one that asked");
    drop(idle);
    daemon.guest().proves_it_works(0, 0);
}

#[test]
fn idle_control_clients_leave_descriptors_for_a_front_end() {
    let dir = TempDir::new().unwrap();
    let mut daemon = start(dir.path(), "ulimit -n 128", "--control ctl.sock");
    let (socket, control) = (dir.path().join("its.sock"), dir.path().join("ctl.sock"));
    eventually("the daemon's sockets", || UnixStream::connect(&control).ok().map(|_| ()));
    let idle = clients(&control, 64);
    stats(&control);
    let mut guest = Guest::plug(&socket, Plug::default());
    guest.proves_it_works(0, 0);
    assert!(stats(&control).connected);
    drop((guest, idle));
    assert!(daemon.try_wait().unwrap().is_none());
    assert!(end(daemon));
}

#[test]
fn a_front_end_for_which_there_are_no_descriptors_is_refused_and_the_next_one_served() {
    use std::io::Read;
    let dir = TempDir::new().unwrap();
    let args = "--num-queues 2 --control ctl.sock --races races.jsonl";
    let mut daemon = start(dir.path(), "ulimit -n 64", args);
    let refused = || {
        let records = fs::read_to_string(dir.path().join("races.jsonl")).unwrap();
        records.matches("a front end was refused").count()
    };
    let (socket, control) = (dir.path().join("its.sock"), dir.path().join("ctl.sock"));
    eventually("the daemon's sockets", || UnixStream::connect(&control).ok().map(|_| ()));
    let pid = daemon.id().to_string();
    let limit = |number: u32| {
        let limit = format!("--nofile={number}:64");
        let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        set.is_ok_and(|status| status.success())
    };
    if !limit(32) {
        eprintln!("skipped: there is no prlimit here");
        assert!(end(daemon));
        return;
    }
    for _ in 0..3 {
        let mut refused = UnixStream::connect(&socket).unwrap();
        refused.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(refused.read(&mut [0]).unwrap(), 0, "closed, and not left to wait");
    }
    // Not even enough to accept one.
    assert!(limit(8));
    let before = refused();
    let waits = UnixStream::connect(&socket).unwrap();
    eventually("another refusal", || (refused() > before).then_some(()));
    drop(waits);
    assert!(daemon.try_wait().unwrap().is_none());
    assert!(limit(64));
    let mut guest = Guest::plug(&socket, Plug::default());
    guest.proves_it_works(0, 0);
    drop(guest);
    assert!(end(daemon));
}
