//! What a run tells while it runs: a moving line on a terminal, plain lines elsewhere.

use std::cell::RefCell;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use crate::report::plain;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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

/// Listens to one kernel. Everything goes to standard error; standard output is the report's.
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

/// Where the kernels that run side by side have a place each.
pub trait Board: std::fmt::Debug + Sync {
    /// A place to tell of a kernel; named where there are several.
    fn lane(&self, name: Option<&str>) -> Box<dyn Progress>;
}

/// The board that fits standard error.
pub fn for_stderr() -> Box<dyn Board> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars(MultiProgress::new()))
    } else {
        Box::new(Lines)
    }
}

/// Plain lines.
#[derive(Debug)]
struct Lines;

impl Board for Lines {
    fn lane(&self, name: Option<&str>) -> Box<dyn Progress> {
        let lead = name.map_or_else(|| "dixtrap: ".to_owned(), |n| format!("dixtrap: {n}: "));
        Box::new(LineLane { lead, cell: RefCell::new(String::new()), named: name.is_some() })
    }
}

/// Writes a line to standard error. Where its reader has gone away the run goes on, for its verdict's sake.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line for each thing that happened.
#[derive(Debug)]
struct LineLane {
    lead: String,
    /// The cell that runs: where lanes mix, its end names it again.
    cell: RefCell<String>,
    named: bool,
}

impl Progress for LineLane {
    fn note(&self, line: &str) {
        say(format_args!("{}{}", self.lead, plain(line)));
    }

    fn begin(&self, number: usize, of: usize, name: &str) {
        let name = plain(name);
        say(format_args!("{}[{number}/{of}] {name}", self.lead));
        *self.cell.borrow_mut() = if self.named { format!("{name}: ") } else { "  ".to_owned() };
    }

    fn update(&self, _standing: Standing) {}

    fn end(&self, line: &str) {
        say(format_args!("{}{}{}", self.lead, self.cell.borrow(), plain(line)));
    }
}

/// A line that moves for each kernel, above them what is over.
#[derive(Debug)]
struct Bars(MultiProgress);

impl Board for Bars {
    fn lane(&self, name: Option<&str>) -> Box<dyn Progress> {
        let bar = self.0.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        let lead = name.map_or_else(String::new, |name| format!("{name}: "));
        Box::new(BarLane { bar, all: self.0.clone(), lead })
    }
}

#[derive(Debug)]
struct BarLane {
    bar: ProgressBar,
    all: MultiProgress,
    lead: String,
}

impl BarLane {
    fn say(&self, line: &str) {
        // A terminal that has gone away has nobody to read the line.
        let _ = self.all.println(line);
    }
}

impl Progress for BarLane {
    fn note(&self, line: &str) {
        let line = plain(line);
        self.say(&format!("{}{line}", self.lead));
        self.bar.set_prefix(self.lead.clone());
        self.bar.set_message(line);
    }

    fn begin(&self, number: usize, of: usize, name: &str) {
        self.bar.set_prefix(format!("{}[{number}/{of}] {}", self.lead, plain(name)));
        self.bar.set_message("");
    }

    fn update(&self, standing: Standing) {
        self.bar.set_message(standing_words(standing));
    }

    fn end(&self, line: &str) {
        self.say(&format!("{}: {}", self.bar.prefix(), plain(line)));
        self.bar.set_message("");
    }
}

impl Drop for BarLane {
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
