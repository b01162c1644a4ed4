//! Bad input of the daemon: one clear line on stderr, a status that is not 0, nothing overwritten.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::kit::daemon::Refusal;
use crate::kit::{Daemon, OK, pattern};

/// Starts a daemon that must not start, in a new directory.
fn refusal(args: &[&str]) -> Refusal {
    Refusal::of(TempDir::new().unwrap().path(), args)
}

#[test]
fn a_disk_that_is_not_there() {
    refusal(&["--blk-file", "nowhere.img", "--no-size"]).says(&["nowhere.img", "--size"]);
    refusal(&["--blk-file", "no/such/dir/disk.img"]).says(&["no/such/dir/disk.img"]);
    refusal(&["--blk-file", "/dev/null"]).says(&["/dev/null"]);
    refusal(&["--blk-file", "."]).says(&["."]);
}

#[test]
fn a_disk_that_is_not_a_multiple_of_the_block() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("disk.img"), [0; 1000]).unwrap();
    Refusal::of(dir.path(), &[]).says(&["disk.img", "512"]);
    fs::write(dir.path().join("disk.img"), [0; 4096 + 512]).unwrap();
    Refusal::of(dir.path(), &["--block-size", "4096"]).says(&["disk.img", "4096"]);
    assert_eq!(fs::metadata(dir.path().join("disk.img")).unwrap().len(), 4608);
    fs::write(dir.path().join("disk.img"), []).unwrap();
    Refusal::of(dir.path(), &[]).says(&["disk.img"]);
}

#[test]
fn a_disk_without_its_protection_information() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("disk.img"), [7; 8192]).unwrap();
    Refusal::of(dir.path(), &[]).says(&["disk.img.pi", "dixtrap image adopt"]);
    assert_eq!(fs::read(dir.path().join("disk.img")).unwrap(), [7; 8192]);
    assert!(!dir.path().join("disk.img.pi").exists());
    // The wrong format and the wrong size.
    fs::write(dir.path().join("disk.img.pi"), b"not protection information").unwrap();
    Refusal::of(dir.path(), &[]).says(&["disk.img.pi", "dixtrap image"]);
    assert_eq!(fs::read(dir.path().join("disk.img.pi")).unwrap(), b"not protection information");
}

#[test]
fn a_disk_of_another_shape_than_its_protection_information() {
    let daemon = Daemon::start(&["--window", "0"]);
    let dir = daemon.dir();
    assert_eq!(daemon.guest().write(0, &pattern(1, 4096)), OK);
    daemon.stop();
    let before = fs::read(dir.path().join("disk.img.pi")).unwrap();
    Refusal::of(dir.path(), &["--pi-type", "3"]).says(&["disk.img.pi"]);
    Refusal::of(dir.path(), &["--block-size", "4096"]).says(&["disk.img.pi"]);
    let disk = fs::OpenOptions::new().write(true).open(dir.path().join("disk.img")).unwrap();
    disk.set_len(2 << 20).unwrap();
    Refusal::of(dir.path(), &[]).says(&["disk.img.pi"]);
    assert_eq!(fs::read(dir.path().join("disk.img.pi")).unwrap(), before);
}

#[test]
fn a_socket_path_that_is_too_long() {
    let long = format!("{}.sock", "x".repeat(120));
    refusal(&["--socket-path", &long]).says(&["socket"]);
    refusal(&["--control", &long]).says(&["socket"]);
}

#[test]
fn a_socket_that_a_live_daemon_listens_on() {
    let daemon = Daemon::start(&["--window", "0"]);
    let socket = daemon.socket();
    let control = daemon.control_path();
    let (socket, control) = (socket.to_str().unwrap(), control.to_str().unwrap());
    refusal(&["--socket-path", socket]).says(&["blk.sock"]);
    refusal(&["--control", control]).says(&["control.sock"]);
    daemon.guest().proves_it_works(0, 0);
    assert!(daemon.stats().counters.writes > 0, "the first daemon was not disturbed");
}

