//! What is mounted and what is swapped on.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::mount::{MntFlags, umount2};

use super::ioctl;
use super::swept::Swept;

/// A mount, as a line of `/proc/self/mountinfo` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number of it.
    pub id: u64,
    /// Where.
    pub point: PathBuf,
}

/// Every mount, in the order in which they were made.
pub fn all() -> Vec<Mount> {
    parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// Unmounts everything but the mounts that are numbered in `stay`, the last first.
pub fn unmount_but(stay: &[u64], swept: &mut Swept) {
    for Mount { id, point } in all().into_iter().rev() {
        if !stay.contains(&id) {
            let result = umount2(&point, MntFlags::UMOUNT_NOFOLLOW).map_err(Into::into);
            swept.add(&format!("mount {}", point.display()), result);
        }
    }
}

/// Ends all swapping: the guest begins without.
pub fn swap_off(swept: &mut Swept) {
    for device in swaps(&fs::read("/proc/swaps").unwrap_or_default()) {
        swept.add(&format!("swap {}", device.display()), ioctl::swap_off(&device));
    }
}

/// The columns of proc(5)'s mountinfo: id, parent, device, root, mount point.
fn parse(table: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut columns = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(columns.next()?).ok()?.parse().ok()?;
        Some(Mount { id, point: unescaped(columns.nth(3)?) })
    };
    table.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// The first column of proc(5)'s swaps, below a heading.
fn swaps(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    let device = |line: &[u8]| line.split(|b| *b == b' ' || *b == b'\t').next().map(unescaped);
    lines.filter_map(device).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// The kernel writes blanks, line feeds and backslashes in paths as octal numbers: `\040`.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let number = digits.and_then(|d| std::str::from_utf8(d).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let table = b"21 1 0:20 / /proc rw - proc proc rw\n\
                      30 21 254:0 / /mnt/a\\040b rw,relatime shared:1 - ext4 /dev/vda rw\n";
        let told: Vec<(u64, PathBuf)> = parse(table).into_iter().map(|m| (m.id, m.point)).collect();
        assert_eq!(told, [(21, "/proc".into()), (30, "/mnt/a b".into())]);
        let table =
            b"Filename\tType\tSize\tUsed\tPriority\n/dev/vda                partition\t1\t0\t-2\n";
        assert_eq!(swaps(table), [PathBuf::from("/dev/vda")]);
        assert!(swaps(b"").is_empty() && parse(b"\n\nx y\n").is_empty());
        assert!(all().iter().any(|mount| mount.point.to_str() == Some("/proc")));
    }

    proptest! {
        #[test]
        fn any_path_survives_the_kernels_escapes(path in "[ -~\n\t]{1,40}") {
            let escaped: String = path.bytes().map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}"),
                other => char::from(other).to_string(),
            }).collect();
            prop_assert_eq!(unescaped(escaped.as_bytes()), PathBuf::from(path));
        }
    }
}
