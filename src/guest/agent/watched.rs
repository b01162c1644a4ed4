//! A file that is read again and again while a program writes: which values it had.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is read.
const LOOK: Duration = Duration::from_millis(200);

/// How many values are kept.
const MOST: usize = 8;

/// The values of a file, from [`Watched::begin`] on.
#[derive(Debug)]
pub struct Watched {
    path: Option<PathBuf>,
    last: Option<Instant>,
    values: Vec<String>,
}

impl Watched {
    /// Nothing is read yet.
    pub fn new(path: Option<&Path>) -> Watched {
        Watched { path: path.map(Path::to_owned), last: None, values: Vec::new() }
    }

    /// Reads it for the first time.
    pub fn begin(&mut self) {
        self.read();
    }

    /// Reads it again, when it is time.
    pub fn look(&mut self) {
        if self.last.is_some_and(|last| last.elapsed() >= LOOK) {
            self.read();
        }
    }

    /// The different values, in the order in which they were seen.
    pub fn values(&self) -> Vec<String> {
        self.values.clone()
    }

    fn read(&mut self) {
        self.last = Some(Instant::now());
        let Some(path) = &self.path else { return };
        let text = fs::read_to_string(path).unwrap_or_default();
        let value = text.lines().next().unwrap_or_default();
        if self.values.len() < MOST && !self.values.iter().any(|known| known == value) {
            self.values.push(value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_before_the_writing_and_each_value_counts_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watched = Watched::new(Some(file.path()));
        watched.look();
        assert!(watched.values().is_empty());
        for value in ["0\n", "0\n", "1\n", "0\n"] {
            fs::write(file.path(), value).unwrap();
            watched.begin();
        }
        assert_eq!(watched.values(), ["0", "1"]);
        let mut none = Watched::new(None);
        none.begin();
        assert!(none.values().is_empty());
    }
}
