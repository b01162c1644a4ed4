//! Layouts of real images, and of bytes that are none.

use std::fs::File;
use std::process::Command;

use proptest::prelude::*;

use super::btrfs::{Chunk, ChunkKind};
use super::*;
use crate::record::OwnerKind;

/// Makes a file system in a file with a program of this machine; `None` where there is none.
fn made(program: &str, args: &[&str], size: u64) -> Option<(tempfile::TempDir, File)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    File::create(&path).unwrap().set_len(size).unwrap();
    let output = Command::new(program).args(args).arg(&path).output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some((dir, File::open(path).unwrap()))
}

fn named(layout: &dyn Layout, name: &str) -> Vec<Area> {
    layout.areas().into_iter().filter(|area| area.owner.name == name).collect()
}

/// What xfs_db answers: the last number of every line, that in brackets where there is one.
fn xfs_db(image: &std::path::Path, commands: &[&str]) -> Vec<u64> {
    let mut xfs_db = Command::new("xfs_db");
    for command in commands {
        xfs_db.args(["-c", command]);
    }
    let output = xfs_db.arg("-r").arg(image).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = |line: &str| {
        line.split(['=', ' ', '(', ')']).filter_map(|word| word.parse().ok()).next_back()
    };
    text.lines().filter_map(numbers).collect()
}

#[test]
fn xfs_headers_log_and_inodes() {
    let (dir, image) = made("mkfs.xfs", &["-q"], 400 << 20).unwrap();
    let xfs = Xfs::read(&image).unwrap().unwrap();
    let path = dir.path().join("image");
    let show = |commands: &[&str]| xfs_db(&path, commands);
    let sb = show(&["sb 0", "p blocksize agcount agblocks logblocks rootino logstart"]);
    let [block, groups, group_blocks, log_blocks, root, log_start] = sb[..] else {
        panic!("{sb:?}")
    };
    assert_eq!(named(&xfs, "backup superblock").len() as u64, groups - 1);
    let [log] = &named(&xfs, "journal")[..] else { panic!("one log") };
    assert_eq!((log.bytes, log.owner.kind), (log_blocks * block, OwnerKind::Journal));
    assert_eq!(show(&[&format!("convert fsblock {log_start} byte")]), [log.start]);
    roots_agree(&xfs, &show, group_blocks * block, block);
    let inodes = xfs.inodes(root, 64);
    assert_eq!(show(&[&format!("convert ino {root} byte")]), [inodes.start]);
    assert_eq!(inodes.bytes, 64 * 512);
}

/// The roots of the second group's trees are where xfs_db sees them.
fn roots_agree(layout: &dyn Layout, show: &dyn Fn(&[&str]) -> Vec<u64>, group: u64, block: u64) {
    for (header, field, name) in [
        ("agf 1", "p bnoroot", "free space tree"),
        ("agf 1", "p cntroot", "free space tree"),
        ("agi 1", "p root", "inode tree"),
        ("agi 1", "p free_root", "inode tree"),
    ] {
        let root = show(&[header, field])[0];
        let at = group + root * block;
        let mut map = Map::default();
        layout.areas().into_iter().for_each(|area| map.add(area));
        assert_eq!(map.owner(at, 0).name, name, "{field}");
    }
}

#[test]
fn btrfs_superblocks_and_the_chunks_of_the_chunk_tree() {
    let (_dir, image) = made("mkfs.btrfs", &["-q"], 400 << 20).unwrap();
    let btrfs = Btrfs::read(&image).unwrap().unwrap();
    assert_eq!(btrfs.device, 1);
    let [chunk] = &btrfs.chunks[..] else { panic!("{btrfs:?}") };
    assert_eq!((chunk.kind, chunk.bytes), (ChunkKind::System, 8 << 20));
    // mkfs makes it in two copies (DUP) that both lie behind the first MiB.
    assert!(chunk.copies.len() == 2 && chunk.copies.iter().all(|at| *at >= 1 << 20));
    let places = btrfs.runs(chunk.logical + 4096, 4096);
    assert_eq!(places.len(), 2);
    let first = Run { start: chunk.copies[0] + 4096, bytes: 4096, skipped: 0 };
    assert_eq!(places[0], first);
    // What lies there is a tree block that names the address itself (`btrfs_header`, bytenr).
    let block = ReadAt::read_at(&image, places[0].start - 4096, 4096).unwrap();
    let found: Vec<u64> = (0..chunk.bytes / 16384)
        .filter_map(|n| {
            let at = chunk.copies[0] + n * 16384;
            let bytes = ReadAt::read_at(&image, at + 48, 8).unwrap();
            (bytes::le64(&bytes, 0) == Some(chunk.logical + n * 16384)).then_some(at)
        })
        .collect();
    assert!(!found.is_empty(), "{} bytes looked at", block.len());
    assert_eq!(named(&btrfs, "backup superblock")[0].start, 64 << 20);
    assert_eq!(btrfs.freed(), [], "the chunks of the chunk tree hold no data");
}

