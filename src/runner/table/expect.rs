//! What is expected of a cell: `guest-scripts/expectations`, and the `# expect:` lines of a
//! scenario's file, in one small language:
//!
//! ```text
//! stable|race|survey [control] [device=blk|scsi] [fs=NAME,…] [stable-writes=on|off] [kernel=RANGE] [-- why]
//! ```

use glob::Pattern;
use semver::{Version, VersionReq};

use crate::runner::device::Device;
use crate::verdict::{Expect, StableWrites};

/// Why a rule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectError {
    /// No expectation at its beginning.
    #[error("{0}")]
    Word(String),
    /// A condition that is not known.
    #[error(
        "'{0}' is no condition: use control, device=blk|scsi, fs=NAME, stable-writes=on|off or kernel=RANGE"
    )]
    Condition(String),
    /// A pattern that is not one.
    #[error("'{0}' is no glob pattern")]
    Glob(String),
    /// A range of kernels that is not one.
    #[error("'{0}' is no range of kernels: write >=5.10,<6.12")]
    Kernel(String),
    /// Only a race proves anything.
    #[error("only 'race' can be a control")]
    Control,
    /// A table's line without its scenario.
    #[error("expectations, line {0}: write SCENARIO: stable|race|survey … -- why")]
    Line(usize),
    /// A table's line that is wrong.
    #[error("expectations, line {0}: {1}")]
    At(usize, Box<ExpectError>),
}

/// The properties of a cell that an expectation may depend on.
#[derive(Debug, Clone, Copy)]
pub struct CellKey<'a> {
    /// The device.
    pub device: Device,
    /// The file system's name.
    pub fs: &'a str,
    /// How `stable_writes` is set.
    pub stable_writes: Option<StableWrites>,
    /// The guest's `uname -r`.
    pub release: &'a str,
}

/// What is expected of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Stable, race or survey.
    pub expect: Expect,
    /// A race here proves that the trap was armed.
    pub control: bool,
    /// The reason, where one is given.
    pub why: Option<String>,
}

/// An expectation and the cells that it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    expectation: Expectation,
    device: Option<Device>,
    fs: Vec<Pattern>,
    stable_writes: Option<StableWrites>,
    kernel: Option<VersionReq>,
}

impl Rule {
    /// Reads a rule; what follows `--` is its reason.
    pub fn parse(text: &str) -> Result<Rule, ExpectError> {
        let (conditions, why) = match text.split_once("--") {
            Some((conditions, why)) => (conditions, Some(why.trim().to_owned())),
            None => (text, None),
        };
        let mut words = conditions.split_whitespace();
        let expect = words.next().unwrap_or("").parse().map_err(ExpectError::Word)?;
        let expectation = Expectation { expect, control: false, why };
        let (fs, stable_writes) = (Vec::new(), None);
        let mut rule = Rule { expectation, device: None, fs, stable_writes, kernel: None };
        words.try_for_each(|word| rule.add(word))?;
        Ok(rule)
    }

    fn add(&mut self, word: &str) -> Result<(), ExpectError> {
        match word.split_once('=') {
            None if word == "control" && self.expectation.expect != Expect::Race => {
                return Err(ExpectError::Control);
            }
            None if word == "control" => self.expectation.control = true,
            Some(("device", name)) => self.device = Some(parse_device(name, word)?),
            Some(("fs", names)) => {
                self.fs = names.split(',').map(parse_glob).collect::<Result<_, _>>()?;
            }
            Some(("stable-writes", "on")) => self.stable_writes = Some(StableWrites::On),
            Some(("stable-writes", "off")) => self.stable_writes = Some(StableWrites::Off),
            Some(("kernel", range)) => {
                let range =
                    VersionReq::parse(range).map_err(|_| ExpectError::Kernel(range.to_owned()))?;
                self.kernel = Some(range);
            }
            _ => return Err(ExpectError::Condition(word.to_owned())),
        }
        Ok(())
    }

    /// What the rule says of the cell; `None` where it is not for it.
    pub fn of(&self, cell: CellKey) -> Option<&Expectation> {
        let device = self.device.is_none_or(|device| device == cell.device);
        let fs = self.fs.is_empty() || self.fs.iter().any(|pattern| pattern.matches(cell.fs));
        let stable = self.stable_writes.is_none() || self.stable_writes == cell.stable_writes;
        let kernel = self.kernel.as_ref().is_none_or(|range| {
            kernel_version(cell.release).is_some_and(|version| range.matches(&version))
        });
        (device && fs && stable && kernel).then_some(&self.expectation)
    }
}

