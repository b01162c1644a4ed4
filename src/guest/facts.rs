//! What a verdict on this guest depends on, looked up where the kernel tells it: a version does not say
//! what a kernel does. One JSON line.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// The most features of a file system that are told; today's have about twenty.
const MOST_FEATURES: usize = 256;
/// The longest text of one file that is told.
const LONGEST: usize = 256;
/// The file systems whose drivers list in sysfs what they can mount.
const LISTED: [&str; 3] = ["ext4", "btrfs", "f2fs"];

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk, as /dev/vda
    disk: PathBuf,
    /// Also find out what the queue's stable_writes takes: it is written, read and put back
    #[arg(long)]
    try_knob: bool,
}

/// What the guest is and can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`, where distributions write their own version.
    pub build: String,
    /// `/proc/version_signature`, which Ubuntu's kernels have.
    #[serde(default)]
    pub signature: Option<String>,
    /// The ID of `/etc/os-release`: whose user space this is.
    #[serde(default)]
    pub os: Option<String>,
    /// Bytes of a page.
    pub page_size: u64,
    /// The disk; `None` where sysfs has no such disk.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// What the loaded drivers of file systems say they can mount, by driver.
    #[serde(default)]
    pub features: BTreeMap<String, Vec<String>>,
}

/// What the kernel made of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes of a logical block.
    pub block_size: Option<u64>,
    /// `None` without CONFIG_BLK_DEV_INTEGRITY.
    #[serde(default)]
    pub integrity: Option<Integrity>,
    /// The queue's stable_writes; `None` where it has none (before Linux 5.10).
    #[serde(default)]
    pub stable_writes: Option<Knob>,
}

/// The disk's `integrity` directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// As `T10-DIF-TYPE1-CRC`; `none` where nothing is registered.
    pub format: String,
    /// The kernel makes protection information for writes.
    pub write_generate: bool,
    /// The kernel verifies that of reads.
    pub read_verify: bool,
    /// Bytes of a protection interval, where it is told.
    pub interval: Option<u64>,
}

impl Integrity {
    /// The kernel registered a format with a checksum, and makes it itself.
    pub fn is_made(&self) -> bool {
        self.format.contains("-DIF-") && self.write_generate
    }
}

/// The queue's `stable_writes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knob {
    /// What it read before anybody wrote to it: the device asks for stable pages.
    pub at_start: bool,
    /// It takes both settings; `None` where that was not tried.
    pub settable: Option<bool>,
}

/// Looks, and tells it as one line.
///
/// # Errors
/// When the knob cannot be put back as it was.
pub fn run(args: &Args) -> io::Result<String> {
    let facts = look(Path::new("/"), &args.disk, args.try_knob)?;
    Ok(serde_json::to_string(&facts)?)
}

