//! What direct I/O needs: a folder on a real file system, and devices.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// A folder on a file system that does direct I/O; none where there is only tmpfs.
pub fn folder() -> Option<Arc<TempDir>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kind = nix::sys::statfs::statfs(folder.path()).unwrap().filesystem_type();
    if kind == nix::sys::statfs::TMPFS_MAGIC {
        eprintln!("skipped: the target directory is on tmpfs, which does no direct I/O");
        return None;
    }
    Some(Arc::new(folder))
}

/// A loop device over a file, gone with the value.
pub struct Loop {
    pub device: String,
}

impl Loop {
    /// One over `file`, with more arguments for losetup; none where that is not allowed.
    pub fn over(file: &Path, more: &[&str]) -> Option<Loop> {
        let losetup =
            Command::new("losetup").args(["--find", "--show"]).args(more).arg(file).output();
        match losetup {
            Ok(output) if output.status.success() => {
                let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                Some(Loop { device })
            }
            _ => {
                eprintln!("skipped: no loop device can be made here");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// A file with nothing in it.
pub fn sparse(path: &Path, bytes: u64) {
    std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
}

/// A file system that is mounted until this is dropped.
pub struct Mount {
    at: TempDir,
}

impl Mount {
    /// Mounts it with these arguments to mount, the place excepted; none where that is not allowed.
    pub fn with(args: &[&str]) -> Option<Mount> {
        let at = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(args).arg(at.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: mounting is not allowed here");
            return None;
        }
        Some(Mount { at })
    }

    pub fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.at.path()).status();
    }
}