fn parse_device(name: &str, word: &str) -> Result<Device, ExpectError> {
    Device::named(name).ok_or_else(|| ExpectError::Condition(word.to_owned()))
}

fn parse_glob(text: &str) -> Result<Pattern, ExpectError> {
    Pattern::new(text).map_err(|_| ExpectError::Glob(text.to_owned()))
}

/// The version at the beginning of a release: `6.12.107+deb13-cloud-amd64` is 6.12.107.
fn kernel_version(release: &str) -> Option<Version> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    let mut numbers = release.get(..end)?.split('.').map(str::parse::<u64>);
    let major = numbers.next()?.ok()?;
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let (minor, patch) = (next(), next());
    Some(Version::new(major, minor, patch))
}

/// The reviewable table: the first line that matches a cell counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectations(Vec<(Pattern, Rule)>);

impl Expectations {
    /// Reads the table.
    pub fn parse(text: &str) -> Result<Expectations, ExpectError> {
        let mut rows = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (scenario, rule) = line.split_once(':').ok_or(ExpectError::Line(at + 1))?;
            let row = parse_glob(scenario).and_then(|name| Ok((name, Rule::parse(rule)?)));
            rows.push(row.map_err(|error| ExpectError::At(at + 1, Box::new(error)))?);
        }
        Ok(Expectations(rows))
    }

    /// What is expected of the cell of `scenario`, where the table knows it.
    pub fn of(&self, scenario: &str, cell: CellKey) -> Option<&Expectation> {
        self.0.iter().filter(|(name, _)| name.matches(scenario)).find_map(|(_, rule)| rule.of(cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(fs: &'a str, stable: Option<StableWrites>, release: &'a str) -> CellKey<'a> {
        CellKey { device: Device::Blk, fs, stable_writes: stable, release }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let table = Expectations::parse(
            "direct-*: race fs=xfs kernel=<7.2 -- pinned pages\n\
             direct-*: race fs=xfs stable-writes=off\n\
             direct-*: stable fs=xfs,btrfs -- pages are copied\n",
        )
        .unwrap();
        let (on, off) = (Some(StableWrites::On), Some(StableWrites::Off));
        for (fs, stable, release, expect) in [
            ("xfs", on, "6.12.107+deb13-cloud-amd64", Some(Expect::Race)),
            ("xfs", on, "7.2.13-cloud-amd64", Some(Expect::Stable)),
            ("xfs", off, "7.2.13-cloud-amd64", Some(Expect::Race)),
            ("btrfs", None, "5.10.0-1", Some(Expect::Stable)),
            ("xfs", on, "no version at all", Some(Expect::Stable)),
            ("ext4", on, "6.1.0", None),
        ] {
            let found = table.of("direct-rewrite", key(fs, stable, release));
            assert_eq!(found.map(|e| e.expect), expect, "{fs} {release}");
        }
        assert!(table.of("mmap-rewrite", key("xfs", on, "6.1.0")).is_none());
    }

    #[test]
    fn a_rule_may_be_for_one_device() {
        let table = Expectations::parse("x: stable device=scsi\nx: race\n").unwrap();
        for (device, expect) in [(Device::Scsi, Expect::Stable), (Device::Blk, Expect::Race)] {
            let cell = CellKey { device, ..key("raw", None, "6.1.0") };
            assert_eq!(table.of("x", cell).unwrap().expect, expect);
        }
    }

    #[test]
    fn bad_rules_say_what_is_wrong() {
        for (text, word) in [
            ("", "use stable, race or survey"),
            ("maybe", "use stable, race or survey"),
            ("race when=raining", "'when=raining' is no condition"),
            ("race kernel=recent", "'recent' is no range"),
            ("race fs=[", "no glob"),
            ("stable control", "only 'race'"),
            ("race device=nvme", "'device=nvme' is no condition"),
            ("race stable-writes=maybe", "no condition"),
        ] {
            let error = Rule::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = Expectations::parse("\nx: stable\ny: perhaps").unwrap_err().to_string();
        assert!(error.starts_with("expectations, line 3:"), "{error}");
    }

    #[test]
    fn releases_are_read_as_far_as_they_are_versions() {
        for (release, version) in [
            ("6.12.107+deb13-cloud-amd64", Some((6, 12, 107))),
            ("5.10.0-32-cloud-amd64", Some((5, 10, 0))),
            ("7.2-rc3", Some((7, 2, 0))),
            ("6.1", Some((6, 1, 0))),
            ("unknown", None),
            ("", None),
        ] {
            let expected = version.map(|(a, b, c)| Version::new(a, b, c));
            assert_eq!(kernel_version(release), expected, "{release}");
        }
    }
}
