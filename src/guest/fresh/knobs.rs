//! The settings of the disk's queue and of the kernel's memory management: files that are read once and
//! written back where they changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::swept::Swept;

/// Where the kernel tells its block devices.
const BLOCK: &str = "/sys/class/block";
/// The folders of a disk that hold settings.
const OF_DISK: [&str; 3] = ["queue", "integrity", "bdi"];
/// The kernel's own settings that bear on writing.
const OF_KERNEL: [&str; 3] = ["/proc/sys/vm", "/proc/sys/fs", "/proc/sys/kernel"];
/// Files that do something when written, or change by themselves.
const LEFT_ALONE: [&str; 10] = [
    // Of a disk's share of dirty memory: from 6.2 on derived from the memory that is free.
    "min_bytes",
    "max_bytes",
    "drop_caches",
    "compact_memory",
    "stat_refresh",
    "tainted",
    "ns_last_pid",
    "perf_event_max_sample_rate",
    "perf_cpu_time_max_percent",
    "hotplug",
];
/// The longest setting.
const LONGEST: usize = 4096;
/// How often all are written back: of some pairs one resets the other.
const ROUNDS: u32 = 3;

/// Settings as they were.
#[derive(Debug, Default)]
pub struct Knobs(BTreeMap<PathBuf, String>);

impl Knobs {
    /// Reads those of `disk` and of the kernel.
    pub fn read(disk: &Path) -> Knobs {
        let disk = Path::new(BLOCK).join(disk.file_name().unwrap_or_default());
        let folders = OF_DISK.iter().map(|name| disk.join(name));
        Knobs::in_folders(folders.chain(OF_KERNEL.iter().map(PathBuf::from)))
    }

    fn in_folders(folders: impl Iterator<Item = PathBuf>) -> Knobs {
        let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let paths = entries.map(|entry| entry.path()).filter(|path| is_knob(path));
        Knobs(paths.filter_map(|path| Some((path.clone(), setting(&path)?))).collect())
    }

    /// Writes back what has changed.
    pub fn restore(&self, swept: &mut Swept) {
        let changed = self.changed();
        let mut results = BTreeMap::new();
        for _ in 0..ROUNDS {
            for path in self.changed() {
                let was = self.0.get(path).map_or("", |text| chosen(text));
                results.insert(path, fs::write(path, was));
            }
        }
        let stuck = self.changed();
        for path in changed {
            let refused = results.remove(path).and_then(Result::err);
            let result = match stuck.contains(&path) {
                true => Err(refused.unwrap_or_else(|| io::Error::other("it keeps its new value"))),
                false => Ok(()),
            };
            // What the kernel derives by itself keeps no value, and costs no guest.
            if result.is_ok() || !may_be_derived(path) {
                swept.add(&format!("setting {}", path.display()), result);
            }
        }
    }

    fn changed(&self) -> Vec<&Path> {
        let differs =
            |(path, was): &(&PathBuf, &String)| setting(path).is_some_and(|is| is != **was);
        self.0.iter().filter(differs).map(|(path, _)| path.as_path()).collect()
    }
}

fn is_knob(path: &Path) -> bool {
    let left_alone = |name: &std::ffi::OsStr| LEFT_ALONE.iter().any(|known| name == *known);
    let both_ways = |mode: u32| mode & 0o600 == 0o600;
    !path.file_name().is_none_or(left_alone)
        && path.metadata().is_ok_and(|m| m.is_file() && both_ways(m.permissions().mode()))
}

/// Shares of dirty memory, some of which follow the memory that is free.
fn may_be_derived(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "bdi")
}

fn setting(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    (text.len() <= LONGEST).then_some(text)
}

/// What has to be written to get this setting: of a choice, which is shown as `[this] that`, what was
/// chosen.
fn chosen(text: &str) -> &str {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(chosen, _)| chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_put_back_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("stable_writes", "0\n"), ("nr_requests", "128\n"), ("tainted", "0\n")]
        {
            fs::write(at(name), text).unwrap();
        }
        fs::write(at("hw_sector_size"), "512\n").unwrap();
        fs::set_permissions(at("hw_sector_size"), fs::Permissions::from_mode(0o444)).unwrap();
        let knobs = Knobs::in_folders([folder.path().to_owned()].into_iter());
        assert_eq!(knobs.0.len(), 2, "{knobs:?}");
        let before = at("nr_requests").metadata().unwrap().modified().unwrap();
        fs::write(at("stable_writes"), "1\n").unwrap();
        fs::write(at("tainted"), "512\n").unwrap();
        let mut swept = Swept::default();
        knobs.restore(&mut swept);
        assert_eq!(fs::read_to_string(at("stable_writes")).unwrap(), "0\n");
        assert_eq!(fs::read_to_string(at("tainted")).unwrap(), "512\n");
        assert_eq!(at("nr_requests").metadata().unwrap().modified().unwrap(), before);
        assert!(swept.undone.len() == 1 && swept.left.is_empty(), "{swept:?}");
    }

    #[test]
    fn only_shares_of_dirty_memory_cost_no_guest() {
        assert!(may_be_derived(Path::new("/sys/class/block/vda/bdi/max_ratio")));
        for other in ["/sys/class/block/vda/queue/stable_writes", "/proc/sys/vm/dirty_ratio", "bdi"]
        {
            assert!(!may_be_derived(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn of_a_choice_the_chosen_is_written() {
        assert_eq!(chosen("none [mq-deadline] kyber\n"), "mq-deadline");
        assert_eq!(chosen("write back\n"), "write back\n");
    }
}
