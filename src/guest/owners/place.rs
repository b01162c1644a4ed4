//! Where a file system lies: which block device holds it, and where on the disk that device begins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Sysfs counts in these, whatever the disk's logical blocks are.
pub const SECTOR: u64 = 512;

/// The block device that is mounted on `directory`.
pub fn device_of(directory: &Path) -> io::Result<Option<PathBuf>> {
    let directory = directory.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(source_of(&table, &directory.to_string_lossy()).map(PathBuf::from))
}

/// The last mount on a directory covers those before it. Columns: id, parent, device, root, place,
/// options, optional fields, `-`, type, source.
fn source_of(table: &str, directory: &str) -> Option<String> {
    let source = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let here = mount.split(' ').nth(4)? == directory;
        here.then(|| filesystem.split(' ').nth(1).map(str::to_owned))?
    };
    table.lines().filter_map(source).next_back()
}

/// Whether the device is in use as swap space.
pub fn is_swap(device: &Path) -> bool {
    let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().next() == device.to_str())
}

/// Where `device` begins on `disk`, in bytes: the disk itself, a partition of it, or a mirror that
/// it is a leg of. `None` where that cannot be told.
pub fn offset_on(disk: &Path, device: &Path) -> Option<u64> {
    let (disk, device) = (sysfs(disk)?, sysfs(device)?);
    if disk == device {
        return Some(0);
    }
    if device.parent() == Some(&disk) {
        return sectors(&device.join("start"));
    }
    let leg = format!("dev-{}", disk.file_name()?.to_str()?);
    sectors(&device.join("md").join(leg).join("offset"))
}

/// The disk's logical unit, where it is one of a SCSI target: its device is called HOST:CHANNEL:TARGET:LUN.
pub fn lun(disk: &Path) -> Option<u16> {
    let device = sysfs(disk)?.join("device").canonicalize().ok()?;
    lun_in(device.file_name()?.to_str()?)
}

fn lun_in(device: &str) -> Option<u16> {
    let numbers: Vec<u16> = device.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, lun] = numbers[..] else { return None };
    Some(lun)
}

fn sysfs(device: &Path) -> Option<PathBuf> {
    let device = device.canonicalize().ok()?;
    Path::new("/sys/class/block").join(device.file_name()?).canonicalize().ok()
}

fn sectors(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()?.checked_mul(SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scsi_disk_has_a_unit_and_no_other_has() {
        assert_eq!((lun_in("2:0:0:1"), lun_in("0:0:1:16")), (Some(1), Some(16)));
        for other in ["virtio2", "0:0:0", "0:0:0:0:0", "0:0:0:x", ""] {
            assert_eq!(lun_in(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_mount_counts() {
        let table = "21 1 0:20 / /proc rw - proc proc rw\n\
                     30 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     31 1 254:1 / /mnt rw - xfs /dev/vda1 rw\n\
                     32 1 254:2 / /mnt/x rw - xfs /dev/vda2 rw\n";
        assert_eq!(source_of(table, "/mnt").as_deref(), Some("/dev/vda1"));
        assert_eq!(source_of(table, "/none"), None);
    }
}
