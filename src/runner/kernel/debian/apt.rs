//! A private apt root with the sources of one suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runner::host::errors::one_line;
use crate::runner::host::tools::{Tool, ToolError};
use crate::runner::kernel::KernelError;

/// What to look for; the cloud kernels are a third of the size and have the drivers we want.
const META_PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-amd64"];

/// The packages that a kernel is split into: a version follows. The list of built-in modules may be
/// in linux-base.
const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

/// How long a fetch may take: 100 MB, over a line of 0.5 Mbit/s.
const FETCH_LIMIT: Duration = Duration::from_secs(1_800);

/// Debian's keys, as the package debian-archive-keyring brings them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Every index has to come, or none counts.
const UPDATE: [&str; 3] = ["-qq", "--error-on=any", "update"];
/// Suites that have neither security updates nor updates between releases.
const ALONE: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];
/// What apt says of a suite that the mirror does not have, and of one that it has lost a part of.
const NOT_SERVED: [&str; 2] = ["does not have a Release file", "404  Not Found"];

/// The root, in a folder of its own.
#[derive(Debug)]
pub struct AptRoot<'a> {
    dir: &'a Path,
    suite: String,
    sources: Sources,
}

/// Where the machine takes Debian from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sources {
    main: String,
    security: Option<String>,
}

impl Sources {
    /// The suite's own source, and those of its security updates and of what comes between releases.
    fn of(&self, suite: &str) -> Vec<(String, String)> {
        let Sources { main, security } = self;
        let mut all = vec![(main.clone(), suite.to_owned())];
        if !ALONE.contains(&suite) && !suite.contains('-') {
            all.push((main.clone(), format!("{suite}-updates")));
            all.extend(security.iter().map(|uri| (uri.clone(), format!("{suite}-security"))));
        }
        all
    }
}

/// A source as sources.list has it.
fn line((uri, suite): &(String, String)) -> String {
    format!("deb [arch=amd64{}] {uri} {suite} main", keys())
}

/// The machine's own sources of a suite, as lines of sources.list.
pub fn source_lines(suite: &str) -> Result<Vec<String>, KernelError> {
    Ok(sources()?.of(suite).iter().map(line).collect())
}

