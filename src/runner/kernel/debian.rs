//! Debian's kernels, fetched through an apt root of our own: no root needed, the machine's packages
//! untouched, its mirror and its keys used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Kernel, KernelError, KernelSpec, cache, folder, package};
use crate::runner::beneath::Root;
use crate::runner::tools::{Tool, ToolError};

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

/// A suite's name goes into file names and into apt's sources: nothing but plain words.
pub fn check_suite(suite: &str) -> Result<KernelSpec, KernelError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if suite.is_empty() || suite.starts_with('-') || !suite.chars().all(plain) {
        return Err(KernelError::BadSuite(suite.to_owned()));
    }
    Ok(KernelSpec::Debian(suite.to_owned()))
}

/// The kernel of `suite`: from the cache, or fetched into it.
pub fn locate(suite: &str, say: &dyn Fn(&str)) -> Result<Kernel, KernelError> {
    let root = cache::entry(&cache::kernels()?, &format!("debian-{suite}"), |dir| {
        say(&format!("fetching the kernel of debian:{suite}"));
        let work = tempfile::tempdir_in(dir).map_err(KernelError::file(dir))?;
        let apt = AptRoot::new(work.path(), suite)?;
        apt.update()?;
        let names = apt.parts()?;
        say(&format!("fetching {}", names.join(", ")));
        let debs = apt.download(&names)?;
        say("unpacking");
        package::unpack(&debs, &Root::open(dir)?)
    })?;
    folder::open(&Root::open(&root)?, &format!("debian:{suite}"))
}

/// A private apt root with one source.
struct AptRoot<'a> {
    dir: &'a Path,
    suite: &'a str,
}

impl<'a> AptRoot<'a> {
    fn new(dir: &'a Path, suite: &'a str) -> Result<AptRoot<'a>, KernelError> {
        for part in ["state/lists/partial", "cache/archives/partial", "debs"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(KernelError::file(&path))?;
        }
        let source = format!("deb [arch=amd64{}] {} {suite} main\n", keys(), mirror()?);
        let list = dir.join("sources.list");
        fs::write(&list, source).map_err(KernelError::file(&list))?;
        let (root, settings) = (AptRoot { dir, suite }, dir.join("apt.conf"));
        fs::write(&settings, root.settings()).map_err(KernelError::file(&settings))?;
        Ok(root)
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
        result.map_err(|source| KernelError::Fetch { suite: self.suite.to_owned(), source })
    }

    fn update(&self) -> Result<(), KernelError> {
        self.fetched(self.tool("apt-get")?.args(["-qq", "--error-on=any", "update"]).output())?;
        Ok(())
    }

    /// The packages that the newest kernel is made of.
    fn parts(&self) -> Result<Vec<String>, KernelError> {
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
            suite: self.suite.to_owned(),
            wanted: META_PACKAGES.join(" or "),
        })
    }

    fn download(&self, names: &[String]) -> Result<Vec<PathBuf>, KernelError> {
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

/// The mirror that the machine's own apt takes Debian from.
fn mirror() -> Result<String, KernelError> {
    let tool =
        Tool::find("apt-get", "apt")?.args(["indextargets", "--format", "$(REPO_URI)|$(LABEL)"]);
    mirror_in(&tool.arg("Created-By: Packages").text()?).ok_or(KernelError::NoMirror)
}

/// Backports, security updates and other people's repositories have other labels.
fn mirror_in(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (uri, label) = line.split_once('|')?;
        // Before the first update nothing is known of a source but its address.
        let unknown = label == "$(LABEL)" && uri.contains("/debian") && !uri.contains("security");
        (label == "Debian" || unknown).then(|| uri.to_owned())
    })
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
    fn suites_are_plain_words() {
        assert!(check_suite("bookworm-backports").is_ok());
        for bad in ["", "-o", "../x", "sid main", "Sid"] {
            assert!(matches!(check_suite(bad), Err(KernelError::BadSuite(_))), "{bad}");
        }
    }

    #[test]
    fn the_mirror_is_debians_own() {
        let targets = "http://a/debian-security/|Debian-Security\n\
                       http://a/debian/|Debian Backports\nhttp://b/debian/|Debian\n";
        assert_eq!(mirror_in(targets).as_deref(), Some("http://b/debian/"));
        let fresh = "http://a/debian-security/|$(LABEL)\nhttp://b/debian/|$(LABEL)\n";
        assert_eq!(mirror_in(fresh).as_deref(), Some("http://b/debian/"));
        assert_eq!(mirror_in("http://a/ubuntu/|Ubuntu\n"), None);
    }

    #[test]
    fn a_split_kernels_parts_are_followed() {
        let listing = "linux-image-7.2-cloud-amd64\n  Depends: linux-binary-7.2-cloud-amd64\n  \
                       Depends: linux-modules-7.2-cloud-amd64\n  Depends: linux-base-cloud-amd64\n  Depends: kmod\n |Depends: linux-initramfs-tool\n";
        let expected = ["linux-binary-7.2-cloud-amd64", "linux-modules-7.2-cloud-amd64"];
        assert_eq!(parts_in(listing), expected);
    }
}
