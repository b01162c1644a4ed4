//! `dixtrap-guest owners DISK PLACE`: whose the blocks of the disk are, told while the file system
//! is still mounted.
//!
//! JSON lines: which disk they are about, the guest's clock, and areas, those first that take precedence: the fixed structures,
//! then the files, then what the kernel says of the rest (GETFSMAP). What a scenario has freed by
//! then is told as `freed`; a block that was freed and given to somebody else meanwhile is the new
//! owner's, who says when he was made.

mod ioctl;
mod place;
mod special;
mod walk;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::owner::{
    Area, InodeRun, Layout, LayoutError, Mounted, ReadAt, Run, Told, joined, layout,
};
use crate::record::{Owner, OwnerKind};
use walk::Entry;

/// Arguments of `dixtrap-guest owners`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The disk that blocks are counted on
    disk: PathBuf,
    /// Where its file system is mounted, or what of it is written to: the disk or a partition
    place: PathBuf,
    /// At which sector of the disk that device begins, where the system does not tell
    #[arg(long, value_name = "SECTORS")]
    start: Option<u64>,
    /// The label whose races this explains; where none is given, all that nothing else explains
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum OwnersError {
    /// The disk or the mount point.
    #[error("cannot use {}", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// Nothing is mounted there.
    #[error("{} is not a mount point", .0.display())]
    NotMounted(PathBuf),
    /// A device between the file system and the disk.
    #[error("cannot tell where {} lies on {}: owners are known on a disk, its partitions and mirrors", device.display(), disk.display())]
    Elsewhere {
        /// The device that the file system lies on.
        device: PathBuf,
        /// The disk whose owners were asked for.
        disk: PathBuf,
    },
    /// What is on the disk cannot be read as its file system.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Standard output takes no more.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

/// How often the clock is told: the host takes the one that came with the least delay.
const CLOCKS: u32 = 4;

/// Tells everything that is known.
///
/// # Errors
/// When it is not known where the blocks lie on the disk.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), OwnersError> {
    let of = Told::Of { label: args.label.clone(), lun: place::lun(&args.disk) };
    tell(out, &of).map_err(OwnersError::Output)?;
    for _ in 0..CLOCKS {
        tell_clock(out).map_err(OwnersError::Output)?;
        std::thread::sleep(Duration::from_millis(3));
    }
    let areas = areas(args)?;
    for area in joined(areas) {
        tell(out, &Told::Area(area)).map_err(OwnersError::Output)?;
    }
    out.flush().map_err(OwnersError::Output)
}

fn tell_clock(out: &mut dyn Write) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    tell(out, &Told::Clock { us: u64::try_from(now.as_micros()).unwrap_or(0) })?;
    out.flush()
}

fn tell(out: &mut dyn Write, told: &Told) -> io::Result<()> {
    serde_json::to_writer(&mut *out, told)?;
    out.write_all(b"\n")
}

fn areas(args: &Args) -> Result<Vec<Area>, OwnersError> {
    let (disk, place) = (args.disk.as_path(), args.place.as_path());
    let failed = |error| OwnersError::Open(place.to_owned(), error);
    let mounted = place.metadata().map_err(failed)?.is_dir();
    let device = if mounted {
        let device = place::device_of(place).map_err(failed)?;
        device.ok_or_else(|| OwnersError::NotMounted(place.to_owned()))?
    } else {
        place.to_owned()
    };
    let given = args.start.map(|start| start.saturating_mul(place::SECTOR));
    let offset = given
        .or_else(|| place::offset_on(disk, &device))
        .ok_or_else(|| OwnersError::Elsewhere { device: device.clone(), disk: disk.to_owned() })?;
    let opened = File::open(&device).map_err(|e| OwnersError::Open(device.clone(), e))?;
    let on_device = if mounted {
        of_file_system(&Device(opened), place)?
    } else if place::is_swap(&device) {
        layout(&Device(opened))?.map(|layout| layout.areas()).unwrap_or_default()
    } else {
        vec![bare(if offset == 0 { "disk" } else { "partition" }, &device)]
    };
    let mut areas: Vec<Area> = on_device.into_iter().map(|area| area.shifted(offset)).collect();
    if offset > 0 && given.is_none() {
        areas.push(Area::metadata("partition table", 0, PARTITION_TABLE));
    }
    Ok(areas)
}

