//! What of the host goes into a guest besides what every guest has.

use std::path::PathBuf;

/// Where programs land in the guest; first in its PATH, ahead of busybox's applets.
pub const PROGRAMS: &str = "/usr/local/bin";

/// Programs of the host, and what they need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Files; of programs their shared libraries come too.
    pub files: Vec<HostFile>,
    /// Links.
    pub links: Vec<Link>,
    /// Libraries of interpreters.
    pub libraries: Vec<Library>,
}

impl Carried {
    /// Programs of the host that need nothing but their shared libraries, under their own names.
    pub fn programs(paths: impl IntoIterator<Item = PathBuf>) -> Carried {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let file = |host: PathBuf| {
            let place = format!("{PROGRAMS}/{}", name(&host)?);
            Some(HostFile { host, place })
        };
        Carried { files: paths.into_iter().filter_map(file).collect(), ..Carried::default() }
    }

    /// Adds `more`.
    pub fn add(&mut self, more: Carried) {
        self.files.extend(more.files);
        self.links.extend(more.links);
        for library in more.libraries {
            if !self.libraries.contains(&library) {
                self.libraries.push(library);
            }
        }
    }
}

/// A file of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    /// Where it lies on the host.
    pub host: PathBuf,
    /// Where it lies in the guest.
    pub place: String,
}

/// A symbolic link in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it lies.
    pub place: String,
    /// What it leads to.
    pub target: String,
}

/// A folder of the host that is at the same place in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The folder.
    pub root: PathBuf,
    /// Names that are left out, files and folders; a `*` stands for anything.
    pub leaves_out: &'static [&'static str],
}