#[test]
fn a_chunk_of_data_is_data_whoever_had_it() {
    let mut item = vec![0; 80];
    item[0..8].copy_from_slice(&4096_u64.to_le_bytes());
    item[24] = 1;
    item[44] = 1;
    item[48] = 1;
    item[56..64].copy_from_slice(&65_536_u64.to_le_bytes());
    let chunk = Chunk::parse(1 << 20, &item, 1).unwrap();
    let btrfs = Btrfs { device: 1, node: 16384, chunks: vec![chunk] };
    let [freed] = &btrfs.freed()[..] else { panic!("{btrfs:?}") };
    assert_eq!((freed.start, freed.bytes, freed.owner.kind), (65_536, 4096, OwnerKind::Data));
    let run = Run { start: 66_048, bytes: 3_584, skipped: 0 };
    assert_eq!(btrfs.runs((1 << 20) + 512, 9_999), [run]);
    assert!(Chunk::parse(0, &item, 2).unwrap().copies.is_empty(), "another device");
}

#[test]
fn swap_has_a_header_and_pages() {
    let (_dir, image) = made("mkswap", &[], 8 << 20).unwrap();
    let layout = layout(&image).unwrap().unwrap();
    assert_eq!(layout.name(), "swap");
    let [pages] = &named(&*layout, "swap")[..] else { panic!("{layout:?}") };
    assert_eq!(
        (pages.start, pages.bytes, pages.owner.offset),
        (4096, (8 << 20) - 4096, Some(4096))
    );
}

/// The programs of these are not on every machine.
#[test]
fn fat_and_f2fs_where_they_can_be_made() {
    for (program, name, owner, areas) in [
        // Each copy's entries are counted from its own beginning.
        ("mkfs.vfat", "vfat", "file allocation table", 2),
        ("mkfs.exfat", "exfat", "file allocation table", 1),
        ("mkfs.f2fs", "f2fs", "node address table", 1),
    ] {
        let Some((_dir, image)) = made(program, &[], 300 << 20) else { continue };
        let layout = layout(&image).unwrap().unwrap();
        assert_eq!(layout.name(), name);
        assert_eq!(named(&*layout, owner).len(), areas, "{layout:?}");
    }
}

#[test]
fn an_empty_disk_is_no_file_system() {
    assert!(layout(&vec![0_u8; 1 << 20]).unwrap().is_none());
    assert!(layout(&Vec::new()).unwrap().is_none());
}

/// A superblock's place, and what has to stand there.
const SIGNATURES: [(usize, &[u8]); 7] = [
    (1024 + 0x38, &[0x53, 0xEF]),
    (0, b"XFSB"),
    ((64 << 10) + 0x40, b"_BHRfS_M"),
    (4086, b"SWAPSPACE2"),
    (1024, &[0x10, 0x20, 0xF5, 0xF2]),
    (510, &[0x55, 0xAA]),
    (3, b"EXFAT   "),
];

/// A kernel that says what no kernel should.
struct AnyKernel(u64);

impl Mounted for AnyKernel {
    fn inode_runs(&self) -> Vec<InodeRun> {
        vec![InodeRun { first: self.0, count: self.0 }]
    }

    fn chunk_items(&self) -> Vec<(u64, Vec<u8>)> {
        vec![(self.0, self.0.to_le_bytes().repeat(10))]
    }
}

proptest! {
    /// Whatever follows a signature, reading it ends, and without a panic.
    #[test]
    fn no_bytes_can_do_harm(
        which in 0..SIGNATURES.len(),
        seed in any::<u64>(),
        sparse in any::<bool>(),
        bytes in proptest::collection::vec((0_usize..6000, any::<u8>()), 0..200),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = vec![0; 72 << 10];
        if !sparse {
            random.fill(&mut disk);
        }
        for (at, byte) in bytes {
            disk[at] = byte;
        }
        let (at, signature) = SIGNATURES[which];
        disk[at..at + signature.len()].copy_from_slice(signature);
        if which == 6 {
            disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        }
        if let Ok(Some(layout)) = layout(&disk) {
            layout.areas().iter().for_each(|area| assert!(area.end() >= area.start));
            for inode in [0, 1, 2, 7, 8, 1 << 20, u64::MAX] {
                layout.tree_areas(&disk, inode, "/x");
            }
            layout.runs(seed, seed);
            layout.freed();
        }
        if let Ok(Some(mut xfs)) = Xfs::read(&disk) {
            xfs.inodes(seed, seed);
            xfs.learn(&AnyKernel(seed));
        }
        if let Ok(Some(mut btrfs)) = Btrfs::read(&disk) {
            btrfs.learn(&AnyKernel(seed));
            btrfs.runs(seed, seed);
        }
    }

    /// A sound file system with any of its bytes changed is read, refused, or left alone.
    #[test]
    fn a_damaged_ext4_does_no_harm(damage in proptest::collection::vec((0_usize..20_000, any::<u8>()), 1..40)) {
        thread_local! { static IMAGE: Vec<u8> = small_ext4(); }
        let mut disk = IMAGE.with(Clone::clone);
        for (at, byte) in damage {
            disk[at] = byte;
        }
        if let Ok(Some(ext4)) = Ext4::read(&disk) {
            for inode in 1..20 {
                ext4.tree_areas(&disk, inode, "/x");
            }
        }
    }
}

fn small_ext4() -> Vec<u8> {
    let (dir, _) = made("mkfs.ext4", &["-q", "-F", "-b", "1024"], 4 << 20).unwrap();
    std::fs::read(dir.path().join("image")).unwrap()
}
