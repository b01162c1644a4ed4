//! The verdict as JSON, and writing any format to a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::verdict::Verdict;

use super::format::Format;
use super::plain::plain_json;

/// A file of JSON.
pub const FORMAT: Format = Format {
    flag: "json",
    name: "JSON",
    make: |verdict| Ok(verdict_json(verdict)?),
    with_records: None,
    #[cfg(test)]
    read: read::cells,
};

/// The verdict as one JSON object with a line feed at its end.
pub fn verdict_json(verdict: &Verdict) -> Result<String, serde_json::Error> {
    Ok(plain_json(&serde_json::to_string_pretty(verdict)?) + "\n")
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: is the disk full, or the folder not yours?", .0.display())]
pub struct WriteError(PathBuf, #[source] io::Error);

/// Writes `text` to `path` whole or not at all: readers see the old file or the new one.
pub fn write_whole(path: &Path, text: &str) -> Result<(), WriteError> {
    try_write(path, text).map_err(|error| WriteError(path.to_owned(), error))
}

fn try_write(path: &Path, text: &str) -> io::Result<()> {
    // A pipe or a terminal has no old content to protect, and must not be replaced by a file.
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        return std::fs::write(path, text);
    }
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".dixtrap-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

#[cfg(test)]
mod read {
    use crate::report::format::ToldCell;
    use crate::verdict::{Cell, Verdict};

    /// What this format tells of each cell: its fields, in words.
    pub fn cells(text: &str) -> Vec<ToldCell> {
        let verdict: Verdict = serde_json::from_str(text).unwrap();
        verdict.cells.iter().map(cell).collect()
    }

    fn cell(cell: &Cell) -> ToldCell {
        let raced = cell.races.zip(cell.blocks_checked);
        let seen = raced.map_or("not run".to_owned(), |(races, checked)| {
            format!("{races} of {checked} blocks raced")
        });
        let told = cell.reason.iter().chain(&cell.why).chain(&cell.notes).chain([&seen]);
        let words: Vec<&str> = told.map(String::as_str).collect();
        ToldCell { name: cell.name(), outcome: cell.outcome, words: words.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verdict.json");
        write_whole(&path, "old").unwrap();
        write_whole(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let error = write_whole(&directory.path().join("none/verdict.json"), "x").unwrap_err();
        assert!(error.to_string().contains("none/verdict.json"));
        assert!(write_whole(Path::new("/dev/full"), "x").is_err());
    }
}
