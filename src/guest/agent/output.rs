//! What a program writes, line by line, and never too much of it: its pipes are emptied as fast as it
//! fills them, and what goes to the host is bounded.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::SyncSender;
use std::thread;

use crate::guest::protocol::{Reply, Stream};

/// The longest piece of output that is sent as one line.
const MAX_TEXT: u64 = 64 << 10;

/// How much of an output is sent as it comes.
const HEAD: usize = 512 << 10;

/// How much of its end is sent where there is more than that.
const TAIL: usize = 64 << 10;

/// How much a program may tell the host. A line for each piece of each file of a full disk fits.
const MOST_TOLD: usize = 32 << 20;

/// How much of a stream goes to the host.
#[derive(Debug, Clone, Copy)]
struct Limits {
    head: usize,
    tail: usize,
}

impl Limits {
    fn of(stream: Stream) -> Limits {
        match stream {
            Stream::Stdout | Stream::Stderr => Limits { head: HEAD, tail: TAIL },
            Stream::Told => Limits { head: MOST_TOLD, tail: 0 },
        }
    }
}

/// Sends what comes out of `pipe`, on a thread of its own.
pub fn forward(pipe: Option<impl Read + Send + 'static>, stream: Stream, lines: SyncSender<Reply>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        // Nobody listens any more: the program is read to its end all the same.
        let mut send = |text: String| {
            let _ = lines.send(Reply::Output { stream, text });
        };
        read_lines(BufReader::new(pipe), Limits::of(stream), &mut send);
    });
}

fn read_lines(mut reader: impl BufRead, limits: Limits, send: &mut dyn FnMut(String)) {
    let (mut sent, mut end) = (0_usize, End::new(limits.tail));
    let mut line = Vec::new();
    while reader.by_ref().take(MAX_TEXT).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let next = sent.saturating_add(line.len());
        if end.is_empty() && next <= limits.head {
            sent = next;
            send(text(&line));
        } else {
            end.push(std::mem::take(&mut line));
        }
        line.clear();
    }
    end.send(send);
}

/// A line without its line feed; bytes that are not UTF-8 are replaced.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned()
}

/// The end of an output of which the beginning was too long.
struct End {
    room: usize,
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    left_out: u64,
}

impl End {
    fn new(room: usize) -> End {
        End { room, lines: VecDeque::new(), bytes: 0, left_out: 0 }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.left_out == 0
    }

    fn push(&mut self, line: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        while self.bytes > self.room
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(line.len());
            let more = u64::try_from(line.len()).unwrap_or(u64::MAX);
            self.left_out = self.left_out.saturating_add(more);
        }
    }

    fn send(self, send: &mut dyn FnMut(String)) {
        if self.left_out > 0 {
            send(format!("dixtrap: {} bytes are left out here", self.left_out));
        }
        self.lines.iter().for_each(|line| send(text(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(input: &[u8], head: usize, tail: usize) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(input, Limits { head, tail }, &mut |text| lines.push(text));
        lines
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let flood: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let kept = lines(flood.as_bytes(), 100, 100);
        assert_eq!(kept.first().map(String::as_str), Some("line 0"));
        assert_eq!(kept.last().map(String::as_str), Some("line 9999"));
        let gap = kept.iter().position(|line| line.contains(" bytes are left out here")).unwrap();
        assert!(gap > 5 && gap + 5 < kept.len(), "{kept:?}");
        assert_eq!(lines(b"a\nb", 100, 0), ["a", "b"]);
        assert_eq!(lines(b"a\nbb\nc\n", 2, 0), ["a", "dixtrap: 5 bytes are left out here"]);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let long = vec![b'x'; 200 << 10];
        let pieces = lines(&long, usize::MAX, 0);
        assert_eq!(pieces.iter().map(String::len).sum::<usize>(), long.len());
        assert!(pieces.iter().all(|piece| piece.len() <= 64 << 10));
    }

    proptest! {
        #[test]
        fn never_more_is_sent_than_the_limits_allow(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..4096),
            head in 0_usize..512, tail in 0_usize..512,
        ) {
            let kept = lines(&input, head, tail);
            // Each line loses its line feed; a byte that is not UTF-8 becomes three.
            let bytes: usize = kept.iter().filter(|l| !l.starts_with("dixtrap: ")).map(String::len).sum();
            prop_assert!(bytes <= 3 * (head + tail), "{} of {}", bytes, head + tail);
            let left_out = kept.iter().any(|line| line.starts_with("dixtrap: "));
            prop_assert!(left_out || kept.len() >= input.iter().filter(|b| **b == b'\n').count());
        }
    }
}
