//! What is expected of a cell: `guest-scripts/expectations`, and the `# expect:` lines of a
//! scenario's file, in one small language:
//!
//! ```text
//! stable|race|survey [control] [CONDITION…] [-- why]
//! ```
//!
//! The conditions are listed in `guest-scripts/expectations`. What a condition asks of a guest that has not
//! told it makes its rule a survey: nothing is judged by a guess.

use glob::Pattern;
use semver::VersionReq;

use super::guest::{Guest, Word};
use super::numbers::InRange;
use crate::runner::host::device::Device;
use crate::verdict::{Expect, StableWrites};

/// Why a rule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpectError {
    /// No expectation at its beginning.
    #[error("{0}")]
    Word(String),
    /// A condition that is not known.
    #[error(
        "'{0}' is no condition: use control, device=blk|scsi, fs=NAME, stable-writes=on|off, guest=FACT, vendor=NAME, page-size=BYTES or kernel=RANGE"
    )]
    Condition(String),
    /// A fact of the guest that is not known.
    #[error(
        "'{0}' is no fact of a guest: use integrity, stable-at-start, knob or DRIVER:FEATURE, or one of them with ! before it"
    )]
    Fact(String),
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
    /// What the guest told of itself; `None` before it did.
    pub guest: Option<&'a Guest>,
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
    guest: Vec<Word>,
    vendor: Vec<Pattern>,
    page_size: Option<u64>,
    kernel: Option<VersionReq>,
}