#[test]
fn a_socket_path_that_is_a_file_of_another_kind() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("blk.sock"), b"precious").unwrap();
    Refusal::of(dir.path(), &[]).says(&["blk.sock"]);
    assert_eq!(fs::read(dir.path().join("blk.sock")).unwrap(), b"precious");
    refusal(&["--socket-path", "no/such/dir/blk.sock"]).says(&["no/such/dir/blk.sock"]);
}

#[test]
fn two_daemons_on_one_image() {
    let daemon = Daemon::start(&["--window", "0"]);
    let image = daemon.disk();
    refusal(&["--blk-file", image.to_str().unwrap(), "--no-size"]).says(&["disk.img"]);
}

#[test]
fn flags_with_values_that_make_no_sense() {
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--window", "soon"], &["soon", "exp:200us"]),
        (&["--window", "uniform:5ms..1ms"], &["swap"]),
        (&["--block-size", "1024"], &["1024", "512"]),
        (&["--on-race", "ignore"], &["ignore", "report"]),
        (&["--pi-type", "4"], &["4"]),
        (&["--num-queues", "0"], &["0"]),
        (&["--num-queues", "100000"], &["100000"]),
        (&["--size", "big"], &["big"]),
        (&["--size", "1000"], &["512"]),
        (&["--device", "nvme"], &["nvme", "blk"]),
        (&["--seed", "lucky"], &["lucky"]),
        (&["--frobnicate"], &["--frobnicate"]),
    ];
    for (args, words) in cases {
        eprintln!("{args:?}");
        refusal(args).says(words);
    }
}

#[test]
fn records_that_cannot_be_written_anywhere() {
    refusal(&["--races", "no/such/dir/races.jsonl"]).says(&["no/such/dir/races.jsonl"]);
}

#[test]
fn a_refusal_leaves_no_sockets_behind() {
    let dir = TempDir::new().unwrap();
    Refusal::of(dir.path(), &["--blk-file", "nowhere.img", "--no-size"]).says(&["nowhere.img"]);
    let left: Vec<_> = names(dir.path()).into_iter().filter(|n| n.ends_with(".sock")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A disk of its own making would stand in the way of the next start: it is there, without `--size`.
#[test]
fn a_start_that_is_refused_leaves_nothing_behind() {
    let dir = std::sync::Arc::new(TempDir::new().unwrap());
    let left = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    Refusal::of(dir.path(), &["--inject", "busy,lba=99999..100000"]).says(&["past the end"]);
    assert_eq!(left(), [].into());
    let second = ["--device", "scsi", "--blk-file", "a.img", "--blk-file", "no/such/b.img"];
    Refusal::of(dir.path(), &second).says(&["no/such/b.img"]);
    assert_eq!(left(), [].into());
    let watched = ["--watch", "stores", "--inject", "busy,lba=99999..100000"];
    Refusal::of(dir.path(), &watched).says(&["past the end"]);
    assert_eq!(left(), [].into());
    // Nor is anything made anew that no daemon has left.
    fs::write(dir.path().join("stores"), "precious").unwrap();
    Refusal::of(dir.path(), &["--watch", "stores"]).says(&["--watch stores", "another file"]);
    assert_eq!(fs::read(dir.path().join("stores")).unwrap(), b"precious");
    fs::remove_file(dir.path().join("stores")).unwrap();
    // What was there before stays, and as it was.
    fs::write(dir.path().join("races.jsonl"), "kept").unwrap();
    Refusal::of(dir.path(), &["--inject", "busy,lba=99999..100000"]).says(&["past the end"]);
    assert_eq!(left(), ["races.jsonl".to_owned()].into());
    assert_eq!(fs::read(dir.path().join("races.jsonl")).unwrap(), b"kept");
    // And what a start has made that was not refused stays as well.
    Daemon::start_in(std::sync::Arc::clone(&dir), &[]).stop();
    assert!(left().is_superset(&["disk.img".to_owned(), "disk.img.pi".to_owned()].into()));
}
