//! btrfs (Linux, `include/uapi/linux/btrfs_tree.h`).

use super::table::{Kind::*, Row};

/// `struct btrfs_header`; items follow.
pub(super) const TREE_BLOCK: &[Row] = &[
    (0x00, 32, "csum", Bytes),
    (0x20, 16, "fsid", Bytes),
    (0x30, 8, "bytenr", Little),
    (0x38, 8, "flags", Bits),
    (0x40, 16, "chunk_tree_uuid", Bytes),
    (0x50, 8, "generation", Little),
    (0x58, 8, "owner", Little),
    (0x60, 4, "nritems", Little),
    (0x64, 1, "level", Little),
];

/// `struct btrfs_super_block`.
pub(super) const SUPERBLOCK: &[Row] = &[
    (0x00, 32, "csum", Bytes),
    (0x20, 16, "fsid", Bytes),
    (0x30, 8, "bytenr", Little),
    (0x38, 8, "flags", Bits),
    (0x40, 8, "magic", Bits),
    (0x48, 8, "generation", Little),
    (0x50, 8, "root", Little),
    (0x58, 8, "chunk_root", Little),
    (0x60, 8, "log_root", Little),
    (0x70, 8, "total_bytes", Little),
    (0x78, 8, "bytes_used", Little),
    (0x80, 8, "root_dir_objectid", Little),
    (0x88, 8, "num_devices", Little),
    (0x90, 4, "sectorsize", Little),
    (0x94, 4, "nodesize", Little),
    (0xA4, 8, "chunk_root_generation", Little),
    (0xAC, 8, "compat_flags", Bits),
    (0xB4, 8, "compat_ro_flags", Bits),
    (0xBC, 8, "incompat_flags", Bits),
    (0xC4, 2, "csum_type", Little),
    (0xC6, 1, "root_level", Little),
    (0xC7, 1, "chunk_root_level", Little),
    (0xC8, 1, "log_root_level", Little),
    (0xC9, 98, "dev_item", Bytes),
    (0x12B, 256, "label", Bytes),
    (0x22B, 8, "cache_generation", Little),
    (0x233, 8, "uuid_tree_generation", Little),
    (0x32B, 2048, "sys_chunk_array", Bytes),
    (0xB2B, 672, "super_roots", Bytes),
];
