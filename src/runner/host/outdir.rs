//! The directory of `--out`: one run's alone, a directory of its own for each boot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The file that a running run holds a lock on; it stays, and says what is to come.
const LOCK: &str = ".lock";
/// What the directory of a boot is called, before its number.
const BOOT: &str = "boot-";
/// The verdict of a run.
pub const VERDICT: &str = "verdict.json";
/// What the lock's file says where a run will leave its verdict.
const PROMISE: &str = "verdict.json is written when the run ends\n";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// Another run is at work in it.
    #[error("another run writes to {}: wait for its end, or name another --out", .0.display())]
    Busy(PathBuf),
    /// An earlier run's files: two runs' boots under one verdict would be evidence for neither.
    #[error(
        "{} holds {found} of an earlier run, and two runs' boots are no evidence for one verdict: \
         name another --out, or delete that one ('dixtrap report' still reads it)", path.display()
    )]
    Used {
        /// The directory.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The system will not have it.
    #[error("cannot write to {}", .0.display())]
    Unusable(PathBuf, #[source] io::Error),
}

/// The right to write to a directory; it ends with this value, or with the process.
#[derive(Debug)]
pub struct OutDir {
    path: PathBuf,
    lock: Flock<File>,
}

impl OutDir {
    /// Makes the directory if it is missing, and takes it. Two runs in one directory, be it one
    /// after the other, would mix their boots and overwrite each other's verdict.
    ///
    /// # Errors
    /// When another run has it or left its files there, or it cannot be written to.
    pub fn take(path: &Path) -> Result<OutDir, OutError> {
        let unusable = |error| OutError::Unusable(path.to_owned(), error);
        fs::create_dir_all(path).map_err(unusable)?;
        let mut how = OpenOptions::new();
        // Not emptied before it is ours: another run may have its promise in it. A link of that name,
        // left in a folder of everybody's, would have its target emptied.
        how.write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
        let file = how.open(path.join(LOCK)).map_err(unusable)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(OutError::Busy(path.to_owned())),
            Err((_, errno)) => return Err(unusable(errno.into())),
        };
        match left_by_a_run(path).map_err(unusable)? {
            Some(found) => Err(OutError::Used { path: path.to_owned(), found }),
            None => {
                lock.set_len(0).map_err(unusable)?;
                Ok(OutDir { path: path.to_owned(), lock })
            }
        }
    }

    /// Notes that a verdict is to come, so that a run that was killed cannot pass for a folder of mere
    /// records.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn promise_verdict(&self) -> Result<(), OutError> {
        let written = (&*self.lock).write_all(PROMISE.as_bytes());
        written.map_err(|error| OutError::Unusable(self.path.clone(), error))
    }
}

/// The run that took `path` promised a verdict, and has left none: it is not at its end, or never
/// came to one.
pub fn lacks_its_verdict(path: &Path) -> bool {
    !path.join(VERDICT).exists()
        && fs::read(path.join(LOCK)).is_ok_and(|it| it == PROMISE.as_bytes())
}

/// The name of something that an earlier run left in `path`.
fn left_by_a_run(path: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let boot = name.strip_prefix(BOOT).is_some_and(|number| number.parse::<u32>().is_ok());
        if boot || name == VERDICT {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes the first of `boot-1`, `boot-2`, … that is not there yet.
///
/// # Errors
/// The system's.
pub fn make_boot_directory(out: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(out)?;
    // The guest and QEMU work there; they need a path that holds wherever they stand.
    let out = out.canonicalize()?;
    let mut number = 1_u32;
    loop {
        let directory = out.join(format!("{BOOT}{number}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_do_not_meet() {
        let out = tempfile::tempdir().unwrap();
        let first = make_boot_directory(out.path()).unwrap();
        let second = make_boot_directory(out.path()).unwrap();
        assert!(first.ends_with("boot-1") && second.ends_with("boot-2"));
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make_boot_directory(&file).is_err());
    }

    #[test]
    fn a_lock_that_is_a_link_empties_nothing() {
        let out = tempfile::tempdir().unwrap();
        let canary = out.path().join("canary");
        fs::write(&canary, "alive").unwrap();
        let folder = out.path().join("folder");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&canary, folder.join(LOCK)).unwrap();
        assert!(matches!(OutDir::take(&folder), Err(OutError::Unusable(..))));
        assert_eq!(fs::read(&canary).unwrap(), b"alive");
    }

    #[test]
    fn what_an_earlier_run_left_is_not_added_to() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("notes"), "").unwrap();
        fs::create_dir(out.path().join("boot-loader")).unwrap();
        drop(OutDir::take(out.path()).unwrap());
        make_boot_directory(out.path()).unwrap();
        let said = OutDir::take(out.path()).unwrap_err().to_string();
        assert!(said.contains("holds boot-1 of an earlier run"), "{said}");
        fs::remove_dir(out.path().join("boot-1")).unwrap();
        fs::write(out.path().join(VERDICT), "").unwrap();
        let said = OutDir::take(out.path()).unwrap_err().to_string();
        assert!(said.contains(VERDICT) && said.contains("name another --out"), "{said}");
    }

    #[test]
    fn a_promised_verdict_is_missed() {
        let out = tempfile::tempdir().unwrap();
        let taken = OutDir::take(out.path()).unwrap();
        assert!(!lacks_its_verdict(out.path()));
        taken.promise_verdict().unwrap();
        assert!(matches!(OutDir::take(out.path()), Err(OutError::Busy(_))));
        assert!(lacks_its_verdict(out.path()));
        fs::write(out.path().join(VERDICT), "").unwrap();
        assert!(!lacks_its_verdict(out.path()));
    }

    #[test]
    fn the_second_run_is_sent_away_until_the_first_ends() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("new/folder");
        let first = OutDir::take(&path).unwrap();
        assert!(matches!(OutDir::take(&path), Err(OutError::Busy(_))));
        drop(first);
        OutDir::take(&path).unwrap();
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(OutDir::take(&file), Err(OutError::Unusable(..))));
    }
}
