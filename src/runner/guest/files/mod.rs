//! What a boot takes along from this machine: scripts and what lies beside them, and programs.

mod family;
mod packer;
mod shebang;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::runner::guest::initramfs::{Carried, GuestFile, PROGRAMS, find_program};
use crate::runner::select::catalogue::{Catalogue, CatalogueError};
use crate::runner::select::cell_spec::CellSpec;
use crate::runner::select::scenario::Scenario;
use crate::runner::select::selection::Selection;

/// Where scripts lie in the guest.
pub const SCRIPTS: &str = "/dixtrap";
/// Where a user's own scripts lie in the guest: their names may be those of ours.
const OWN_SCRIPTS: &str = "/dixtrap/own";

/// The folder of a script in the guest: a user's own has one for itself and what lies beside it.
pub fn script_folder(scenario: &Scenario) -> String {
    if scenario.own { format!("{OWN_SCRIPTS}/{}", scenario.name) } else { SCRIPTS.to_owned() }
}

/// Programs of this machine that the guest takes along.
#[derive(Debug, Default)]
pub struct Programs {
    /// They and what they need.
    pub carried: Carried,
    /// The names of those that are not here.
    pub missing: BTreeSet<String>,
    /// Why others cannot come along: by name, or by path where they lie beside their script.
    pub stranded: BTreeMap<String, String>,
}

impl Programs {
    /// Looks for everything that the selection may need.
    pub fn find(selection: &Selection) -> Programs {
        let mut programs = Programs::default();
        let mut seen = BTreeSet::new();
        let needs = selection.specs().flat_map(|spec| &spec.scenario.needs);
        let named: BTreeSet<&str> = needs.map(String::as_str).collect();
        for spec in selection.specs() {
            for name in spec.programs().filter(|name| seen.insert((*name).to_owned())) {
                match find_program(name) {
                    Some(path) => {
                        let place = format!("{PROGRAMS}/{name}");
                        programs.add(name, packer::pack(&path, &place, &named));
                    }
                    None => drop(programs.missing.insert(name.to_owned())),
                }
            }
            for (path, place, contents) in beside(&spec.scenario) {
                if seen.insert(place.clone()) {
                    let needs = packer::pack_needs(path, &place, contents, &named);
                    programs.add(&path.to_string_lossy(), needs);
                }
            }
        }
        programs
    }

    fn add(&mut self, name: &str, packed: Result<Carried, String>) {
        match packed {
            Ok(carried) => self.carried.add(carried),
            Err(why) => drop(self.stranded.insert(name.to_owned(), why)),
        }
    }
}

/// The programs beside a script: where each lies here, where in the guest, and what was read of it. That
/// goes along ([`guest_files`]): a file that changes meanwhile is not read again.
fn beside(scenario: &Scenario) -> impl Iterator<Item = (&Path, String, &[u8])> {
    let folder = script_folder(scenario);
    scenario.companions.iter().filter_map(move |companion| {
        let path = companion.program.as_deref()?;
        Some((path, format!("{folder}/{}", companion.place), &*companion.contents))
    })
}

/// The scripts, what lies beside them, and what they share.
pub fn guest_files(selection: &Selection) -> Result<Vec<GuestFile>, CatalogueError> {
    let file = |path: String, mode, text: &str| GuestFile { path, mode, contents: text.into() };
    let shared = Catalogue::shared_files()?;
    let mut files: Vec<GuestFile> =
        shared.iter().map(|(name, text)| file(format!("{SCRIPTS}/{name}"), 0o644, text)).collect();
    for CellSpec { scenario, .. } in selection.specs() {
        let folder = script_folder(scenario);
        let path = format!("{folder}/{}.sh", scenario.name);
        if files.iter().any(|known| known.path == path) {
            continue;
        }
        files.push(file(path, 0o755, &scenario.script));
        files.extend(scenario.companions.iter().map(|companion| GuestFile {
            path: format!("{folder}/{}", companion.place),
            mode: companion.mode,
            contents: companion.contents.to_vec(),
        }));
    }
    Ok(files)
}
