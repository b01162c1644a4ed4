//! Doorbells and calls that are not the eventfds they should be: descriptors that block, that are
//! full, that nobody reads, that are no eventfds at all. A ring may stand still over them; the daemon
//! may not.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use dixtrap::control::Request;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vmm_sys_util::eventfd::EventFd;

use crate::kit::*;

/// Any descriptor where the front end should give an eventfd.
fn disguised(fd: impl Into<OwnedFd>) -> EventFd {
    // SAFETY: the descriptor is owned, and given up here.
    unsafe { EventFd::from_raw_fd(fd.into().into_raw_fd()) }
}

/// An eventfd that blocks, and that has no room for a single event more.
fn full_event() -> EventFd {
    let event = EventFd::new(0).unwrap();
    event.write(u64::MAX - 1).unwrap();
    event
}

/// A pipe that is full and blocks, as the end to write to; the other end.
fn full_pipe() -> (EventFd, std::io::PipeReader) {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As much as a pipe holds, unless somebody changes it (pipe(7)).
    writer.write_all(&[0; 65536]).unwrap();
    (disguised(writer), reader)
}

/// The daemon still answers its control socket, takes the next front end, and ends when it is told to.
fn others_go_on(daemon: Daemon, guest: Guest) {
    assert!(daemon.stats().connected);
    daemon.ask(Request::Window { spec: "0".parse().unwrap() });
    daemon.ask(Request::Release);
    drop(guest);
    daemon.guest().proves_it_works(0, 0);
    daemon.stop();
}

fn calls_on(call: &EventFd) {
    for window in ["0", "1ms"] {
        let daemon = Daemon::start(&["--window", window]);
        let mut guest = daemon.guest();
        guest.front.set_vring_call(0, call).unwrap();
        // What it cannot be told it finds in its ring.
        for sector in 0..8 {
            assert_eq!(guest.write(sector, &pattern(sector, 512)), OK);
        }
        others_go_on(daemon, guest);
    }
}

#[test]
fn a_call_that_is_full_and_blocks() {
    calls_on(&full_event());
}

#[test]
fn a_call_that_is_a_full_pipe() {
    let (call, _reader) = full_pipe();
    calls_on(&call);
}

#[test]
fn a_call_that_nobody_reads_or_that_cannot_be_written() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    calls_on(&disguised(writer));
    let (reader, _writer) = std::io::pipe().unwrap();
    calls_on(&disguised(reader));
    calls_on(&disguised(tempfile::tempfile().unwrap()));
}

/// A doorbell that was replaced stays the front end's: it can go on ringing it, and the new one has
/// nothing to read.
#[test]
fn a_doorbell_that_was_replaced_and_rings_on() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    let blocking = EventFd::new(0).unwrap();
    guest.front.set_vring_kick(0, &blocking).unwrap();
    guest.rings[0].kick();
    eventually("the queue to give up", || {
        daemon.stderr().contains("a doorbell rings that is not the ring's").then_some(())
    });
    others_go_on(daemon, guest);
}

/// Both sides can read a doorbell.
#[test]
fn a_doorbell_that_the_front_end_answers_itself() {
    let daemon = Daemon::start(&["--window", "0"]);
    let mut guest = daemon.guest();
    guest.rings[0].kick = EventFd::new(0).unwrap();
    guest.stop_ring(0);
    guest.start_ring(0);
    let bell = guest.rings[0].kick.try_clone().unwrap();
    // Blocks for ever when the last ring was the daemon's; ends with the test.
    std::thread::spawn(move || while bell.read().is_ok() {});
    for _ in 0..20_000 {
        guest.rings[0].kick();
    }
    others_go_on(daemon, guest);
}

#[test]
fn doorbells_that_are_none() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (hung_up, writer) = std::io::pipe().unwrap();
    drop(writer);
    let file = tempfile::tempfile().unwrap();
    let cases = [
        (disguised(reader), None),
        (disguised(hung_up), Some("a ring stands still until the front end connects again")),
        (disguised(file), Some("a doorbell descriptor is no eventfd")),
    ];
    for (bell, words) in cases {
        let daemon = Daemon::start(&["--window", "hold"]);
        let mut guest = daemon.guest();
        guest.start_write(0, &pattern(1, 512));
        daemon.await_held(1);
        guest.stop_ring(0);
        let _ = guest.front.set_vring_kick(0, &bell);
        let _ = guest.front.set_vring_enable(0, true);
        guest.round_trip();
        eventually("what becomes of it", || {
            words.is_none_or(|words| daemon.stderr().contains(words)).then_some(())
        });
        others_go_on(daemon, guest);
    }
}

/// The entries of a directory of this process in /proc.
fn entries(daemon: &Daemon, name: &str) -> usize {
    std::fs::read_dir(format!("/proc/{}/{name}", daemon.id())).unwrap().count()
}

#[test]
fn descriptors_that_come_and_go_do_not_pile_up() {
    // Inside of the sandbox its descriptors are shown to root only.
    let shown = if geteuid().is_root() { "--sandbox" } else { "--no-sandbox" };
    let daemon = Daemon::start(&["--window", "0", shown]);
    let mut guest = daemon.guest();
    guest.proves_it_works(0, 0);
    let before = entries(&daemon, "fd");
    for _ in 0..3000 {
        guest.front.set_vring_call(0, &EventFd::new(0).unwrap()).unwrap();
        guest.front.set_vring_err(0, &EventFd::new(0).unwrap()).unwrap();
    }
    assert!(entries(&daemon, "fd") <= before + 1, "descriptors leak");
    guest.front.set_vring_call(0, &guest.rings[0].call).unwrap();
    guest.proves_it_works(0, 0);
    for _ in 0..200 {
        guest.stop_ring(0);
        guest.start_ring(0);
    }
    assert!(entries(&daemon, "fd") <= before + 1, "descriptors leak");
    others_go_on(daemon, guest);
}

/// Every held write keeps the memory that it lies in, and with it the descriptors of its regions.
#[test]
fn held_writes_cannot_use_up_the_descriptors() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // What shells and systemd give.
    setrlimit(Resource::RLIMIT_NOFILE, 1024, hard).unwrap();
    let daemon = Daemon::start(&["--window", "hold"]);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let mut guest = daemon.plug(Plug { ring_size: 4096, ..Plug::default() });
    let regions = guest.memory.regions();
    for held in 1..=600 {
        guest.start_write(0, &pattern(1, 512));
        daemon.await_held(held);
        guest.front.set_mem_table(&regions).unwrap();
    }
    others_go_on(daemon, guest);
}
