//! Whose number a kernel's release is, and what may be concluded from it. Upstream's and Debian's numbers
//! say what a kernel does; a vendor's says what it was forked from, and carries changes of later versions.

use semver::{Version, VersionReq};

/// Upstream's own releases, candidates and commits.
pub const UPSTREAM: &str = "upstream";
/// Debian's kernels, whose number follows upstream's stable releases.
pub const DEBIAN: &str = "debian";
/// A number of nobody that is known here.
pub const OTHER: &str = "other";

/// Marks in a release or build line, and whose they are. The first that is found counts: Oracle's
/// kernels carry the mark of Red Hat's releases as well. `#` stands for a digit.
const MARKS: [(&str, &str); 26] = [
    ("uek", "oracle"),
    (".el#", "red-hat"),
    (".fc#", "fedora"),
    ("amzn", "amazon"),
    ("android", "android"),
    ("-microsoft", "microsoft"),
    (".azl#", "microsoft"),
    (".cm#", "microsoft"),
    ("+rpt", "raspberry-pi"),
    ("-rpi", "raspberry-pi"),
    ("-pve", "proxmox"),
    ("ubuntu", "ubuntu"),
    ("-generic", "ubuntu"),
    ("-lowlatency", "ubuntu"),
    (".oe#", "openeuler"),
    (".an#", "anolis"),
    (".tl#", "tencent"),
    (".ph#", "photon"),
    ("-cos-", "google"),
    ("-arch#", "arch"),
    ("-zen#", "zen"),
    ("-cachyos", "cachyos"),
    ("-gentoo", "gentoo"),
    ("kali", "kali"),
    ("-default", "suse"),
    ("-azure", "suse"),
];

/// Options that only a vendor's tree has, whose builds by hand carry no mark in their release.
const OPTIONS: [(&str, &str); 4] = [
    ("CONFIG_RHEL_DIFFERENCES=y", "red-hat"),
    ("CONFIG_SUSE_KERNEL=y", "suse"),
    ("CONFIG_VERSION_SIGNATURE=\"Ubuntu", "ubuntu"),
    ("CONFIG_ANDROID_VENDOR_HOOKS=y", "android"),
];

/// What a builder adds to the release of his own kernel.
const LOCAL: &str = "CONFIG_LOCALVERSION=";

/// A kernel's number, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// `UPSTREAM`, `DEBIAN`, a vendor's name, or `OTHER`.
    pub vendor: &'static str,
    /// The number.
    version: Option<Version>,
    /// It was built from a commit between two releases: it may do what the next one does.
    between: bool,
}

/// What a range of versions says of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InRange {
    /// It lies in it.
    Yes,
    /// It lies outside.
    No,
    /// Nobody can tell.
    Unknown,
}

impl Numbers {
    /// From `uname -r`, from the lines that a distribution signs its builds with (`uname -v`,
    /// `/proc/version_signature`), and from the kernel's configuration where there is one.
    pub fn of(release: &str, signed: &[&str], config: Option<&str>) -> Numbers {
        let lines = || config.unwrap_or_default().lines();
        let local = lines().find_map(|line| line.strip_prefix(LOCAL));
        let local = local.map_or("", |value| value.trim().trim_matches('"'));
        let of_tree = OPTIONS
            .iter()
            .find(|(option, _)| lines().any(|line| line.starts_with(option)))
            .map(|(_, vendor)| *vendor);
        let (version, rest) = split(release);
        let rest = rest.replacen(local, "", usize::from(!local.is_empty()));
        let lower = release.to_lowercase();
        let signed: Vec<String> = signed.iter().map(|line| line.to_lowercase()).collect();
        let all = || std::iter::once(&lower).chain(&signed);
        let marked = MARKS.iter().find(|(mark, _)| all().any(|text| holds(text, mark)));
        let debian = signed.iter().find_map(|line| debian_version(line));
        let foreign = |vendor| Numbers { vendor, version: version.clone(), between: false };
        let marked = marked.map(|(_, vendor)| *vendor).or(of_tree);
        match (marked, debian, upstream(&rest).filter(|_| version.is_some())) {
            (Some(vendor), ..) => foreign(vendor),
            (_, Some(version), _) => {
                Numbers { vendor: DEBIAN, version: Some(version), between: false }
            }
            (.., Some(between)) => Numbers { vendor: UPSTREAM, version, between },
            _ => foreign(OTHER),
        }
    }

