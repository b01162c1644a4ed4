//! A root of Debian packages, made once and kept beside the kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RootError;
use super::pack;
use crate::runner::host::digest::hex;
use crate::runner::host::tools::Tool;
use crate::runner::kernel::KernelError;
use crate::runner::kernel::cache::{self, CacheEntry};
use crate::runner::kernel::debian::source_lines;

/// How long it may take: some hundred packages over a slow line.
const LIMIT: Duration = Duration::from_secs(3_600);
/// The image in its entry of the cache.
const IMAGE: &str = "root.squashfs";

/// The root, in use as long as this lives.
#[derive(Debug)]
pub(super) struct DebianRoot {
    entry: CacheEntry,
}

impl DebianRoot {
    pub(super) fn image(&self) -> PathBuf {
        self.entry.path.join(IMAGE)
    }
}

/// From the cache, or made into it. Packages are fetched from the machine's own mirror.
pub(super) fn locate(
    suite: &str,
    packages: &[String],
    say: &dyn Fn(&str),
) -> Result<DebianRoot, RootError> {
    let cache = cache::roots()?;
    let entry = cache::entry(&cache, &entry_name(suite, packages), |dir| {
        say(&format!("making a root of debian:{suite} with {} packages", packages.len()));
        make(suite, packages, dir)
    });
    let entry = entry.map_err(|source| match source {
        KernelError::Tool(_) => {
            let packages = packages.join(", ");
            RootError::Packages { suite: suite.to_owned(), packages, source: Box::new(source) }
        }
        other => other.into(),
    })?;
    Ok(DebianRoot { entry })
}

fn make(suite: &str, packages: &[String], dir: &Path) -> Result<(), KernelError> {
    let tar = dir.join("root.tar");
    let tool = Tool::find("mmdebstrap", "mmdebstrap")?.limit(LIMIT);
    let mut tool = tool.args(["--variant=apt", "--quiet", "--format=tar"]);
    if !packages.is_empty() {
        tool = tool.arg(format!("--include={}", packages.join(",")));
    }
    tool.arg(suite).arg(&tar).args(source_lines(suite)?).output()?;
    pack::archive(&tar, &dir.join(IMAGE))?;
    fs::remove_file(&tar).map_err(KernelError::file(&tar))
}

/// A name for the cache: a list of packages may be longer than a file's name.
fn entry_name(suite: &str, packages: &[String]) -> String {
    if packages.is_empty() {
        return format!("debian-{suite}");
    }
    let digest = <sha2::Sha256 as sha2::Digest>::digest(packages.join(",").as_bytes());
    let short = hex(digest.get(..8).unwrap_or_default());
    let first: String =
        packages.first().into_iter().flat_map(|name| name.chars().take(40)).collect();
    format!("debian-{suite}-{first}-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_list_has_another_entry_and_every_name_fits() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one = entry_name("trixie", &names(&["fio"]));
        let two = entry_name("trixie", &names(&["fio", "git"]));
        assert!(one.starts_with("debian-trixie-fio-") && one != two, "{one} {two}");
        let long = entry_name("trixie", &vec!["x".repeat(90); 99]);
        assert!(long.len() < 100, "{long}");
    }
}
