//! What a run tells while it runs: a moving line on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Where a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Blocks checked in this cell so far.
    pub blocks: u64,
    /// Races in this cell so far.
    pub races: u64,
    /// How much of its time is left.
    pub left: Duration,
}

/// Listens to a run. Everything goes to standard error; standard output is the report's.
pub trait Progress: std::fmt::Debug {
    /// Something worth a line of its own.
    fn note(&self, line: &str);
    /// A cell begins: its number, how many there are, its name.
    fn begin(&self, number: usize, of: usize, name: &str);
    /// A cell goes on.
    fn update(&self, standing: Standing);
    /// The cell is over; `line` tells what was seen.
    fn end(&self, line: &str);
}

/// The listener that fits standard error.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() { Box::new(Moving::new()) } else { Box::new(Lines) }
}

/// One line for each thing that happened.
#[derive(Debug)]
pub struct Lines;

impl Progress for Lines {
    fn note(&self, line: &str) {
        eprintln!("dixtrap: {line}");
    }

    fn begin(&self, number: usize, of: usize, name: &str) {
        eprintln!("dixtrap: [{number}/{of}] {name}");
    }

    fn update(&self, _standing: Standing) {}

    fn end(&self, line: &str) {
        eprintln!("dixtrap:   {line}");
    }
}

/// A line that moves, above it what is over.
#[derive(Debug)]
pub struct Moving {
    bar: ProgressBar,
}

impl Moving {
    fn new() -> Moving {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Moving { bar }
    }
}

impl Progress for Moving {
    fn note(&self, line: &str) {
        self.bar.println(line);
        self.bar.set_prefix("");
        self.bar.set_message(line.to_owned());
    }

    fn begin(&self, number: usize, of: usize, name: &str) {
        self.bar.set_prefix(format!("[{number}/{of}] {name}"));
        self.bar.set_message("");
    }

    fn update(&self, standing: Standing) {
        self.bar.set_message(standing_words(standing));
    }

    fn end(&self, line: &str) {
        self.bar.println(format!("{}: {line}", self.bar.prefix()));
        self.bar.set_message("");
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn standing_words(standing: Standing) -> String {
    format!(
        "{} s left, {} blocks checked, {} races",
        standing.left.as_secs(),
        standing.blocks,
        standing.races
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_tells_time_blocks_and_races() {
        let standing = Standing { blocks: 1_234, races: 5, left: Duration::from_millis(2_500) };
        assert_eq!(standing_words(standing), "2 s left, 1234 blocks checked, 5 races");
    }
}
