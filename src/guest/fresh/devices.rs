//! Block devices that a script put on others, and the partitions that it made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ioctl;
use super::swept::Swept;
use crate::guest::mapper;

/// Where the kernel tells its block devices.
const BLOCK: &str = "/sys/block";

/// A device that goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Device {
    /// A loop device, by its node.
    Loop(PathBuf),
    /// A mapped device, by its name.
    Mapped(String),
    /// An md array, by the file of its state.
    Array(PathBuf),
    /// A partition of the disk under test, by its number.
    Partition(i32),
}

/// Takes them away. What lies on another gives way first, if not in this round then in the next.
pub fn take_apart(disk: &Path, swept: &mut Swept) {
    for device in find(Path::new(BLOCK), disk) {
        swept.add(&words(&device), remove(&device, disk));
    }
}

fn remove(device: &Device, disk: &Path) -> io::Result<()> {
    match device {
        Device::Loop(node) => ioctl::detach_loop(node),
        Device::Mapped(name) => mapper::remove(name).map_err(io::Error::other),
        Device::Array(state) => fs::write(state, "clear"),
        Device::Partition(number) => ioctl::forget_partition(disk, *number),
    }
}

fn words(device: &Device) -> String {
    match device {
        Device::Loop(node) => format!("loop device {}", node.display()),
        Device::Mapped(name) => format!("mapped device {name}"),
        Device::Array(state) => format!("array {}", state.display()),
        Device::Partition(number) => format!("partition {number}"),
    }
}

/// What there is of them below `block`; loops and mapped devices before partitions.
fn find(block: &Path, disk: &Path) -> Vec<Device> {
    let mut found = Vec::new();
    for entry in fs::read_dir(block).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.join("loop/backing_file").exists() {
            found.push(Device::Loop(Path::new("/dev").join(&name)));
        }
        if let Ok(name) = fs::read_to_string(path.join("dm/name")) {
            found.push(Device::Mapped(name.trim().to_owned()));
        }
        let state = path.join("md/array_state");
        if fs::read_to_string(&state).is_ok_and(|state| state.trim() != "clear") {
            found.push(Device::Array(state));
        }
        if disk.file_name() == Some(&name) {
            found.extend(partitions(&path));
        }
    }
    found.sort();
    found
}

fn partitions(disk: &Path) -> Vec<Device> {
    let entries = fs::read_dir(disk).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        fs::read_to_string(entry.path().join("partition")).ok()?.trim().parse().ok()
    };
    entries.filter_map(number).map(Device::Partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_on_something_is_found() {
        let block = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = block.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("loop0/loop/backing_file", "/mnt/file\n");
        put("loop1/size", "0\n");
        put("dm-0/dm/name", "dixtrap\n");
        put("md0/md/array_state", "active\n");
        put("md1/md/array_state", "clear\n");
        put("vda/vda1/partition", "1\n");
        put("vda/queue/stable_writes", "0\n");
        put("vdb/vdb1/partition", "1\n");
        let found = find(block.path(), Path::new("/dev/vda"));
        let array = block.path().join("md0/md/array_state");
        assert_eq!(
            found,
            [
                Device::Loop("/dev/loop0".into()),
                Device::Mapped("dixtrap".into()),
                Device::Array(array),
                Device::Partition(1),
            ]
        );
    }
}