    /// Whether `range` holds it. A rule that does not name the vendors that it is for (`named`) speaks
    /// of upstream's and Debian's numbers.
    pub fn in_range(&self, range: &VersionReq, named: bool) -> InRange {
        let known = named || [UPSTREAM, DEBIAN].contains(&self.vendor);
        let Some(version) = self.version.as_ref().filter(|_| known) else {
            return InRange::Unknown;
        };
        let lies = range.matches(version);
        match lies {
            _ if self.next().iter().any(|next| range.matches(next) != lies) => InRange::Unknown,
            true => InRange::Yes,
            false => InRange::No,
        }
    }

    /// Whose it is, and the number: `debian 6.1.176` of a release 6.1.0-50.
    pub fn words(&self) -> String {
        let version = self.version.as_ref().map_or_else(String::new, |number| format!(" {number}"));
        format!("{}{version}", self.vendor)
    }

    /// The releases that the commit may lie before.
    fn next(&self) -> Vec<Version> {
        match &self.version {
            Some(Version { major, minor, patch, .. }) if self.between && *patch > 0 => {
                vec![Version::new(*major, *minor, patch.saturating_add(1))]
            }
            Some(Version { major, minor, .. }) if self.between => {
                let next = Version::new(*major, minor.saturating_add(1), 0);
                // 3.19, 4.20, 5.19 and 6.19 were the last of theirs.
                let last = (*minor >= 19).then(|| Version::new(major.saturating_add(1), 0, 0));
                std::iter::once(next).chain(last).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Why a range says nothing of the kernel called `release`.
    pub fn excuse(&self, release: &str) -> String {
        match (self.version.as_ref(), self.vendor) {
            (None, _) => format!("{release} has no number that can be read"),
            (_, UPSTREAM | DEBIAN) => {
                format!("{release} was built from a commit that may do what the next release does")
            }
            (_, OTHER) => format!("the number of {release} is neither upstream's nor Debian's"),
            (_, vendor) => format!(
                "the number of {release} is of {vendor}, whose kernels may carry changes of later versions"
            ),
        }
    }
}

/// The number at the beginning of a release, and what follows.
fn split(release: &str) -> (Option<Version>, &str) {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    let (number, rest) = release.split_at(end);
    // The dot of `5.15.0-1.el9` belongs to what follows; a fourth number is nobody's but a vendor's.
    let mut numbers = number.split('.').map(str::parse::<u64>);
    let (major, minor) = (numbers.next(), numbers.next());
    let patch = numbers.next();
    let version = match (major, minor, &patch, numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => {
            Some(Version::new(major, minor, *patch))
        }
        (Some(Ok(major)), Some(Ok(minor)), None, None) => Some(Version::new(major, minor, 0)),
        _ => None,
    };
    (version, rest)
}

/// Whether what follows the number is as upstream's build writes it; `Some(true)` where it is a commit
/// between releases (scripts/setlocalversion).
fn upstream(rest: &str) -> Option<bool> {
    let mut between = false;
    let mut rest = rest;
    while !rest.is_empty() {
        let (is_commit, left) =
            [candidate, next_tree, commits, commit, plain].iter().find_map(|part| part(rest))?;
        between |= is_commit;
        rest = left;
    }
    Some(between)
}

/// `-rc3`.
fn candidate(rest: &str) -> Option<(bool, &str)> {
    digits(rest.strip_prefix("-rc")?, 1..=3).map(|left| (false, left))
}

/// `-next-20260114`.
fn next_tree(rest: &str) -> Option<(bool, &str)> {
    digits(rest.strip_prefix("-next-")?, 8..=8).map(|left| (true, left))
}

/// `-00123-g0123456789ab`.
fn commits(rest: &str) -> Option<(bool, &str)> {
    digits(rest.strip_prefix('-')?, 1..=6).and_then(commit)
}

/// `-g0123456789ab`.
fn commit(rest: &str) -> Option<(bool, &str)> {
    let hash = rest.strip_prefix("-g")?;
    let end = hash.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hash.len());
    (7..=64).contains(&end).then(|| (true, hash.get(end..).unwrap_or_default()))
}

/// `+` and `-dirty`.
fn plain(rest: &str) -> Option<(bool, &str)> {
    rest.strip_prefix('+').or_else(|| rest.strip_prefix("-dirty")).map(|left| (true, left))
}

/// What follows a number of so many digits.
fn digits(text: &str, many: std::ops::RangeInclusive<usize>) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    many.contains(&end).then(|| text.get(end..).unwrap_or_default())
}

/// The version in `#1 smp preempt_dynamic debian 6.1.192-1 (2026-05-01)`.
fn debian_version(line: &str) -> Option<Version> {
    let (_, rest) = line.split_once("debian ")?;
    let word = rest.split(' ').next()?;
    split(word).0.filter(|_| word.contains('-'))
}

/// Whether `text` holds `mark`, whose `#` stands for a digit.
fn holds(text: &str, mark: &str) -> bool {
    let Some(stem) = mark.strip_suffix('#') else { return text.contains(mark) };
    text.match_indices(stem).any(|(at, _)| {
        text.get(at + stem.len()..)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEBIAN_BUILD: &str = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-10-02)";

    fn range(text: &str) -> VersionReq {
        VersionReq::parse(text).unwrap()
    }

    #[test]
    fn it_is_told_whose_a_number_is() {
        for (release, build, vendor) in [
            ("6.12.0", "#1 SMP", UPSTREAM),
            ("7.0.0-rc3", "#1 SMP", UPSTREAM),
            ("7.0-rc3+", "#1 SMP", UPSTREAM),
            ("6.19.0-rc8-00123-g0123456789ab-dirty", "", UPSTREAM),
            ("6.19.0-next-20260114", "", UPSTREAM),
            ("6.1.0-50-cloud-amd64", DEBIAN_BUILD, DEBIAN),
            ("6.12.107+deb13-cloud-amd64", "#1 SMP Debian 6.12.107-1 (2026-10-02)", DEBIAN),
            ("5.14.0-427.13.1.el9_4.x86_64", "#1 SMP PREEMPT_DYNAMIC", "red-hat"),
            ("6.12.0-55.el10.x86_64", "", "red-hat"),
            ("5.15.0-205.149.5.1.el9uek.x86_64", "", "oracle"),
            ("6.11.4-300.fc41.x86_64", "", "fedora"),
            ("6.1.94-99.176.amzn2023.x86_64", "", "amazon"),
            ("6.1.75-android14-11-g0123456789ab-ab123", "", "android"),
            ("6.4.0-150600.23.7-default", "", "suse"),
            ("6.8.0-31-generic", "#31-Ubuntu SMP PREEMPT_DYNAMIC", "ubuntu"),
            ("6.8.0-1009-aws", "#9-Ubuntu SMP", "ubuntu"),
            ("6.8.4-2-pve", "#1 SMP PREEMPT_DYNAMIC PMX 6.8.4-2", "proxmox"),
            ("6.12.25+rpt-rpi-v8", "#1 SMP PREEMPT Debian 1:6.12.25-1+rpt1", "raspberry-pi"),
            ("5.15.153.1-microsoft-standard-WSL2", "", "microsoft"),
            // Whoever builds a Debian kernel's number without Debian's signature built something else.
            ("6.1.0-50-cloud-amd64", "#1 SMP", OTHER),
            ("6.12.0-mine", "", OTHER),
            ("6.12.0-1.2.3", "", OTHER),
            ("", "", OTHER),
            ("vmlinuz", "", OTHER),
        ] {
            let numbers = Numbers::of(release, &[build], None);
            assert_eq!(numbers.vendor, vendor, "{release} {build}");
        }
    }

    #[test]
    fn a_vendors_number_is_in_no_range_but_one_that_names_it() {
        let rhel = Numbers::of("5.14.0-427.13.1.el9_4.x86_64", &[""], None);
        assert_eq!(rhel.in_range(&range("<6.2"), false), InRange::Unknown);
        assert_eq!(rhel.in_range(&range("<6.2"), true), InRange::Yes);
        assert!(rhel.excuse("5.14.0-427").contains("red-hat"), "{}", rhel.excuse("5.14.0-427"));
        let none = Numbers::of("linux", &[""], None);
        assert_eq!(none.in_range(&range("*"), true), InRange::Unknown);
    }

    #[test]
    fn debians_number_is_the_one_that_it_signs_with() {
        let bookworm = Numbers::of("6.1.0-50-cloud-amd64", &[DEBIAN_BUILD], None);
        assert_eq!(bookworm.in_range(&range(">=6.1.192,<6.2"), false), InRange::Yes);
        assert_eq!(bookworm.in_range(&range("<6.1.100"), false), InRange::No);
        let rc = Numbers::of("7.0-rc6-amd64", &["#1 SMP Debian 7.0~rc6-1~exp1 (2026-03-30)"], None);
        assert_eq!((rc.vendor, rc.in_range(&range(">=7.0"), false)), (DEBIAN, InRange::Yes));
    }

    #[test]
    fn a_tree_that_was_built_by_hand_is_told_by_its_configuration() {
        let of = |release, config| Numbers::of(release, &["#1 SMP"], Some(config)).vendor;
        for (release, config, vendor) in [
            ("5.14.0+", "CONFIG_X=y\nCONFIG_RHEL_DIFFERENCES=y\n", "red-hat"),
            ("5.14.0", "# CONFIG_RHEL_DIFFERENCES is not set\n", UPSTREAM),
            ("6.4.0", "CONFIG_SUSE_KERNEL=y\n", "suse"),
            ("6.12.0-mine", "CONFIG_LOCALVERSION=\"-mine\"\n", UPSTREAM),
            ("6.12.0-rc3-mine-00012-g0123456789ab", "CONFIG_LOCALVERSION=\"-mine\"\n", UPSTREAM),
            ("6.12.0-other", "CONFIG_LOCALVERSION=\"-mine\"\n", OTHER),
            // What a configuration calls its own does not hide a mark.
            ("5.14.0-1.el9", "CONFIG_LOCALVERSION=\"-1.el9\"\n", "red-hat"),
            ("6.12.0", "CONFIG_LOCALVERSION=\"\"\n", UPSTREAM),
        ] {
            assert_eq!(of(release, config), vendor, "{release} {config}");
        }
    }

    #[test]
    fn a_commit_between_releases_is_on_neither_side_of_the_next_one() {
        for (release, of, lies) in [
            ("6.19.0", "<7.0", InRange::Yes),
            ("6.19.0+", "<7.0", InRange::Unknown),
            ("6.19.0-04567-g0123456789ab", ">=7.0", InRange::Unknown),
            // A topic branch grows on a candidate of the release before.
            ("6.19.0-rc2-00012-g0123456789ab", ">=7.0", InRange::Unknown),
            ("6.19.0-rc2", "<7.0", InRange::Yes),
            ("7.0.0-rc1", ">=7.0", InRange::Yes),
            ("7.0.0-rc1+", ">=7.0", InRange::Yes),
            ("6.14.0+", "<7.0", InRange::Yes),
            ("6.12.106+", ">=6.12.107,<6.13", InRange::Unknown),
            ("6.12.107+", ">=6.12.107,<6.13", InRange::Yes),
        ] {
            let numbers = Numbers::of(release, &["#1 SMP"], None);
            assert_eq!(numbers.in_range(&range(of), false), lies, "{release} {of}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_somebodys_number(release in ".{0,60}", build in ".{0,60}", config in ".{0,60}") {
            let numbers = Numbers::of(&release, &[&build], Some(&format!("CONFIG_LOCALVERSION=\"{config}\"")));
            let _ = (numbers.in_range(&range(">=6.1,<7"), false), numbers.excuse(&release));
        }

        #[test]
        fn numbers_of_any_size_are_read(
            major in any::<u64>(), minor in any::<u64>(), patch in any::<u64>(), plus in "[+]?",
        ) {
            let numbers = Numbers::of(&format!("{major}.{minor}.{patch}{plus}"), &[], None);
            prop_assert_eq!(numbers.vendor, UPSTREAM);
            prop_assert!(numbers.in_range(&range(">=0"), false) == InRange::Yes);
        }
    }
}
