//! What a user names as a root.

use std::path::PathBuf;
use std::str::FromStr;

use super::error::RootError;
use crate::runner::kernel::debian::check_suite;

/// Where the software is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSpec {
    /// This machine's own `/`.
    Host,
    /// A folder that is laid out as one.
    Folder(PathBuf),
    /// An image of a disk or file system.
    Image(PathBuf),
    /// A release of Debian with packages.
    Debian {
        /// The suite.
        suite: String,
        /// Packages besides the essential ones, in the order of their names.
        packages: Vec<String>,
    },
}

impl FromStr for RootSpec {
    type Err = RootError;

    fn from_str(text: &str) -> Result<RootSpec, RootError> {
        if text == "host" {
            return Ok(RootSpec::Host);
        }
        if let Some(rest) = text.strip_prefix("debian:") {
            return debian(rest);
        }
        let path = PathBuf::from(text);
        let kind = path.metadata().map_err(|_| RootError::Unknown(text.to_owned()))?;
        if kind.is_dir() {
            let shells = ["bin/sh", "usr/bin/sh"].map(|place| path.join(place));
            // A link to elsewhere is one that only leads somewhere inside.
            let has_shell = shells.iter().any(|shell| shell.symlink_metadata().is_ok());
            return if has_shell {
                Ok(RootSpec::Folder(path))
            } else {
                Err(RootError::NoShell(path))
            };
        }
        if kind.is_file() { Ok(RootSpec::Image(path)) } else { Err(RootError::NotARoot(path)) }
    }
}

/// `SUITE`, or `SUITE+PACKAGE,PACKAGE`.
fn debian(text: &str) -> Result<RootSpec, RootError> {
    let (suite, packages) = text.split_once('+').unwrap_or((text, ""));
    check_suite(suite).map_err(|_| RootError::NotASuite(suite.to_owned()))?;
    let mut packages: Vec<String> =
        packages.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if let Some(wrong) = packages.iter().find(|name| !is_package(name)) {
        return Err(RootError::NotAPackage(wrong.clone()));
    }
    packages.sort();
    packages.dedup();
    Ok(RootSpec::Debian { suite: suite.to_owned(), packages })
}

/// Debian policy §5.6.1, names of packages.
fn is_package(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_wrong_ones_refused_with_the_way_out() {
        let packages = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        for (text, suite, list) in [
            ("debian:trixie", "trixie", packages(&[])),
            ("debian:sid+", "sid", packages(&[])),
            ("debian:trixie+postgresql,fio", "trixie", packages(&["fio", "postgresql"])),
            ("debian:trixie+g++,fio,fio", "trixie", packages(&["fio", "g++"])),
        ] {
            let suite = suite.to_owned();
            let read: RootSpec = text.parse().unwrap();
            assert_eq!(read, RootSpec::Debian { suite, packages: list });
        }
        assert_eq!("host".parse::<RootSpec>().unwrap(), RootSpec::Host);
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().to_str().unwrap();
        for wrong in [
            "debian:",
            "debian:../x",
            "debian:trixie+--help",
            "debian:trixie+a b",
            "/does/not/exist",
            "/dev/null",
            empty,
        ] {
            assert!(wrong.parse::<RootSpec>().is_err(), "{wrong}");
        }
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("dash", folder.path().join("bin/sh")).unwrap();
        assert!(matches!(empty.parse(), Ok(RootSpec::Folder(_))));
    }
}
