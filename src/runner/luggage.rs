//! What a boot needs from this machine: a directory of its own, scripts, and programs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::runner::catalogue::{Catalogue, CatalogueError};
use crate::runner::cell::{OWN_SCRIPTS, SCRIPTS};
use crate::runner::initramfs::{GuestFile, find_program};
use crate::runner::plan::{Selection, Square};

/// Programs of this machine that the guest takes along.
#[derive(Debug)]
pub struct Programs {
    /// Their paths.
    pub found: Vec<PathBuf>,
    /// The names of those that are not here.
    pub missing: BTreeSet<String>,
}

impl Programs {
    /// Looks for everything that the selection may need.
    pub fn find(selection: &Selection) -> Programs {
        let mut programs = Programs { found: Vec::new(), missing: BTreeSet::new() };
        for name in selection.programs() {
            match find_program(&name) {
                Some(path) => programs.found.push(path),
                None => {
                    programs.missing.insert(name);
                }
            }
        }
        programs
    }
}

/// The scripts and what they share.
pub fn guest_files(selection: &Selection) -> Result<Vec<GuestFile>, CatalogueError> {
    let file = |path: String, mode, text: &str| GuestFile { path, mode, contents: text.into() };
    let shared = Catalogue::shared_files()?;
    let mut files: Vec<GuestFile> =
        shared.iter().map(|(name, text)| file(format!("{SCRIPTS}/{name}"), 0o644, text)).collect();
    for Square { scenario, .. } in selection.squares() {
        let folder = if scenario.own { OWN_SCRIPTS } else { SCRIPTS };
        let path = format!("{folder}/{}.sh", scenario.name);
        if !files.iter().any(|known| known.path == path) {
            files.push(file(path, 0o755, &scenario.script));
        }
    }
    Ok(files)
}

/// Makes the first of `boot-1`, `boot-2`, … that is not there yet: two runs may share a directory.
pub fn make_boot_directory(out: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(out)?;
    // The guest and QEMU work there; they need a path that holds wherever they stand.
    let out = out.canonicalize()?;
    let mut number = 1_u32;
    loop {
        let directory = out.join(format!("boot-{number}"));
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_in_one_directory_do_not_meet() {
        let out = tempfile::tempdir().unwrap();
        let first = make_boot_directory(out.path()).unwrap();
        let second = make_boot_directory(out.path()).unwrap();
        assert!(first.ends_with("boot-1") && second.ends_with("boot-2"));
        let file = out.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(make_boot_directory(&file).is_err());
    }
}
