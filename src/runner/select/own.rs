//! A scenario of a user's own, with what lies beside it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::runner::select::companion::{self, CompanionError};
use crate::runner::select::scenario::{Scenario, ScenarioError};

/// Why a user's file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// Its header.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// What lies beside a script.
    #[error("what scenario {} needs beside it does not come along", .0.display())]
    Companion(PathBuf, #[source] CompanionError),
    /// A file that cannot be read.
    #[error("cannot read scenario {}", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// A file without an end.
    #[error("{} is larger than {} MiB, which no script is", .0.display(), LARGEST_SCRIPT >> 20)]
    Endless(PathBuf),
    /// A name that leads elsewhere as the name of a folder.
    #[error("{} gives its scenario no name: call it NAME.sh", .0.display())]
    NoName(PathBuf),
}

/// How large a user's script may be.
const LARGEST_SCRIPT: u64 = 1 << 20;

fn contents_of(path: &Path) -> Result<Vec<u8>, OwnError> {
    let mut contents = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_SCRIPT.saturating_add(1)).read_to_end(&mut contents))
        .map_err(|e| OwnError::Unreadable(path.to_owned(), e))?;
    if u64::try_from(contents.len()).is_ok_and(|len| len <= LARGEST_SCRIPT) {
        Ok(contents)
    } else {
        Err(OwnError::Endless(path.to_owned()))
    }
}

/// Reads the script at `path`, and what it needs beside it.
///
/// # Errors
/// Where it is no scenario, or has no end.
pub fn read(path: &Path) -> Result<Scenario, OwnError> {
    let contents = contents_of(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    // The name becomes a file name in the guest and part of a label.
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    if name.chars().all(|c| c == '.') {
        return Err(OwnError::NoName(path.to_owned()));
    }
    let mut scenario = Scenario::parse(&name, &contents, true)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let companions = companion::read_all(folder, &scenario.needs, &scenario.files);
    scenario.companions =
        companions.map_err(|error| OwnError::Companion(path.to_owned(), error))?;
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guest's folder of `...sh` would be that of all scripts, and what lies beside it could take the
    /// place of what they share.
    #[test]
    fn a_script_without_a_name_or_an_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = "# description: x\n# fs: raw\n# stable-writes: any\n# expect: stable\n";
        for (name, taken) in [("...sh", false), ("..sh", false), (".a.sh", true), ("..a.sh", true)]
        {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let found = read(&path);
            assert_eq!(found.is_ok(), taken, "{name}: {found:?}");
        }
        let endless = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(endless, "/dev/zero is larger than 1 MiB, which no script is");
    }
}
