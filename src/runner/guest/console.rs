//! The guest's serial console: a growing file, in which the kernel says that it is in trouble.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::runner::guest::cries::{Cry, Trouble, cry};
use crate::runner::guest::notes::Notes;

/// How many of the last lines go into an error.
const TAIL_LINES: usize = 20;

/// How long a line may get before it is cut: a console without line feeds must not fill the memory.
const MAX_LINE: usize = 4096;

/// The console's last lines; displayed below a heading, each indented, or as nothing when there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleTail(pub Vec<String>);

impl fmt::Display for ConsoleTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("; its console is empty");
        }
        f.write_str("; its console ended with:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Follows a console's file.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    found: Option<(Trouble, String)>,
    notes: Notes,
}

impl Console {
    /// Follows the file at `path`, which need not exist yet.
    pub fn follow(path: &Path) -> Console {
        Console {
            path: path.to_owned(),
            file: None,
            partial: Vec::new(),
            tail: VecDeque::new(),
            found: None,
            notes: Notes::default(),
        }
    }

    /// Reads what has been written since the last time, and tells the worst trouble seen so far.
    ///
    /// # Errors
    /// The system's, when the file cannot be read. That it does not exist yet is none.
    pub fn look(&mut self) -> io::Result<Option<&(Trouble, String)>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let mut new = Vec::new();
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut new)?;
        }
        for byte in new {
            if byte == b'\n' || self.partial.len() >= MAX_LINE {
                self.end_line();
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        Ok(self.found.as_ref())
    }

    /// What the kernel said of itself and went on after, since this was last asked.
    pub fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// The last lines, the unfinished one included.
    pub fn tail(&self) -> ConsoleTail {
        let partial = clean(&String::from_utf8_lossy(&self.partial));
        let unfinished = (!partial.is_empty()).then_some(partial);
        ConsoleTail(self.tail.iter().cloned().chain(unfinished).collect())
    }

    /// Whether anything was written at all.
    pub fn is_silent(&self) -> bool {
        self.tail.is_empty() && self.partial.is_empty()
    }

    fn end_line(&mut self) {
        let line = clean(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        match cry(&line) {
            Some(Cry::Ends(kind)) if self.found.as_ref().is_none_or(|(worst, _)| kind > *worst) => {
                self.found = Some((kind, line.clone()));
            }
            Some(Cry::Note) => self.notes.add(&line),
            Some(Cry::Ends(_)) | None => {}
        }
        if self.tail.len() >= TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

/// A line of the guest's as a terminal may show it: without carriage returns and escape sequences.
pub fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            // CSI: ESC [ … letter; other sequences are two characters long.
            if chars.next() == Some('[') {
                chars.by_ref().find(char::is_ascii_alphabetic);
            }
        } else if !c.is_control() || c == '\t' {
            line.push(c);
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn follows_a_growing_file_and_keeps_the_worst() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut console = Console::follow(&path);
        assert_eq!(console.look().unwrap(), None);
        assert!(console.is_silent());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"\x1b[2Jhello\r\nOops: 0002 [#1] S").unwrap();
        assert_eq!(console.look().unwrap(), None);
        assert_eq!(console.tail().0, ["hello", "Oops: 0002 [#1] S"]);
        file.write_all(b"MP\nKernel panic - not syncing: x\nOops: again\n").unwrap();
        let (kind, line) = console.look().unwrap().cloned().unwrap();
        assert_eq!((kind, line.as_str()), (Trouble::Panic, "Kernel panic - not syncing: x"));
        for n in 0..100 {
            writeln!(file, "line {n}").unwrap();
        }
        file.write_all(b"[  9.0] BUG: MAX_LOCKDEP_CHAINS too low!\nline 99\n").unwrap();
        console.look().unwrap();
        assert_eq!(console.take_notes().lines(), ["[  9.0] BUG: MAX_LOCKDEP_CHAINS too low!"]);
        assert_eq!(console.take_notes(), Notes::default());
        assert_eq!(console.tail().0.len(), TAIL_LINES);
        assert!(console.tail().to_string().ends_with("\n    line 99"));
    }
}
