//! Scripts run in a guest.

use std::time::Duration;

use dixtrap::guest::protocol::ExitStatus;
use dixtrap::runner::guest::{Exec, Guest};

/// Runs a script; how it ended, and what it printed, both streams.
pub fn shell(guest: &mut Guest, script: &str, timeout: Duration) -> (ExitStatus, String) {
    let argv = ["sh", "-c", script].map(String::from).to_vec();
    let exec = Exec { argv, timeout, ..Exec::default() };
    let mut text = String::new();
    let result = guest.exec(&exec, &mut |line| text.push_str(&format!("{}\n", line.text))).unwrap();
    (result.status, text)
}

/// Runs a script that has to succeed within a minute; what it printed.
pub fn must(guest: &mut Guest, script: &str) -> String {
    let (status, text) = shell(guest, script, Duration::from_secs(60));
    assert!(status.success(), "{script}\n{status:?}\n{text}");
    text
}
