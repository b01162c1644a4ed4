//! What a boot takes along from this machine: scripts and programs.

use std::collections::BTreeSet;
use std::path::PathBuf;

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
