//! Landlock: no file, no folder, no address and no other process, by the newest rules that the kernel has.
//!
//! The filter of system calls lets no call through that would need any of it; this holds where a
//! filter does not look, in io_uring and behind calls that are allowed.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest rules that were there when this was written; the crate takes those that the kernel has.
const NEWEST: ABI = ABI::V10;

/// What rules came after the first ones, and with which.
const LATER: [(ABI, &str); 6] = [
    (ABI::V3, "truncating by path"),
    (ABI::V4, "TCP"),
    (ABI::V5, "ioctl on devices"),
    (ABI::V6, "abstract sockets, signals"),
    (ABI::V9, "sockets by path"),
    (ABI::V10, "UDP"),
];

/// How much of it the kernel can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Landlock {
    /// All that this program knows of.
    Whole,
    /// Only this version of it, which lacks what these names say.
    Without(ABI, Vec<&'static str>),
    /// It has none, or it is switched off.
    Absent,
}

/// Takes every file, folder and address away from this thread and those that it starts, except for
/// removing files that lie in `folders`, and for connecting to the socket `door`.
pub(super) fn restrict(
    folders: &[std::path::PathBuf],
    door: Option<BorrowedFd<'_>>,
) -> Result<Landlock, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    // A folder that is gone needs no rule.
    for folder in folders.iter().filter_map(|folder| PathFd::new(folder).ok()) {
        rules = rules.add_rule(PathBeneath::new(folder, AccessFs::RemoveFile))?;
    }
    if let Some(door) = door {
        rules = rules.add_rule(PathBeneath::new(door, AccessFs::ResolveUnix))?;
    }
    Ok(Landlock::of(&rules.restrict_self()?))
}

impl Landlock {
    fn of(status: &RestrictionStatus) -> Landlock {
        let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
            return Landlock::Absent;
        };
        let missing: Vec<_> =
            LATER.iter().filter(|(abi, _)| *abi > effective_abi).map(|(_, what)| *what).collect();
        if missing.is_empty() { Landlock::Whole } else { Landlock::Without(effective_abi, missing) }
    }

    /// One line on what is missing, if anything is.
    pub(super) fn in_words(&self) -> Option<String> {
        match self {
            Landlock::Whole => None,
            Landlock::Without(abi, missing) => Some(format!(
                "this kernel's Landlock ({abi:?}) knows nothing of {}",
                missing.join(", ")
            )),
            Landlock::Absent => {
                Some("this kernel has no Landlock (Linux 5.13 and later can)".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::ErrorKind::PermissionDenied;

    /// In a thread of its own: Landlock holds for a thread.
    #[test]
    fn files_and_addresses_are_gone_but_for_what_may_be_removed() {
        let [here, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let file = |folder: &tempfile::TempDir| folder.path().join("file");
        for folder in [&here, &elsewhere] {
            fs::write(file(folder), "precious").unwrap();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let told = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sys::prctl::set_no_new_privs().unwrap();
                let landlock = restrict(&[here.path().to_owned()], None).unwrap();
                if landlock == Landlock::Absent {
                    return landlock;
                }
                let refused = |result: std::io::Result<()>, what: &str| {
                    assert_eq!(
                        result.map_err(|error| error.kind()),
                        Err(PermissionDenied),
                        "{what}"
                    );
                };
                refused(File::open(file(&here)).map(drop), "reading");
                refused(File::create(here.path().join("new")).map(drop), "making");
                refused(fs::read_dir(elsewhere.path()).map(drop), "listing");
                refused(fs::remove_file(file(&elsewhere)), "removing elsewhere");
                refused(fs::rename(file(&here), elsewhere.path().join("moved")), "moving");
                fs::remove_file(file(&here)).unwrap();
                if !landlock.lacks("TCP") {
                    refused(std::net::TcpStream::connect(address).map(drop), "connecting");
                }
                if !landlock.lacks("abstract sockets, signals") {
                    let parent = nix::unistd::getppid();
                    let killed = nix::sys::signal::kill(parent, None);
                    assert_eq!(killed, Err(nix::errno::Errno::EPERM), "signals");
                }
                landlock
            });
            inside.join().unwrap()
        });
        if told == Landlock::Absent {
            eprintln!("skipped: {}", told.in_words().unwrap());
            return;
        }
        assert_eq!(fs::read_to_string(file(&elsewhere)).unwrap(), "precious");
    }

    impl Landlock {
        fn lacks(&self, what: &str) -> bool {
            matches!(self, Landlock::Without(_, missing) if missing.contains(&what))
        }
    }

    #[test]
    fn a_line_says_what_is_missing() {
        assert_eq!(Landlock::Whole.in_words(), None);
        assert!(Landlock::Absent.in_words().unwrap().contains("no Landlock"));
        let old = Landlock::Without(ABI::V7, vec!["sockets by path", "UDP"]);
        assert!(old.in_words().unwrap().ends_with("(V7) knows nothing of sockets by path, UDP"));
    }
}
