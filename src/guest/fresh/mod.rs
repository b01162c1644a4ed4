//! Puts a guest back to the state in which its first program found it, so that nothing leaks from one
//! cell to the next: mounts, swap, loop, mapped and mirrored devices, partitions, knobs, files, and
//! what the caches hold. What cannot be put back is told, such as control groups that processes are in.
//!
//! Only for a guest of which we are the whole user space: in anybody else's these things are his.

mod devices;
mod files;
mod inherited;
mod ioctl;
mod knobs;
mod mounts;
mod places;
mod swept;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::unistd::sync;

use files::Files;
use inherited::Inherited;
use knobs::Knobs;
use places::Places;

pub use swept::Swept;

/// How often what is still in use is tried again: who has just ended may take a moment to let go.
const ROUNDS: u32 = 20;
/// How long to wait for that.
const PAUSE: Duration = Duration::from_millis(250);

/// What the guest was like.
#[derive(Debug)]
pub struct Baseline {
    disk: PathBuf,
    mounts: Vec<u64>,
    knobs: Knobs,
    places: Places,
    files: Files,
    inherited: Inherited,
}

impl Baseline {
    /// Looks at the guest, whose disk under test is `disk`.
    pub fn of(disk: &Path) -> Baseline {
        Baseline {
            disk: disk.to_owned(),
            mounts: mounts::all().iter().map(|mount| mount.id).collect(),
            knobs: Knobs::read(disk),
            places: Places::read(),
            files: Files::read(Path::new("/")),
            inherited: Inherited::read(Path::new("/")),
        }
    }

    /// Makes the guest like that again.
    pub fn restore(&self) -> Swept {
        let mut swept = self.take_apart();
        // A file system that is still there must not lose its files.
        if swept.left.is_empty() {
            self.places.restore();
            self.files.restore(&mut swept);
        }
        self.drop_caches();
        self.knobs.restore(&mut swept);
        self.inherited.compare(&mut swept);
        swept
    }

    /// Takes away what lies on what, from the top down, until nothing is left or nothing gives way.
    fn take_apart(&self) -> Swept {
        let mut swept = Swept::default();
        for _ in 0..ROUNDS {
            let mut round = Swept::default();
            mounts::swap_off(&mut round);
            mounts::unmount_but(&self.mounts, &mut round);
            devices::take_apart(&self.disk, &mut round);
            let nothing_left = round.left.is_empty();
            swept.undone.append(&mut round.undone);
            swept.left = round.left;
            if nothing_left {
                break;
            }
            thread::sleep(PAUSE);
        }
        swept
    }

    /// What one cell wrote must reach the disk before the next one begins, and what it read must not
    /// be read again from memory.
    fn drop_caches(&self) {
        sync();
        // Neither is worth more than a try: a kernel without them keeps its caches.
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
        let _ = ioctl::flush_buffers(&self.disk);
    }
}

/// Whether PID 1 is this very program.
pub fn is_ours() -> bool {
    let program = |process: &str| fs::read_link(format!("/proc/{process}/exe"));
    matches!((program("1"), program("self")), (Ok(init), Ok(ours)) if init == ours)
}

/// Why the kernel can no longer be trusted: the bits of `/proc/sys/kernel/tainted`
/// (Documentation/admin-guide/tainted-kernels.rst).
pub fn taint() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_of_somebody_else_is_not_ours() {
        assert!(!is_ours());
    }
}
