//! A mirror that is there and has not what is asked for.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use dixtrap::runner::host::tools::find_program;

use crate::kit::packing::place::Place;
use crate::kit::programs::{dixtrap, text};

/// A mirror on this machine that has nothing, as one has nothing of a release that was archived; its
/// address.
fn empty_mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_not_found(stream));
        }
    });
    format!("http://127.0.0.1:{port}/debian")
}

/// Answers every request of a connection.
fn answer_not_found(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    while lines.by_ref().any(|line| line.is_empty()) {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

/// The network is up, and the mirror has moved the release away.
#[test]
fn a_release_that_the_mirror_no_longer_has_is_told() {
    if find_program("apt-get").is_none() {
        eprintln!("skipped: this machine has no apt");
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.dir.path().join(name);
    fs::write(at("sources.list"), format!("deb {} bookworm main\n", empty_mirror())).unwrap();
    let config = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Acquire::http::Proxy \"DIRECT\";\n",
        at("sources.list").display()
    );
    fs::write(at("apt.conf"), config).unwrap();
    let words = ["run", "--accel", "tcg", "--kernel", "debian:wheezy"];
    let mut command = dixtrap(&words);
    command.env("APT_CONFIG", at("apt.conf")).env("XDG_CACHE_HOME", at("cache"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(129), "{said}");
    assert!(said.contains("does not have wheezy"), "{said}");
    assert!(said.contains("Debian's archive") && !said.contains("is the network up"), "{said}");
    assert_eq!(place.entries(), Vec::<PathBuf>::new());
}
