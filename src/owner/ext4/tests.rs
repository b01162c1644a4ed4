//! Against images that mke2fs made, as dumpe2fs and debugfs describe them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::owner::{Map, layout};

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a file system with a directory, a file of one piece and one of many, and reads its layout.
fn made(dir: &Path, options: &str, size: &str) -> (String, File, Ext4) {
    let tree = dir.join("tree/directory");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("whole"), vec![7; 3_000_000]).unwrap();
    let image = dir.join("image").to_str().unwrap().to_owned();
    let tree = dir.join("tree").to_str().unwrap().to_owned();
    let mut args: Vec<&str> = vec!["-q", "-F", "-d", &tree];
    args.extend(options.split_whitespace());
    args.extend([image.as_str(), size]);
    run("mke2fs", &args);
    let file = File::open(&image).unwrap();
    let ext4 = Ext4::read(&file).unwrap().unwrap();
    (image, file, ext4)
}

/// How many blocks each structure has, and the first and last block of each piece, as dumpe2fs says.
fn described(image: &str) -> Vec<(&'static str, u64, u64)> {
    let names = [
        ("Primary superblock at ", "superblock"),
        ("Backup superblock at ", "backup superblock"),
        ("Reserved GDT blocks at ", "reserved group descriptors"),
        ("Block bitmap at ", "block bitmap"),
        ("Inode bitmap at ", "inode bitmap"),
        ("Inode table at ", "inode table"),
    ];
    let mut found = Vec::new();
    for line in run("dumpe2fs", &[image]).lines() {
        for (words, name) in names {
            if let Some((_, rest)) = line.split_once(words) {
                let (first, last) = range(rest);
                found.push((name, first, last));
            }
        }
        for words in ["Group descriptors at ", "Group descriptor at "] {
            if let Some((before, rest)) = line.split_once(words) {
                let (first, last) = range(rest);
                let copy = before.contains("Backup");
                found.push((if copy { "copy" } else { "descriptors" }, first, last));
            }
        }
    }
    found
}

/// `5-8 (bg #0 + 4)` or `5`.
fn range(text: &str) -> (u64, u64) {
    let word = text.split([' ', ',']).next().unwrap();
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    (first.parse().unwrap(), last.parse().unwrap())
}

