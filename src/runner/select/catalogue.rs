//! The scenarios that come with dixtrap, their tables, and the choice among them and a user's own.

use std::path::Path;

use glob::Pattern;
use include_dir::{Dir, include_dir};

use crate::runner::select::meant::did_you_mean;
use crate::runner::select::own::{self, OwnError};
use crate::runner::select::scenario::{Scenario, ScenarioError};
use crate::runner::select::table::{
    CellKey, ExpectError, Expectation, Expectations, FileSystems, FileSystemsError,
};

/// The folder as it was when this program was built, so that an installed program needs no other
/// file.
static SCRIPTS: Dir = include_dir!("$CARGO_MANIFEST_DIR/guest-scripts");

/// Every file of that folder, with its contents.
pub fn files_built_in() -> impl Iterator<Item = (&'static Path, &'static [u8])> {
    SCRIPTS.files().map(|file| (file.path(), file.contents()))
}

/// Why there is no catalogue, or no choice from it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file that dixtrap was built with is not there.
    #[error("dixtrap was built without guest-scripts/{0}: build it again")]
    Incomplete(&'static str),
    /// A script's header.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The table of expectations.
    #[error(transparent)]
    Expect(#[from] ExpectError),
    /// The table of file systems.
    #[error(transparent)]
    FileSystems(#[from] FileSystemsError),
    /// A pattern that is not one.
    #[error("'{0}' is no glob pattern")]
    Pattern(String, #[source] glob::PatternError),
    /// A name that nothing has.
    #[error(
        "no scenario matches '{pattern}'{meant} There are {known}; a file of your own needs a / in its path"
    )]
    Unknown {
        /// What was asked for.
        pattern: String,
        /// What may have been meant; ends the sentence.
        meant: String,
        /// What there is.
        known: String,
    },
    /// A file system in a header that none is like: its cells would be missing without a word.
    #[error(
        "scenario {scenario}: '# fs:' {pattern} matches no file system that is known{meant} There are {known}"
    )]
    Fs {
        /// The scenario.
        scenario: String,
        /// The name or pattern.
        pattern: String,
        /// What may have been meant; ends the sentence.
        meant: String,
        /// What there is.
        known: String,
    },
    /// Two files whose cells nobody could tell apart.
    #[error("two different scenarios are called {0}: give one of the files another name")]
    Twice(String),
    /// A user's own file.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// Everything that is known about scenarios and file systems.
#[derive(Debug, Clone)]
pub struct Catalogue {
    scenarios: Vec<Scenario>,
    /// Every file system.
    pub file_systems: FileSystems,
    expectations: Expectations,
}

