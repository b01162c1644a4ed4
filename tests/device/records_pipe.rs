//! Records that go to a pipe: whoever reads it may come late, stop, or never come.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dixtrap::control::Request;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::kit::daemon::Refusal;
use crate::kit::records::Records;
use crate::kit::*;

fn fifo() -> (Arc<TempDir>, PathBuf) {
    let dir = Arc::new(TempDir::new().unwrap());
    let path = dir.path().join("races.fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    (dir, path)
}

/// A reader that is there and has not read yet.
fn reader(path: &Path) -> File {
    File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap()
}

const ARGS: [&str; 6] = ["--races", "races.fifo", "--window", "hold", "--on-race", "report"];

/// So many marks, which are records of some length each.
fn marks(daemon: &Daemon, count: usize) {
    let mut client = daemon.control();
    let label = "x".repeat(200);
    for _ in 0..count {
        let state = dixtrap::record::MarkState::Begin;
        client.ask(&Request::Mark { label: label.clone(), state }).unwrap();
    }
}

#[test]
fn a_fifo_without_a_reader_is_waited_for_and_then_refused() {
    let (dir, _) = fifo();
    let refusal = Refusal::of(dir.path(), &ARGS);
    refusal.says(&["nobody reads", "races.fifo", "start its reader first"]);
}

#[test]
fn a_reader_that_comes_a_little_late_gets_every_record() {
    let (dir, path) = fifo();
    let late = std::thread::spawn({
        let path = path.clone();
        move || std::io::read_to_string(File::open(path).unwrap()).unwrap()
    });
    let daemon = Daemon::start_in(Arc::clone(&dir), &ARGS);
    marks(&daemon, 500);
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    let text = late.join().unwrap();
    let copy = dir.path().join("copy.jsonl");
    std::fs::write(&copy, text).unwrap();
    let records = Records::read(&copy);
    assert_eq!(records.stop().records_lost, 0);
    assert!(records.marks().len() >= 500);
}

/// It opened the FIFO and reads no more of it: the pipe is full, and records wait.
#[test]
fn a_reader_that_stalls_keeps_no_daemon_from_its_end() {
    for quit in [false, true] {
        let (dir, path) = fifo();
        let stalled = reader(&path);
        let mut daemon = Daemon::start_in(dir, &ARGS);
        let mut guest = daemon.guest();
        guest.must_read(0, 512);
        marks(&daemon, 1000);
        drop(guest);
        if quit {
            daemon.ask(Request::Quit);
        } else {
            daemon.signal(Signal::SIGTERM);
        }
        assert!(daemon.wait().success());
        let stderr = daemon.stderr();
        let lost = stderr.lines().find_map(|line| {
            line.split_once(" records could not be written")?.0.split(' ').next_back()?.parse().ok()
        });
        let lost: u64 = lost.unwrap_or_else(|| panic!("no word of what is lost: {stderr}"));
        assert!(stderr.contains("nobody reads them"), "{stderr}");
        // What was in the pipe and what is lost are all there was: start, two marks each time, stop.
        let whole = BufReader::new(stalled).lines().map_while(Result::ok).count() as u64;
        assert!((1..2002).contains(&lost) && lost + whole >= 2001, "{lost} lost, {whole} there");
    }
}

/// It closed its end: what cannot be written is counted, and told.
#[test]
fn a_reader_that_goes_away_is_told() {
    let (dir, path) = fifo();
    let reader = reader(&path);
    let mut daemon = Daemon::start_in(dir, &ARGS);
    // It listens before it opens its files, and answers afterwards.
    daemon.stats();
    drop(reader);
    marks(&daemon, 10);
    eventually("losses", || (daemon.stats().counters.records_lost > 0).then_some(()));
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(daemon.stderr().contains("records cannot be written"), "{}", daemon.stderr());
}

/// Standard output may be such a pipe as well.
#[test]
fn records_on_a_standard_output_that_nobody_reads() {
    let dir = TempDir::new().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dixtrapd"))
        .args(["--socket-path", "blk.sock", "--control", "control.sock", "--size", "1M"])
        .args(["--races", "-"])
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let control = dir.path().join("control.sock");
    let mut client = eventually("its socket", || dixtrap::control::Client::connect(&control).ok());
    let label = "x".repeat(200);
    for _ in 0..1000 {
        let state = dixtrap::record::MarkState::Begin;
        client.ask(&Request::Mark { label: label.clone(), state }).unwrap();
    }
    client.ask(&Request::Quit).unwrap();
    assert!(eventually("its end", || child.try_wait().unwrap()).success());
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    assert!(text.starts_with(b"{\"schema\":1,\"type\":\"start\""));
}
