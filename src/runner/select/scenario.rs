//! A scenario: a shell script whose first comment lines say what it is and what it expects.

use crate::runner::host::device::Device;
use crate::runner::select::companion::{Companion, is_path};
use crate::runner::select::meant::is_slip;
use crate::runner::select::table::{CellKey, ExpectError, Expectation, Rule};
use crate::verdict::{Expect, StableWrites};

/// Why a script is not a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// A line of the header is missing.
    #[error("scenario {0} has no line '# {1}:': see guest-scripts/README.md")]
    Missing(String, &'static str),
    /// An expectation that cannot be read.
    #[error("scenario {0}: '# expect:' {1}")]
    Expect(String, ExpectError),
    /// A value that is none.
    #[error("scenario {0}: '# stable-writes: {1}' is not known: use on, off, both or any")]
    StableWrites(String, String),
    /// A device that is none.
    #[error("scenario {0}: '# device: {1}' is not known: use blk, scsi, or leave the line out")]
    Device(String, String),
    /// A number of blocks that is none.
    #[error("scenario {0}: '# min-blocks: {1}' is no number of blocks: use 1 or more")]
    MinBlocks(String, String),
    /// A key that is nearly one of ours: the line would be a mere comment, and an expectation gone.
    #[error("scenario {0}: '# {1}:' is no line of a header, did you mean '# {2}:'?")]
    Slip(String, String, &'static str),
    /// Not text.
    #[error("scenario {0} is not a text file")]
    NotText(String),
}

/// The keys of a header.
const KEYS: [&str; 10] = [
    "description",
    "fs",
    "stable-writes",
    "expect",
    "device",
    "inject",
    "min-blocks",
    "drivers",
    "needs",
    "files",
];

/// A script with its header read.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file's name without `.sh`.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Glob patterns of the file systems that it runs on.
    pub fs: Vec<String>,
    /// The settings of `stable_writes` that it runs with; `None` leaves the queue alone.
    pub stable_writes: Vec<Option<StableWrites>>,
    /// Programs that it needs in the guest, beyond what every guest has: the machine's by their names,
    /// those beside the script by their paths.
    pub needs: Vec<String>,
    /// Data beside the script that the guest takes along.
    pub files: Vec<String>,
    /// What of `needs` and `files` lies beside the script, read.
    pub companions: Vec<Companion>,
    /// Drivers that it needs in the guest's kernel, beyond the file system's.
    pub drivers: Vec<String>,
    /// The devices that it runs on; none for all.
    pub devices: Vec<Device>,
    /// Faults that the disk has while it runs, as `dixtrapd --inject` takes them, places in sectors.
    pub faults: Vec<String>,
    /// How few blocks are a result where it is a survey; `None` for as many as everywhere.
    pub min_blocks: Option<u64>,
    /// The user's own file: the table of expectations says nothing about it.
    pub own: bool,
    /// The script.
    pub script: String,
    expect: Vec<Rule>,
}

impl Scenario {
    /// Reads the header of `script`. `own` tells a user's file from those that come with dixtrap.
    pub fn parse(name: &str, script: &[u8], own: bool) -> Result<Scenario, ScenarioError> {
        let named = || name.to_owned();
        let script = std::str::from_utf8(script).map_err(|_| ScenarioError::NotText(named()))?;
        let header = Header(script);
        if let Some((wrong, key)) = header.slip() {
            return Err(ScenarioError::Slip(named(), wrong.to_owned(), key));
        }
        let value = |key| header.value(key).ok_or(ScenarioError::Missing(named(), key));
        let rules: Result<Vec<Rule>, ExpectError> =
            header.values("expect").map(Rule::parse).collect();
        let expect = rules.map_err(|error| ScenarioError::Expect(named(), error))?;
        if expect.is_empty() {
            return Err(ScenarioError::Missing(named(), "expect"));
        }
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let stable = value("stable-writes")?;
        Ok(Scenario {
            name: named(),
            description: value("description")?.to_owned(),
            fs: words(value("fs")?),
            stable_writes: parse_stable_writes(stable)
                .ok_or_else(|| ScenarioError::StableWrites(named(), stable.to_owned()))?,
            needs: words(header.value("needs").unwrap_or("")),
            files: words(header.value("files").unwrap_or("")),
            companions: Vec::new(),
            drivers: words(header.value("drivers").unwrap_or("")),
            devices: header.devices().map_err(|name| ScenarioError::Device(named(), name))?,
            faults: header.values("inject").map(str::to_owned).collect(),
            min_blocks: header.min_blocks().map_err(|n| ScenarioError::MinBlocks(named(), n))?,
            own,
            script: script.to_owned(),
            expect,
        })
    }

    /// The programs of this machine that it needs, by their names.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.needs.iter().map(String::as_str).filter(|word| !is_path(word))
    }

    /// Whether it is for `device`.
    pub fn runs_on(&self, device: Device) -> bool {
        self.devices.is_empty() || self.devices.contains(&device)
    }

    /// What the script itself expects of a cell: its first line that matches, else a survey.
    pub fn expects(&self, cell: CellKey) -> Expectation {
        let survey = Expectation { expect: Expect::Survey, control: false, why: None };
        self.expect.iter().find_map(|rule| rule.of(cell)).unwrap_or(survey)
    }
}