/// A table of the GPT kind with its header and the boot sector; the older kind is shorter.
const PARTITION_TABLE: u64 = 34 * 512;

/// A device without any file system: all of it is data.
fn bare(name: &str, device: &Path) -> Area {
    let path = Some(device.to_string_lossy().into_owned());
    let owner = Owner { path, offset: Some(0), ..Owner::new(name, OwnerKind::Data) };
    Area { start: 0, bytes: u64::MAX, owner, born_us: None }
}

/// The device, read through the page cache: what ext4 changed in its buffers is seen there.
struct Device(File);

impl ReadAt for Device {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

fn of_file_system(device: &Device, root: &Path) -> Result<Vec<Area>, OwnersError> {
    let failed = |error| OwnersError::Open(root.to_owned(), error);
    let directory = Directory(File::open(root).map_err(failed)?);
    let mut known = layout(device)?;
    let mut areas = Vec::new();
    if let Some(layout) = &mut known {
        layout.learn(&directory);
        areas = layout.areas();
    }
    let known = known.as_deref();
    walk::walk(root, &mut |entry| areas.extend(of_entry(known, device, &entry))).map_err(failed)?;
    areas.extend(known.map(Layout::freed).unwrap_or_default());
    areas.extend(ioctl::fsmap(&directory.0).unwrap_or_default().iter().filter_map(special::area));
    Ok(areas)
}

/// The root of a file system that is mounted here.
struct Directory(File);

impl Mounted for Directory {
    fn inode_runs(&self) -> Vec<InodeRun> {
        let chunks = ioctl::inode_chunks(&self.0).unwrap_or_default();
        let run = |chunk: &ioctl::InodeChunk| InodeRun {
            first: chunk.first,
            count: ioctl::INODES_A_CHUNK,
        };
        chunks.iter().map(run).collect()
    }

    fn chunk_items(&self) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        let mut from = 0;
        while let Ok(items) = ioctl::chunk_items(&self.0, from) {
            let Some((last, _)) = items.last() else { break };
            let next = last.checked_add(1);
            all.extend(items);
            let Some(next) = next else { break };
            from = next;
        }
        all
    }
}

/// What one file or directory owns.
fn of_entry(layout: Option<&dyn Layout>, device: &Device, entry: &Entry) -> Vec<Area> {
    let tree = layout.map(|layout| layout.tree_areas(device, entry.inode, &entry.path));
    let mut areas = tree.unwrap_or_default();
    let (name, kind) = if entry.directory {
        ("directory", OwnerKind::Metadata)
    } else {
        ("file", OwnerKind::Data)
    };
    let path = Some(entry.path.clone());
    for extent in &entry.extents {
        let (physical, bytes) = (extent.physical, extent.bytes);
        let runs = layout.map_or_else(
            || vec![Run { start: physical, bytes, skipped: 0 }],
            |layout| layout.runs(physical, bytes),
        );
        areas.extend(runs.into_iter().map(|run| {
            let at = extent.logical.saturating_add(run.skipped);
            let holds = layout.filter(|_| entry.directory).and_then(Layout::directory);
            let holds = holds.map(|holds| holds.after(at));
            let owner =
                Owner { path: path.clone(), offset: Some(at), holds, ..Owner::new(name, kind) };
            Area { start: run.start, bytes: run.bytes, owner, born_us: None }
        }));
    }
    areas.into_iter().map(|area| Area { born_us: entry.born_us, ..area }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mount_point_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |place: PathBuf| {
            areas(&Args { disk: "/dev/null".into(), place, start: None, label: None })
        };
        let error = ask(dir.path().to_owned()).unwrap_err();
        assert!(matches!(error, OwnersError::NotMounted(_)), "{error}");
        let error = ask(dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