/// Whether a rule is for a cell.
enum Fit {
    No,
    Yes,
    /// It depends on something that is not known: why.
    Unknown(String),
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
        let mut rule = Rule {
            expectation: Expectation { expect, control: false, why },
            device: None,
            fs: Vec::new(),
            stable_writes: None,
            guest: Vec::new(),
            vendor: Vec::new(),
            page_size: None,
            kernel: None,
        };
        words.try_for_each(|word| rule.add(word))?;
        Ok(rule)
    }

    fn add(&mut self, word: &str) -> Result<(), ExpectError> {
        let unknown = || ExpectError::Condition(word.to_owned());
        match word.split_once('=') {
            None if word == "control" && self.expectation.expect != Expect::Race => {
                return Err(ExpectError::Control);
            }
            None if word == "control" => self.expectation.control = true,
            Some(("device", name)) => {
                self.device = Some(Device::named(name).ok_or_else(unknown)?);
            }
            Some(("fs", names)) => self.fs = parse_globs(names)?,
            Some(("stable-writes", "on")) => self.stable_writes = Some(StableWrites::On),
            Some(("stable-writes", "off")) => self.stable_writes = Some(StableWrites::Off),
            Some(("guest", facts)) => {
                let fact = |text: &str| {
                    Word::parse(text).ok_or_else(|| ExpectError::Fact(text.to_owned()))
                };
                self.guest = facts.split(',').map(fact).collect::<Result<_, _>>()?;
            }
            Some(("vendor", names)) => self.vendor = parse_globs(names)?,
            Some(("page-size", bytes)) => {
                self.page_size = Some(bytes.parse().map_err(|_| unknown())?);
            }
            Some(("kernel", range)) => {
                let range =
                    VersionReq::parse(range).map_err(|_| ExpectError::Kernel(range.to_owned()))?;
                self.kernel = Some(range);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// What the rule says of the cell; `None` where it is not for it. A rule that may or may not be for
    /// it says that nothing is known.
    pub fn of(&self, cell: CellKey) -> Option<Expectation> {
        match self.fits(cell) {
            Fit::No => None,
            Fit::Yes => Some(self.expectation.clone()),
            Fit::Unknown(why) => Some(self.survey(&why)),
        }
    }

    fn fits(&self, cell: CellKey) -> Fit {
        let device = self.device.is_none_or(|device| device == cell.device);
        let fs = self.fs.is_empty() || self.fs.iter().any(|pattern| pattern.matches(cell.fs));
        let stable = self.stable_writes.is_none() || self.stable_writes == cell.stable_writes;
        if !(device && fs && stable) {
            return Fit::No;
        }
        let asks_nothing =
            self.guest.is_empty() && self.vendor.is_empty() && self.page_size.is_none();
        match cell.guest {
            None if asks_nothing && self.kernel.is_none() => Fit::Yes,
            None => Fit::Unknown("the guest has not told what it is".to_owned()),
            Some(guest) => self.fits_guest(guest),
        }
    }

    fn fits_guest(&self, guest: &Guest) -> Fit {
        let facts = self.guest.iter().all(|word| guest.is(word));
        let vendor = self.vendor.is_empty()
            || self.vendor.iter().any(|pattern| pattern.matches(guest.numbers.vendor));
        let page_size = self.page_size.is_none_or(|bytes| bytes == guest.facts.page_size);
        if !(facts && vendor && page_size) {
            return Fit::No;
        }
        let Some(range) = &self.kernel else { return Fit::Yes };
        match guest.numbers.in_range(range, !self.vendor.is_empty()) {
            InRange::Yes => Fit::Yes,
            InRange::No => Fit::No,
            InRange::Unknown => Fit::Unknown(guest.numbers.excuse(&guest.facts.release)),
        }
    }

    /// A survey in place of the rule.
    fn survey(&self, why: &str) -> Expectation {
        let Expectation { expect, why: reason, .. } = &self.expectation;
        let range = self.kernel.as_ref().map_or("others".to_owned(), ToString::to_string);
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(", {reason}"));
        let why = format!("{why}; of {range} is expected: {expect}{reason}");
        Expectation { expect: Expect::Survey, control: false, why: Some(why) }
    }
}

fn parse_globs(names: &str) -> Result<Vec<Pattern>, ExpectError> {
    names.split(',').map(parse_glob).collect()
}

fn parse_glob(text: &str) -> Result<Pattern, ExpectError> {
    Pattern::new(text).map_err(|_| ExpectError::Glob(text.to_owned()))
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
    pub fn of(&self, scenario: &str, cell: CellKey) -> Option<Expectation> {
        self.0.iter().filter(|(name, _)| name.matches(scenario)).find_map(|(_, rule)| rule.of(cell))
    }
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::{guest, protected};
    use super::*;

    fn key<'a>(fs: &'a str, stable: Option<StableWrites>, guest: &'a Guest) -> CellKey<'a> {
        CellKey { device: Device::Blk, fs, stable_writes: stable, guest: Some(guest) }
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
            ("xfs", on, "6.12.107", Some(Expect::Race)),
            ("xfs", on, "7.2.13", Some(Expect::Stable)),
            ("xfs", off, "7.2.13", Some(Expect::Race)),
            ("btrfs", None, "5.10.0", Some(Expect::Stable)),
            ("ext4", on, "6.1.0", None),
        ] {
            let guest = guest(release);
            let found = table.of("direct-rewrite", key(fs, stable, &guest));
            assert_eq!(found.map(|e| e.expect), expect, "{fs} {release}");
        }
        assert!(table.of("mmap-rewrite", key("xfs", on, &guest("6.1.0"))).is_none());
    }

    #[test]
    fn a_number_that_says_nothing_makes_its_rule_a_survey_that_says_so() {
        let table = Expectations::parse(
            "d: race fs=xfs kernel=<7.0 -- nothing holds its stores back\n\
             d: stable fs=xfs -- the pages are copied\n\
             d: stable -- of every kernel\n",
        )
        .unwrap();
        for release in ["5.14.0-427.13.1.el9_4.x86_64", "6.12.0-mine", "6.19.0+", "kernel"] {
            let guest = guest(release);
            let found = table.of("d", key("xfs", None, &guest)).unwrap();
            assert_eq!((found.expect, found.control), (Expect::Survey, false), "{release}");
            let why = found.why.unwrap();
            assert!(
                why.contains("of <7.0 is expected: race, nothing holds its stores back"),
                "{why}"
            );
            assert!(why.contains(release), "{why}");
            // What asks for no number holds for it all the same.
            let found = table.of("d", key("ext4", None, &guest)).unwrap();
            assert_eq!(found.expect, Expect::Stable, "{release}");
        }
        let known = guest("6.1.0");
        let unasked = CellKey { guest: None, ..key("xfs", None, &known) };
        assert_eq!(table.of("d", unasked).unwrap().expect, Expect::Survey);
        let named = Expectations::parse("d: race vendor=red-hat kernel=>=5.14,<5.15\n").unwrap();
        let (rhel, upstream) = (guest("5.14.0-427.el9"), guest("5.14.0"));
        assert_eq!(named.of("d", key("xfs", None, &rhel)).unwrap().expect, Expect::Race);
        assert!(named.of("d", key("xfs", None, &upstream)).is_none());
    }

    #[test]
    fn a_rule_may_ask_what_the_guest_can_do() {
        let table = Expectations::parse(
            "d: stable guest=integrity,!stable-at-start\n\
             d: race page-size=4096\n\
             d: survey\n",
        )
        .unwrap();
        let mut large = guest("6.12.0");
        large.facts.page_size = 65536;
        for (guest, expect) in [
            (protected("6.12.0", false), Expect::Stable),
            (protected("6.1.0", true), Expect::Race),
            (guest("6.12.0"), Expect::Race),
            (large, Expect::Survey),
        ] {
            assert_eq!(
                table.of("d", key("raw", None, &guest)).unwrap().expect,
                expect,
                "{guest:?}"
            );
        }
    }

    #[test]
    fn a_rule_may_be_for_one_device() {
        let table = Expectations::parse("x: stable device=scsi\nx: race\n").unwrap();
        let guest = guest("6.1.0");
        for (device, expect) in [(Device::Scsi, Expect::Stable), (Device::Blk, Expect::Race)] {
            let cell = CellKey { device, ..key("raw", None, &guest) };
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
            ("race page-size=large", "no condition"),
            ("race guest=integrity,luck", "'luck' is no fact of a guest"),
            ("race vendor=[", "no glob"),
        ] {
            let error = Rule::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = Expectations::parse("\nx: stable\ny: perhaps").unwrap_err().to_string();
        assert!(error.starts_with("expectations, line 3:"), "{error}");
    }
}