impl<'a> AptRoot<'a> {
    /// Makes the root in `dir`, or makes the one there the root of another suite.
    pub fn new(dir: &'a Path, suite: &str) -> Result<AptRoot<'a>, KernelError> {
        for part in ["state/lists/partial", "cache/archives/partial", "debs"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(KernelError::file(&path))?;
        }
        let root = AptRoot { dir, suite: suite.to_owned(), sources: sources()? };
        let settings = dir.join("apt.conf");
        fs::write(&settings, root.settings()).map_err(KernelError::file(&settings))?;
        Ok(root)
    }

    fn write_sources(&self, list: &[(String, String)]) -> Result<(), KernelError> {
        let path = self.dir.join("sources.list");
        let text: String = list.iter().map(|source| format!("{}\n", line(source))).collect();
        fs::write(&path, text).map_err(KernelError::file(&path))
    }

    fn all_sources(&self) -> Vec<(String, String)> {
        self.sources.of(&self.suite)
    }

    /// apt's settings, in the form of its configuration files.
    fn settings(&self) -> String {
        let path = |name: &str| self.dir.join(name).display().to_string();
        [
            ("Dir::State", path("state").as_str()),
            ("Dir::Cache", &path("cache")),
            ("Dir::Etc::sourcelist", &path("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null"),
            ("Dir::Etc::preferences", "/dev/null"),
            ("Dir::Etc::preferencesparts", "/dev/null"),
            ("Dir::State::status", "/dev/null"),
            ("APT::Architecture", "amd64"),
            ("APT::Architectures", "amd64"),
            // Root's apt would hand the download to a user who cannot write here.
            ("APT::Sandbox::User", "root"),
            ("Acquire::Languages", "none"),
            ("Acquire::Retries", "3"),
            // What some machines fetch for their desktops.
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"),
            ("Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled", "false"),
            ("Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled", "false"),
            ("Acquire::IndexTargets::deb::CNF::DefaultEnabled", "false"),
        ]
        .iter()
        .map(|(name, value)| format!("{name} \"{value}\";\n"))
        .collect()
    }

    /// An apt program that sees this root only, and the machine's proxy.
    fn tool(&self, program: &str) -> Result<Tool, KernelError> {
        let tool = Tool::find(program, "apt")?.arg("-c").arg(self.dir.join("apt.conf"));
        Ok(tool.limit(FETCH_LIMIT))
    }

    fn fetched<T>(&self, result: Result<T, ToolError>) -> Result<T, KernelError> {
        let suite = self.suite.clone();
        result.map_err(|source| match &source {
            ToolError::Failed { stderr, .. } if NOT_SERVED.iter().any(|w| stderr.contains(w)) => {
                KernelError::NotServed { suite, source }
            }
            _ => KernelError::Fetch { suite, source },
        })
    }

    /// Asks the mirror what there is. Without updates the release itself is better than nothing.
    pub fn update(&self, say: &dyn Fn(&str)) -> Result<(), KernelError> {
        let all = self.all_sources();
        self.write_sources(&all)?;
        let update = || self.fetched(self.tool("apt-get")?.args(UPDATE).output()).map(drop);
        let result = update();
        let (Err(error), Some(own), true) = (&result, all.first(), all.len() > 1) else {
            return result;
        };
        self.write_sources(std::slice::from_ref(own))?;
        update()?;
        let reason = one_line(error);
        say(&format!("debian:{} without its updates: {reason}", self.suite));
        Ok(())
    }

    /// The release's own name, as its mirror says it.
    pub fn codename(&self) -> Result<Option<String>, KernelError> {
        let tool =
            self.tool("apt-get")?.args(["indextargets", "--format", "$(RELEASE)|$(CODENAME)"]);
        let listed = self.fetched(tool.arg("Created-By: Packages").text())?;
        let own = |line: &str| Some(line.strip_prefix(&self.suite)?.strip_prefix('|')?.to_owned());
        Ok(listed.lines().find_map(own))
    }

    /// The packages that the newest kernel is made of.
    pub fn parts(&self) -> Result<Vec<String>, KernelError> {
        for meta in META_PACKAGES {
            let mut parts = Vec::new();
            let mut open = vec![meta.to_owned()];
            while let Some(name) = open.pop() {
                let listing = self.tool("apt-cache")?.args(["depends", "-i", &name]);
                // A package that apt does not know ends this line of inquiry.
                let Ok(listing) = listing.text() else { continue };
                let new = |part: &String| !parts.contains(part);
                let next: Vec<String> = parts_in(&listing).into_iter().filter(new).collect();
                parts.extend(next.iter().cloned());
                open.extend(next);
            }
            if !parts.is_empty() {
                return Ok(parts);
            }
        }
        Err(KernelError::NoPackage {
            suite: self.suite.clone(),
            wanted: META_PACKAGES.join(" or "),
        })
    }

    /// The files that these packages are now: each name has its version in it.
    pub fn files(&self, names: &[String]) -> Result<Vec<String>, KernelError> {
        let tool = self.tool("apt-get")?.args(["-qq", "download", "--print-uris"]).args(names);
        let mut files = files_in(&self.fetched(tool.text())?);
        files.sort();
        Ok(files)
    }

    pub fn download(&self, names: &[String]) -> Result<Vec<PathBuf>, KernelError> {
        let dir = self.dir.join("debs");
        let tool = self.tool("apt-get")?.args(["-qq", "download"]).args(names).dir(&dir);
        self.fetched(tool.output())?;
        let entries = fs::read_dir(&dir).map_err(KernelError::file(&dir))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }
}

/// The kernel's parts among the dependencies that `apt-cache depends` lists; virtual ones stand in <>.
fn parts_in(listing: &str) -> Vec<String> {
    let depends = listing.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let part = |name: &&str| {
        let version = PARTS.iter().find_map(|prefix| name.strip_prefix(prefix));
        version.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
    };
    depends.filter(part).map(str::to_owned).collect()
}

/// What `apt-get download --print-uris` lists: 'ADDRESS' FILE SIZE HASH.
fn files_in(listing: &str) -> Vec<String> {
    let file = |line: &str| Some(line.split_whitespace().nth(1)?.to_owned());
    listing.lines().filter(|line| line.starts_with('\'')).filter_map(file).collect()
}

/// The mirrors that the machine's own apt takes Debian from. Before its first update, as in a fresh
/// container, apt lists them only where it need not say more of them.
fn sources() -> Result<Sources, KernelError> {
    let list = |more: &[&str]| {
        let tool = Tool::find("apt-get", "apt")?.arg("indextargets").args(more);
        tool.args(["--format", "$(REPO_URI)|$(LABEL)", "Created-By: Packages"]).text()
    };
    if let Some(known) = sources_in(&list(&[])?) {
        return Ok(known);
    }
    sources_in(&list(&["--no-release-info"])?).ok_or(KernelError::NoMirror)
}

/// Backports and other people's repositories have other labels.
fn sources_in(targets: &str) -> Option<Sources> {
    let find = |label: &str, in_address: fn(&str) -> bool| {
        targets.lines().find_map(|line| {
            let (uri, known) = line.split_once('|')?;
            // Before the first update nothing is known of a source but its address.
            let unknown = known == "$(LABEL)" && in_address(uri);
            (known == label || unknown).then(|| uri.to_owned())
        })
    };
    let main = find("Debian", |uri| uri.contains("/debian") && !uri.contains("security"))?;
    Some(Sources { main, security: find("Debian-Security", |uri| uri.contains("security")) })
}

/// The keys to check the source with, as an option of sources.list; without Debian's keyring apt uses
/// those that it trusts anyway.
fn keys() -> String {
    let keyring = KEYRINGS.iter().find(|path| Path::new(path).is_file());
    keyring.map(|path| format!(" signed-by={path}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debians_own() {
        let targets = "http://a/debian-security/|Debian-Security\n\
                       http://a/debian/|Debian Backports\nhttp://b/debian/|Debian\n";
        let sources = sources_in(targets).unwrap();
        assert_eq!(sources.main, "http://b/debian/");
        assert_eq!(sources.security.as_deref(), Some("http://a/debian-security/"));
        let fresh = "http://a/debian-security/|$(LABEL)\nhttp://b/debian/|$(LABEL)\n";
        assert_eq!(sources_in(fresh), Some(sources));
        assert_eq!(sources_in("http://a/ubuntu/|Ubuntu\n"), None);
        assert_eq!(sources_in("http://b/debian/|Debian\n").unwrap().security, None);
    }

    #[test]
    fn updates_belong_to_a_release_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { main: "m".into(), security: Some("s".into()) };
        let names = |suite: &str| {
            let root = AptRoot { dir: dir.path(), suite: suite.into(), sources: sources.clone() };
            let all = root.all_sources();
            all.iter().map(|(uri, suite)| format!("{uri} {suite}")).collect::<Vec<_>>()
        };
        assert_eq!(names("trixie"), ["m trixie", "m trixie-updates", "s trixie-security"]);
        assert_eq!(names("sid"), ["m sid"]);
        assert_eq!(names("bookworm-backports"), ["m bookworm-backports"]);
    }

    #[test]
    fn files_are_named_with_their_versions() {
        let listing = "'http://m/pool/l/linux-image-6.12_6.12.117-1_amd64.deb' \
                       linux-image-6.12_6.12.117-1_amd64.deb 1508 SHA256:c3\nW: a warning\n";
        assert_eq!(files_in(listing), ["linux-image-6.12_6.12.117-1_amd64.deb"]);
    }

    #[test]
    fn a_split_kernels_parts_are_followed() {
        let listing = "linux-image-7.2-cloud-amd64\n  Depends: linux-binary-7.2-cloud-amd64\n  \
                       Depends: linux-modules-7.2-cloud-amd64\n  Depends: linux-base-cloud-amd64\n  Depends: kmod\n |Depends: linux-initramfs-tool\n";
        let expected = ["linux-binary-7.2-cloud-amd64", "linux-modules-7.2-cloud-amd64"];
        assert_eq!(parts_in(listing), expected);
    }
}
