//! Against the offsets of the headers, with records as the daemon writes them.

use super::*;
use crate::record::{Change, Owner, OwnerKind};

fn change(offset: usize, old: &str, new: &str) -> Change {
    Change { offset, len: old.len() / 2, old: old.into(), new: new.into() }
}

fn race(holds: Holds, changed: Vec<Change>) -> Race {
    let text = r#"{"id":1,"t_us":1,"label":null,"device":"blk","queue":0,"request":{"id":1,"op":"write","lba":0,"blocks":1},
        "lba":0,"gpa":0,"phase":"in-window","window_us":1.0,"guard_blind":false,"changed":[],"changed_bytes":2,
        "overlap":false,"outcome":"stored"}"#;
    let race: Race = serde_json::from_str(text).unwrap();
    let owner = Owner { holds: Some(holds), ..Owner::new("x", OwnerKind::Metadata) };
    Race { owner: Some(owner), changed, ..race }
}

fn told(holds: Holds, changed: Vec<Change>) -> Vec<String> {
    let word = |field: Touched| match field.values {
        Some((old, new)) => format!("{}: {} {old} -> {new}", field.whose, field.name),
        None => format!("{}: {}", field.whose, field.name),
    };
    touched(&race(holds, changed)).into_iter().map(word).collect()
}

#[test]
fn an_inodes_fields_are_named_with_what_they_were() {
    // Two inodes of 256 bytes in a block of 512, the block begins with inode 23.
    let inodes = Holds::of(Structure::Ext4Inode, 256, 23);
    let changed = vec![
        change(256 + 0x10, "00000000", "15cd5b07"),
        change(256 + 0x7C, "aabb", "ccdd"),
        change(256 + 0x82, "01", "02"),
        change(0x1A, "0100", "0200"),
    ];
    assert_eq!(
        told(inodes, changed),
        [
            "ext4 inode 24: i_mtime 1970-01-01 00:00:00 -> 1973-11-29 21:33:09",
            "ext4 inode 24: l_i_checksum_lo 0xbbaa -> 0xddcc",
            "ext4 inode 24: i_checksum_hi 01 .. -> 02 ..",
            "ext4 inode 23: i_links_count 1 -> 2",
        ]
    );
}

#[test]
fn a_structure_may_begin_before_its_block_and_a_run_go_over_several() {
    // The block begins in the middle of an inode of 1024 bytes, and so behind all of its fields.
    let inodes = Holds { skipped: 512, ..Holds::of(Structure::Ext4Inode, 1024, 7) };
    assert_eq!(told(inodes, vec![change(0, "00", "01")]), ["ext4 inode 7: bytes 0xa0 to 0x3ff"]);
    let groups = Holds::of(Structure::Ext4GroupDescriptor, 64, 0);
    assert_eq!(
        told(groups, vec![change(0x3C, "0000000000000000", "0000000100000001")]),
        [
            "group descriptor 0: bg_reserved 0x0 -> 0x1000000",
            "group descriptor 1: bg_block_bitmap_lo 0 -> 16777216"
        ]
    );
    let split = vec![change(0x0C, "ffff", "feff"), change(64 + 0x1E, "0100", "0200")];
    assert_eq!(
        told(groups, split),
        [
            "group descriptor 0: bg_free_blocks_count_lo 65535 -> 65534",
            "group descriptor 1: bg_checksum 0x1 -> 0x2"
        ]
    );
}

#[test]
fn equal_bytes_of_a_run_name_no_field() {
    let inodes = Holds::of(Structure::Ext4Inode, 256, 1);
    // i_ctime is the same, between i_atime and i_mtime.
    let changed = vec![change(0x0A, "0102030405060708", "ff0203040506ff08")];
    assert_eq!(
        told(inodes, changed),
        [
            "ext4 inode 1: i_atime .. .. 01 02 -> .. .. ff 02",
            "ext4 inode 1: i_mtime 07 08 .. .. -> ff 08 .. .."
        ]
    );
}

#[test]
fn bits_are_counted_from_the_bitmaps_own_first() {
    let bitmap = Holds::of(Structure::Ext4BlockBitmap, 4096, 2).after(512);
    assert_eq!(
        told(bitmap, vec![change(1, "00ff", "0cf7")]),
        [
            "block bitmap of group 2: blocks 4106 to 4107 set",
            "block bitmap of group 2: blocks 4115 cleared"
        ]
    );
}

#[test]
fn headers_of_xfs_and_btrfs_are_read_in_their_own_order() {
    let agf = Holds::of(Structure::XfsFreeSpaceHeader, 512, 1);
    assert_eq!(
        told(agf, vec![change(52, "00000102", "00000101")]),
        ["free space header of group 1: agf_freeblks 258 -> 257"]
    );
    let tree = Holds::of(Structure::BtrfsTreeBlock, 16384, 2);
    assert_eq!(
        told(tree, vec![change(0x60, "05000000", "06000000")]),
        ["btrfs tree block 32768: nritems 5 -> 6"]
    );
    assert_eq!(
        told(tree.after(512), vec![change(0, "05", "06")]),
        ["btrfs tree block 32768: bytes 0x65 to 0x3fff"]
    );
}

#[test]
fn a_directorys_tail_has_a_name() {
    let directory = Holds::of(Structure::Ext4Directory, 4096, 0);
    assert_eq!(
        told(directory, vec![change(12, "02000000", "0c000000")]),
        ["directory block 0: '..': inode 2 -> 12"]
    );
    let last = directory.after(8192 - 512);
    assert_eq!(
        told(last, vec![change(508, "01020304", "05020304"), change(8, "00", "01")]),
        [
            "directory block 1: det_checksum (or an entry) 0x4030201 -> 0x4030205",
            "directory block 1: directory entries"
        ]
    );
}

#[test]
fn no_record_is_too_strange() {
    for each in [0, 1, u64::MAX] {
        let holds = Holds { skipped: u64::MAX, ..Holds::of(Structure::Ext4Inode, each, u64::MAX) };
        let long = Change { len: usize::MAX, ..change(usize::MAX - 2, "00", "01") };
        let broken = change(7, "0x", "zz");
        assert!(told(holds, vec![long, broken, change(0, "", "")]).len() <= MOST);
    }
    let vast = Change { len: usize::MAX, ..change(0, "00", "01") };
    assert!(told(Holds::of(Structure::Fat32Entry, 4, 2), vec![vast]).len() <= MOST);
    assert!(
        touched(&race(Holds::of(Structure::Unknown, 512, 0), vec![change(0, "00", "01")])).len()
            == 1
    );
}