#[test]
fn every_block_is_where_dumpe2fs_says() {
    for (options, size) in [
        ("-t ext4 -b 4096", "300M"),
        ("-t ext4 -b 1024", "40M"),
        ("-t ext4 -b 4096 -O ^has_journal", "300M"),
        ("-t ext4 -b 4096 -O ^64bit,^flex_bg", "300M"),
        ("-t ext4 -b 1024 -O meta_bg,^resize_inode", "70M"),
        ("-t ext4 -b 1024 -O meta_bg,^resize_inode,^64bit,^sparse_super", "70M"),
        ("-t ext4 -b 1024 -O sparse_super2", "70M"),
        ("-t ext4 -b 2048 -O ^sparse_super,^resize_inode -I 512", "100M"),
        ("-t ext2 -b 1024", "40M"),
        ("-t ext2 -b 4096", "40M"),
        ("-t ext2 -b 1024 -r 0", "20M"),
        ("-t ext3 -b 1024", "40M"),
        ("-t ext4 -b 4096 -O bigalloc", "300M"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (image, _, layout) = made(dir.path(), options, size);
        let block = layout.superblock.block_size;
        let mut map = Map::default();
        layout.areas.iter().cloned().for_each(|area| map.add(area));
        let name = |number: u64| map.owner(number * block, 0).name;
        let mut blocks: BTreeMap<&str, u64> = BTreeMap::new();
        for (kind, first, last) in described(&image) {
            *blocks.entry(kind).or_default() += last - first + 1;
            for number in [first, last] {
                let owner = name(number);
                match kind {
                    "descriptors" | "copy" => {
                        assert!(
                            owner.ends_with("group descriptors"),
                            "{options}: {number} {owner}"
                        );
                    }
                    _ => assert_eq!(owner, kind, "{options}: block {number}"),
                }
            }
        }
        for kind in
            ["superblock", "backup superblock", "block bitmap", "inode bitmap", "inode table"]
        {
            let areas = layout.areas.iter().filter(|area| area.owner.name == kind);
            let ours = areas.map(|area| area.bytes).sum::<u64>() / block;
            assert_eq!(ours, blocks.get(kind).copied().unwrap_or(0), "{options}: {kind}");
        }
        assert!(blocks["inode table"] > 10, "{options}: dumpe2fs was understood");
    }
}

/// The blocks that debugfs lists for a path.
fn blocks_of(image: &str, what: &str) -> Vec<u64> {
    let list = run("debugfs", &["-R", &format!("blocks {what}"), image]);
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_journal_is_the_inode_that_debugfs_shows() {
    for (options, has) in [("-t ext4 -b 1024", true), ("-t ext3 -b 1024", true), ("-t ext2", false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let (image, _, layout) = made(dir.path(), options, "40M");
        let block = layout.superblock.block_size;
        let journal: u64 = layout
            .areas
            .iter()
            .filter(|area| area.owner.kind == OwnerKind::Journal)
            .map(|area| area.bytes / block)
            .sum();
        if has {
            let mut listed = blocks_of(&image, "<8>");
            listed.sort_unstable();
            listed.dedup();
            assert_eq!(journal, listed.len() as u64, "{options}");
            let mut map = Map::default();
            layout.areas.iter().cloned().for_each(|area| map.add(area));
            for number in listed {
                assert_eq!(map.owner(number * block, 0).name, "journal", "{options} {number}");
            }
        } else {
            assert_eq!(journal, 0);
        }
    }
}

#[test]
fn a_files_own_tree_is_found() {
    for (options, name, tree) in
        [("-t ext2 -b 1024", "indirect block", 13), ("-t ext4 -b 1024", "extent tree block", 0)]
    {
        let dir = tempfile::tempdir().unwrap();
        let (image, file, layout) = made(dir.path(), options, "40M");
        let stat = run("debugfs", &["-R", "stat /directory/whole", &image]);
        let (_, number) = stat.split_once("Inode: ").unwrap();
        let inode: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
        let found = layout.blocks_of(&file, inode).unwrap();
        let data: u64 = found.data.iter().map(|run| run.count).sum();
        assert_eq!(data, 3_000_000_u64.div_ceil(1024), "{options}");
        let mut ours: Vec<u64> = found.tree.clone();
        ours.extend(found.data.iter().flat_map(|run| run.physical..run.physical + run.count));
        ours.sort_unstable();
        let mut listed = blocks_of(&image, "/directory/whole");
        listed.sort_unstable();
        assert_eq!(ours, listed, "{options}");
        let areas = layout.tree_areas(&file, inode, "/directory/whole");
        // 2930 blocks: 12 direct, 256 behind one list, the rest behind a list of lists.
        assert_eq!(areas.len(), tree, "{options}: {areas:?}");
        assert!(areas.iter().all(|area| area.owner.name == name && area.owner.path.is_some()));
    }
}

/// A tree of extents deeper than its inode: every second block of the file is a hole.
#[test]
fn a_deep_tree_of_extents_is_followed() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree/directory");
    fs::create_dir_all(&tree).unwrap();
    let file = File::create(tree.join("holes")).unwrap();
    for at in 0..2_000 {
        file.write_all_at(b"x", at * 8192).unwrap();
    }
    let (image, file, layout) = made(dir.path(), "-t ext4 -b 4096", "100M");
    let stat = run("debugfs", &["-R", "stat /directory/holes", &image]);
    let (_, number) = stat.split_once("Inode: ").unwrap();
    let inode: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
    let found = layout.blocks_of(&file, inode).unwrap();
    assert!(found.extents && found.tree.len() >= 5, "{:?}", found.tree);
    let mut ours: Vec<u64> = found.tree.clone();
    ours.extend(found.data.iter().flat_map(|run| run.physical..run.physical + run.count));
    ours.sort_unstable();
    let mut listed = blocks_of(&image, "/directory/holes");
    listed.sort_unstable();
    assert_eq!(ours, listed);
}

/// The numbers that races are told by are debugfs's.
#[test]
fn an_inodes_bytes_have_its_number() {
    for options in
        ["-t ext4 -b 1024 -I 256", "-t ext4 -b 4096 -O ^flex_bg", "-t ext2 -b 1024 -I 128"]
    {
        let dir = tempfile::tempdir().unwrap();
        let (image, _, layout) = made(dir.path(), options, "40M");
        let imap = run("debugfs", &["-R", "imap /directory/whole", &image]);
        let stat = run("debugfs", &["-R", "stat /directory/whole", &image]);
        let (_, number) = stat.split_once("Inode: ").unwrap();
        let number: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
        let (_, place) = imap.split_once("located at block ").unwrap();
        let (block, offset) = place.trim_end().split_once(", offset 0x").unwrap();
        let at = block.parse::<u64>().unwrap() * layout.superblock.block_size
            + u64::from_str_radix(offset.trim_end_matches('.'), 16).unwrap();
        let mut map = Map::default();
        layout.areas.iter().cloned().for_each(|area| map.add(area));
        let holds = map.owner(at, 0).holds.unwrap();
        assert_eq!((holds.first, holds.skipped), (number, 0), "{options}: {imap}");
        let superblock = map.owner(1024, 0);
        assert_eq!(superblock.holds.unwrap().structure, crate::record::Structure::Ext4Superblock);
    }
}

/// Else a superblock of a short disk could claim a million groups, and all of them would be listed.
#[test]
fn a_file_system_longer_than_its_disk_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (image, _, _) = made(dir.path(), "-t ext4", "64M");
    let file = File::options().read(true).write(true).open(image).unwrap();
    file.set_len((64 << 20) - 1).unwrap();
    let error = layout(&file).unwrap_err().to_string();
    assert!(error.contains("length, which is more than the disk's"), "{error}");
}