impl Catalogue {
    /// The catalogue that dixtrap was built with.
    pub fn embedded() -> Result<Catalogue, CatalogueError> {
        let mut scenarios = Vec::new();
        for file in SCRIPTS.files() {
            if let Some(name) = scenario_name(file.path()) {
                scenarios.push(Scenario::parse(&name, file.contents(), false)?);
            }
        }
        scenarios.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Catalogue {
            scenarios,
            file_systems: FileSystems::parse(shared_file("filesystems")?)?,
            expectations: Expectations::parse(shared_file("expectations")?)?,
        })
    }

    /// The scenarios that come with dixtrap.
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// The scenario called `name`.
    pub fn get(&self, name: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }

    /// The scenarios that `wanted` names: glob patterns over names, or paths of a user's own files
    /// (recognised by a `/` or by `.sh`). Nothing wanted means all that come with dixtrap.
    pub fn choose(&self, wanted: &[String]) -> Result<Vec<Scenario>, CatalogueError> {
        if wanted.is_empty() {
            return Ok(self.scenarios.clone());
        }
        let mut chosen: Vec<Scenario> = Vec::new();
        for want in wanted {
            for scenario in self.matching(want)? {
                let same = |c: &&Scenario| c.name == scenario.name && c.own == scenario.own;
                match chosen.iter().find(same) {
                    None => chosen.push(scenario),
                    Some(known) if *known == scenario => {}
                    Some(_) => return Err(CatalogueError::Twice(scenario.name)),
                }
            }
        }
        Ok(chosen)
    }

    fn matching(&self, want: &str) -> Result<Vec<Scenario>, CatalogueError> {
        if want.contains('/') || want.ends_with(".sh") {
            let own = own::read(Path::new(want))?;
            self.know_systems(&own)?;
            return Ok(vec![own]);
        }
        let pattern =
            Pattern::new(want).map_err(|e| CatalogueError::Pattern(want.to_owned(), e))?;
        let found: Vec<Scenario> =
            self.scenarios.iter().filter(|s| pattern.matches(&s.name)).cloned().collect();
        if found.is_empty() {
            let names: Vec<&str> = self.scenarios.iter().map(|s| s.name.as_str()).collect();
            return Err(CatalogueError::Unknown {
                pattern: want.to_owned(),
                meant: did_you_mean(want, names.iter().copied()),
                known: names.join(", "),
            });
        }
        Ok(found)
    }

    /// Each file system that a user's header names has to be one.
    fn know_systems(&self, scenario: &Scenario) -> Result<(), CatalogueError> {
        let known: Vec<&str> = self.file_systems.iter().map(|fs| fs.name.as_str()).collect();
        for name in &scenario.fs {
            let pattern =
                Pattern::new(name).map_err(|e| CatalogueError::Pattern(name.clone(), e))?;
            if !known.iter().any(|fs| pattern.matches(fs)) {
                return Err(CatalogueError::Fs {
                    scenario: scenario.name.clone(),
                    pattern: name.clone(),
                    meant: did_you_mean(name, known.iter().copied()),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }

    /// What is expected of a cell: the table's word, else the script's own. A user's own file
    /// speaks for itself, and never proves that the trap was armed.
    pub fn expectation(&self, scenario: &Scenario, cell: CellKey) -> Expectation {
        if scenario.own {
            return Expectation { control: false, ..scenario.expects(cell) };
        }
        let known = self.expectations.of(&scenario.name, cell);
        known.unwrap_or_else(|| scenario.expects(cell))
    }

    /// The files that a guest needs beside the scripts: name and contents.
    pub fn shared_files() -> Result<[(&'static str, &'static str); 2], CatalogueError> {
        Ok([("lib.sh", shared_file("lib.sh")?), ("filesystems", shared_file("filesystems")?)])
    }
}

fn shared_file(name: &'static str) -> Result<&'static str, CatalogueError> {
    SCRIPTS
        .get_file(name)
        .and_then(|file| file.contents_utf8())
        .ok_or(CatalogueError::Incomplete(name))
}

/// The name of the scenario in a file: `mmap-rewrite.sh` is `mmap-rewrite`; `lib.sh` is none.
fn scenario_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_suffix(".sh")?;
    (name != "lib").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::host::device::Device;
    use crate::runner::select::table::Guest;
    use crate::runner::select::table::tests::{guest, protected};
    use crate::verdict::{Expect, StableWrites};

    #[test]
    fn what_dixtrap_was_built_with_can_be_read() {
        let catalogue = Catalogue::embedded().unwrap();
        let names: Vec<&str> = catalogue.scenarios().iter().map(|s| s.name.as_str()).collect();
        assert!(names.contains(&"mmap-rewrite") && !names.contains(&"lib"), "{names:?}");
        assert!(catalogue.file_systems.get("raw").is_some());
        Catalogue::shared_files().unwrap();
    }

    #[test]
    fn globs_choose_once_and_unknown_names_list_what_there_is() {
        let catalogue = Catalogue::embedded().unwrap();
        let wanted = ["*-rewrite".to_owned(), "mmap-*".to_owned()];
        let chosen = catalogue.choose(&wanted).unwrap();
        assert_eq!(chosen.iter().filter(|s| s.name == "mmap-rewrite").count(), 1);
        assert!(!chosen.iter().any(|s| s.name == "metadata-churn"));
        let error = catalogue.choose(&["nosuch".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("metadata-churn"), "{error}");
        assert!(catalogue.choose(&["[".to_owned()]).is_err());
    }

    /// `# fs: ext4 xsf` ran on ext4 alone, and `# fs: xsf` "on " nothing.
    #[test]
    fn a_users_file_that_names_no_file_system_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.sh");
        let catalogue = Catalogue::embedded().unwrap();
        for (fs, told) in [
            (
                "ext4 btrsf",
                Some("'# fs:' btrsf matches no file system that is known, did you mean btrfs?"),
            ),
            ("ext4, xfs", Some("'# fs:' ext4, matches no file system")),
            ("ext4[", Some("no glob pattern")),
            ("ext* raw", None),
        ] {
            let head = "# description: d\n# stable-writes: any\n# expect: race\n# fs:";
            std::fs::write(&path, format!("{head} {fs}\n")).unwrap();
            let chosen = catalogue.choose(&[path.display().to_string()]);
            let error = chosen.err().map(|error| error.to_string());
            assert_eq!(error.is_some(), told.is_some(), "{fs}: {error:?}");
            assert!(error.unwrap_or_default().contains(told.unwrap_or_default()), "{fs}");
        }
    }

    #[test]
    fn a_users_file_speaks_for_itself_and_is_no_control() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("direct-rewrite.sh");
        let script = "# description: d\n# fs: raw\n# stable-writes: any\n# expect: race control\n";
        std::fs::write(&path, script).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let chosen = catalogue.choose(&[path.display().to_string()]).unwrap();
        let device = Device::Blk;
        let cell = CellKey { device, fs: "raw", stable_writes: None, guest: None };
        let expectation = catalogue.expectation(&chosen[0], cell);
        assert_eq!((expectation.expect, expectation.control), (Expect::Race, false));
        let missing = directory.path().join("none.sh").display().to_string();
        assert!(catalogue.choose(&[missing]).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_users_file_brings_what_lies_beside_it_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let write = |place: &str, needs: &str| {
            let path = directory.path().join(place);
            let script = format!(
                "# description: d\n# fs: raw\n# stable-writes: any\n# expect: race\n# needs: {needs}\n"
            );
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, script).unwrap();
            path.display().to_string()
        };
        let catalogue = Catalogue::embedded().unwrap();
        let one = write("one/s.sh", "./helper");
        let error = catalogue.choose(std::slice::from_ref(&one)).unwrap_err();
        assert!(matches!(error, CatalogueError::Own(OwnError::Companion(..))), "{error:?}");
        std::fs::write(directory.path().join("one/helper"), "#!/bin/sh\n").unwrap();
        // Named twice it is one, in one way or another.
        let again = directory.path().join("one/../one/s.sh").display().to_string();
        let chosen = catalogue.choose(&[one.clone(), again]).unwrap();
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].companions[0].place, "helper");
        // Two whose records nobody could tell apart.
        let two = write("two/s.sh", "sed");
        let error = catalogue.choose(&[one, two]).unwrap_err().to_string();
        assert!(error.contains("two different scenarios are called s"), "{error}");
        assert!(catalogue.scenarios().iter().all(|s| s.files.is_empty()));
    }

    /// Every cell of the scenarios that come with dixtrap, as `guest` is expected to show it on `device`.
    fn all(device: Device, guest: &Guest) -> Vec<(String, Expectation)> {
        let catalogue = Catalogue::embedded().unwrap();
        let mut cells = Vec::new();
        for scenario in catalogue.scenarios() {
            for fs in catalogue.file_systems.iter().map(|system| system.name.as_str()) {
                for stable_writes in [None, Some(StableWrites::On), Some(StableWrites::Off)] {
                    let key = CellKey { device, fs, stable_writes, guest: Some(guest) };
                    let name = crate::verdict::cell_name(&scenario.name, fs, stable_writes);
                    cells.push((name, catalogue.expectation(scenario, key)));
                }
            }
        }
        cells
    }

    /// With these numbers somebody has measured.
    const MEASURED: [&str; 4] = ["5.10.223", "6.1.192", "6.12.117", "7.2.13"];

    #[test]
    fn a_guest_that_makes_no_protection_information_is_judged_like_one_on_a_plain_disk() {
        for release in MEASURED.iter().chain(&["5.14.0-427.el9", "6.12.0-mine"]) {
            let plain = guest(release);
            assert_eq!(all(Device::Scsi, &plain), all(Device::Blk, &plain), "{release}");
        }
    }

    #[test]
    fn a_vendors_kernel_is_judged_only_where_all_versions_are_alike() {
        let of = |release: &str, at_start| {
            [guest(release), protected(release, at_start)].map(|guest| all(Device::Scsi, &guest))
        };
        for at_start in [false, true] {
            let vendor = of("6.12.0-55.el10", at_start);
            for release in MEASURED {
                for (of_vendor, upstream) in vendor.iter().zip(of(release, at_start)) {
                    for ((name, of_vendor), (_, upstream)) in of_vendor.iter().zip(upstream) {
                        let judged = of_vendor.expect != Expect::Survey;
                        assert!(!judged || of_vendor.expect == upstream.expect, "{release} {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_known_of_direct_io_on_xfs() {
        let expected = |guest: &Guest, name: &str| {
            let cells = all(Device::Scsi, guest);
            cells.into_iter().find(|(cell, _)| cell == name).unwrap().1.expect
        };
        let (on, off) =
            ("direct-rewrite/xfs/stable_writes=on", "direct-rewrite/xfs/stable_writes=off");
        for (release, plain_on, protected_off) in [
            ("6.12.117", Expect::Race, Expect::Race),
            ("6.19.3", Expect::Race, Expect::Race),
            ("6.19.0-04567-g0123456789ab", Expect::Survey, Expect::Survey),
            ("7.0.0-rc1", Expect::Stable, Expect::Stable),
            ("7.2.13", Expect::Stable, Expect::Stable),
        ] {
            assert_eq!(expected(&guest(release), on), plain_on, "{release}");
            assert_eq!(expected(&guest(release), off), Expect::Race, "{release}");
            assert_eq!(expected(&protected(release, false), off), protected_off, "{release}");
        }
    }
}
