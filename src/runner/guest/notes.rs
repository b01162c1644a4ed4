//! What a kernel said of itself and went on after: some lines of it, and how many more there were.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::runner::host::progress::Progress;

/// The file of all notes of a boot, in its directory.
pub const NOTES: &str = "notes.log";

/// How many lines are kept: a kernel may say the same for ever.
const MOST: usize = 20;

/// The longest piece of a line that is kept.
const WIDTH: usize = 400;

/// Some lines, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    lines: Vec<String>,
    more: u64,
}

impl Notes {
    /// Adds a line, while there is room.
    pub fn add(&mut self, line: &str) {
        if self.lines.len() < MOST {
            self.lines.push(line.chars().take(WIDTH).collect());
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Adds what was noted later.
    pub fn extend(&mut self, later: &Notes) {
        later.lines.iter().for_each(|line| self.add(line));
        self.more = self.more.saturating_add(later.more);
    }

    /// The last line that was kept.
    pub fn last(&self) -> Option<&str> {
        self.lines.last().map(String::as_str)
    }

    /// Tells them, and keeps them beside the console in the boot's directory.
    pub fn tell(&self, progress: &dyn Progress, directory: &Path) {
        for line in self.lines() {
            progress.note(&format!("the kernel says, and goes on: {line}"));
            let file = OpenOptions::new().create(true).append(true).open(directory.join(NOTES));
            if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
                log::warn!("what the kernel says is not kept in {NOTES}: {error}");
            }
        }
    }

    /// The lines, and in a last one how many were not kept.
    pub fn lines(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more lines like these", self.more));
        self.lines.iter().cloned().chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_says_the_same_for_ever_fills_no_memory() {
        let mut notes = Notes::default();
        (0..100).for_each(|n| notes.add(&format!("{n} {}", "x".repeat(10_000))));
        let later = notes.clone();
        notes.extend(&later);
        let lines = notes.lines();
        assert_eq!(lines.len(), MOST + 1);
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert!(lines[0].starts_with("0 x") && lines[19].starts_with("19 x"), "{lines:?}");
        assert_eq!(lines[20], "and 180 more lines like these");
    }
}