fn parse_stable_writes(text: &str) -> Option<Vec<Option<StableWrites>>> {
    match text {
        "on" => Some(vec![Some(StableWrites::On)]),
        "off" => Some(vec![Some(StableWrites::Off)]),
        "both" => Some(vec![Some(StableWrites::Off), Some(StableWrites::On)]),
        "any" => Some(vec![None]),
        _ => None,
    }
}

/// The comment lines at the beginning of a script.
struct Header<'a>(&'a str);

impl<'a> Header<'a> {
    /// The values of every line `# key: value`, in order.
    fn values(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.lines().filter_map(move |(name, value)| (name == key).then_some(value))
    }

    /// Every line `# name: value`, whatever its name.
    fn lines(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let comments = self.0.lines().take_while(|line| line.starts_with('#'));
        let parts = comments.filter_map(|line| line.trim_start_matches('#').split_once(':'));
        parts.map(|(name, value)| (name.trim(), value.trim()))
    }

    /// The first name that is no key and nearly one, and that key.
    fn slip(&self) -> Option<(&'a str, &'static str)> {
        self.lines().filter(|(name, _)| !KEYS.contains(name)).find_map(|(name, _)| {
            let word = name.to_lowercase().replace('_', "-");
            Some((name, KEYS.into_iter().find(|key| is_slip(&word, key))?))
        })
    }

    fn devices(&self) -> Result<Vec<Device>, String> {
        let words = self.value("device").unwrap_or("").split_whitespace();
        words.map(|name| Device::named(name).ok_or_else(|| name.to_owned())).collect()
    }

    fn min_blocks(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.value("min-blocks") else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number > 0);
        number.map(Some).ok_or_else(|| text.to_owned())
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.values(key).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/bin/sh\n# description: A test: of headers.\n# fs: raw ext4*\n\
        # stable-writes: both\n# expect: race stable-writes=off -- pages are not held\n\
        # expect: stable\n# needs: losetup ./a.py dmsetup\n# files: b c/\n# drivers: loop dm_mod\n# device: scsi\n\
        # min-blocks: 8\n# inject: lost\n# inject: busy,op=read\n\n# description: too late\necho\n";

    #[test]
    fn the_header_is_read_as_far_as_it_goes() {
        let scenario = Scenario::parse("t", SCRIPT.as_bytes(), true).unwrap();
        assert_eq!(scenario.description, "A test: of headers.");
        assert_eq!(scenario.fs, ["raw", "ext4*"]);
        assert_eq!(scenario.needs, ["losetup", "./a.py", "dmsetup"]);
        assert_eq!(scenario.programs().collect::<Vec<_>>(), ["losetup", "dmsetup"]);
        assert_eq!(scenario.files, ["b", "c/"]);
        assert_eq!(scenario.drivers, ["loop", "dm_mod"]);
        assert_eq!(scenario.devices, [Device::Scsi]);
        assert_eq!(scenario.faults, ["lost", "busy,op=read"]);
        assert_eq!((scenario.stable_writes.len(), scenario.min_blocks), (2, Some(8)));
        for (stable, expect) in
            [(StableWrites::Off, Expect::Race), (StableWrites::On, Expect::Stable)]
        {
            let (device, stable_writes) = (Device::Blk, Some(stable));
            let cell = CellKey { device, fs: "raw", stable_writes, guest: None };
            assert_eq!(scenario.expects(cell).expect, expect);
        }
    }

    /// `# expct: race` was a comment, and the cell a survey that nothing could fail.
    #[test]
    fn a_slip_in_a_key_is_told_and_other_comments_are_not() {
        for (old, new, meant) in [
            ("# expect: race", "# expct: race", "# expect:"),
            ("# drivers:", "# driver:", "# drivers:"),
            ("# min-blocks:", "# min_blocks:", "# min-blocks:"),
            ("# files:", "# file:", "# files:"),
            ("# inject: busy", "# Inject: busy", "# inject:"),
            ("# fs:", "# FS:", "# fs:"),
        ] {
            let script = SCRIPT.replace(old, new);
            let error = Scenario::parse("t", script.as_bytes(), true).unwrap_err().to_string();
            assert!(error.contains(&format!("did you mean '{meant}'")), "{new}: {error}");
        }
        for comment in
            ["SPDX-License-Identifier: MIT", "note: x", "id: 7", "lines: 3", "a b: c", "\u{e9}: x"]
        {
            let script = SCRIPT.replace("# fs:", &format!("# {comment}\n# fs:"));
            assert!(Scenario::parse("t", script.as_bytes(), true).is_ok(), "{comment}");
        }
    }

    #[test]
    fn a_header_that_lacks_something_says_what() {
        for (old, new, word) in [
            ("# fs: raw ext4*\n", "", "# fs:"),
            ("# description: A test: of headers.\n", "", "# description:"),
            ("both", "sometimes", "use on, off, both or any"),
            ("# device: scsi", "# device: nvme", "use blk, scsi"),
            ("# expect: stable", "# expect: fine", "'fine' is no expectation"),
            ("# min-blocks: 8", "# min-blocks: few", "'# min-blocks: few' is no number"),
            ("# min-blocks: 8", "# min-blocks: 0", "use 1 or more"),
        ] {
            let script = SCRIPT.replace(old, new);
            let error = Scenario::parse("t", script.as_bytes(), true).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(Scenario::parse("t", &[0xff, 0xfe], true).is_err());
    }
}