/// Looks below `root`.
fn look(root: &Path, disk: &Path, try_knob: bool) -> io::Result<Facts> {
    let name = uname().ok();
    let word = |word: Option<&std::ffi::OsStr>| {
        word.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let page_size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(0);
    Ok(Facts {
        release: word(name.as_ref().map(|name| name.release())),
        build: word(name.as_ref().map(|name| name.version())),
        signature: text(&root.join("proc/version_signature")),
        os: text_of(&root.join("etc/os-release")).and_then(|text| os_id(&text)),
        page_size: u64::try_from(page_size).unwrap_or(0),
        disk: look_at_disk(root, disk, try_knob)?,
        features: LISTED.iter().filter_map(|fs| features(root, fs)).collect(),
    })
}

fn look_at_disk(root: &Path, disk: &Path, try_knob: bool) -> io::Result<Option<Disk>> {
    let place = root.join("sys/class/block").join(disk.file_name().unwrap_or_default());
    if !place.join("queue").is_dir() {
        return Ok(None);
    }
    Ok(Some(Disk {
        block_size: number(&place.join("queue/logical_block_size")),
        integrity: integrity(&place.join("integrity")),
        stable_writes: knob(&place.join("queue/stable_writes"), try_knob)?,
    }))
}

fn integrity(place: &Path) -> Option<Integrity> {
    let flag = |name| text(&place.join(name)).as_deref() == Some("1");
    Some(Integrity {
        format: text(&place.join("format"))?,
        write_generate: flag("write_generate"),
        read_verify: flag("read_verify"),
        interval: number(&place.join("protection_interval_bytes")),
    })
}

/// Reads the knob, and where asked to finds out whether it keeps what is written to it.
fn knob(path: &Path, try_it: bool) -> io::Result<Option<Knob>> {
    let Some(at_start) = text(path) else { return Ok(None) };
    let keeps =
        |value: &str| fs::write(path, value).is_ok() && text(path).as_deref() == Some(value);
    let settable = try_it.then(|| keeps("1") && keeps("0"));
    // A kernel that refuses to be written to has nothing to be put back.
    if try_it && text(path).as_ref() != Some(&at_start) {
        fs::write(path, &at_start)?;
    }
    Ok(Some(Knob { at_start: at_start == "1", settable }))
}

/// The names in the driver's folder `features`, in order.
fn features(root: &Path, fs: &str) -> Option<(String, Vec<String>)> {
    let entries = fs::read_dir(root.join("sys/fs").join(fs).join("features")).ok()?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.take(MOST_FEATURES).collect();
    names.sort();
    Some((fs.to_owned(), names))
}

fn os_id(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("ID="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// A file's one line.
fn text(path: &Path) -> Option<String> {
    let text = text_of(path)?;
    Some(text.trim().chars().take(LONGEST).collect())
}

fn text_of(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest's root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    #[test]
    fn a_disk_with_protection_information_is_told_from_a_plain_one() {
        let files = [
            ("sys/class/block/sda/queue/logical_block_size", "512\n"),
            ("sys/class/block/sda/queue/stable_writes", "1\n"),
            ("sys/class/block/sda/integrity/format", "T10-DIF-TYPE1-CRC\n"),
            ("sys/class/block/sda/integrity/write_generate", "1\n"),
            ("sys/class/block/sda/integrity/read_verify", "1\n"),
            ("sys/class/block/sda/integrity/protection_interval_bytes", "512\n"),
            ("sys/class/block/vda/queue/stable_writes", "0\n"),
            ("sys/fs/btrfs/features/no_holes", "0\n"),
            ("sys/fs/btrfs/features/block_group_tree", "0\n"),
            ("etc/os-release", "NAME=x\nID=\"debian\"\n"),
        ];
        let root = root(&files);
        let facts = look(root.path(), Path::new("/dev/sda"), false).unwrap();
        let disk = facts.disk.unwrap();
        assert!(disk.integrity.as_ref().unwrap().is_made());
        assert_eq!((disk.block_size, disk.integrity.unwrap().interval), (Some(512), Some(512)));
        assert_eq!(disk.stable_writes, Some(Knob { at_start: true, settable: None }));
        assert_eq!(facts.features["btrfs"], ["block_group_tree", "no_holes"]);
        assert_eq!((facts.os.as_deref(), facts.signature), (Some("debian"), None));
        let plain = look(root.path(), Path::new("/dev/vda"), false).unwrap().disk.unwrap();
        assert_eq!((plain.integrity, plain.block_size), (None, None));
        assert!(look(root.path(), Path::new("/dev/nvme0n1"), false).unwrap().disk.is_none());
    }

    #[test]
    fn nothing_registered_makes_nothing() {
        let made = |format: &str, write_generate| {
            let format = format.to_owned();
            Integrity { format, write_generate, ..Integrity::default() }.is_made()
        };
        assert!(made("T10-DIF-TYPE3-CRC", true) && made("EXT-DIF-TYPE1-CRC64", true));
        assert!(!made("none", true) && !made("nop", true) && !made("T10-DIF-TYPE1-CRC", false));
    }

    #[test]
    fn the_knob_is_put_back() {
        for start in ["0\n", "1\n"] {
            let root = root(&[("sys/class/block/vda/queue/stable_writes", start)]);
            let facts = look(root.path(), Path::new("/dev/vda"), true).unwrap();
            let at_start = start == "1\n";
            let knob = facts.disk.unwrap().stable_writes.unwrap();
            assert_eq!(knob, Knob { at_start, settable: Some(true) });
            let path = root.path().join("sys/class/block/vda/queue/stable_writes");
            assert_eq!(fs::read_to_string(path).unwrap().trim(), start.trim());
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        let line = run(&Args { disk: "/dev/none".into(), try_knob: false }).unwrap();
        let facts: Facts = serde_json::from_str(&line).unwrap();
        assert!(!facts.release.is_empty() && facts.page_size >= 4096, "{line}");
        assert!(!line.contains('\n'));
    }
}
