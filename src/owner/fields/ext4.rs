//! ext2, ext3 and ext4 (Linux, `fs/ext4/ext4.h`).

use super::table::{Fields, Kind::*, Row};
use crate::record::Holds;

/// `struct ext4_inode`; behind it the extended attributes that fit.
pub(super) const INODE: &[Row] = &[
    (0x00, 2, "i_mode", Bits),
    (0x02, 2, "i_uid", Little),
    (0x04, 4, "i_size_lo", Little),
    (0x08, 4, "i_atime", Time),
    (0x0C, 4, "i_ctime", Time),
    (0x10, 4, "i_mtime", Time),
    (0x14, 4, "i_dtime", Little),
    (0x18, 2, "i_gid", Little),
    (0x1A, 2, "i_links_count", Little),
    (0x1C, 4, "i_blocks_lo", Little),
    (0x20, 4, "i_flags", Bits),
    (0x24, 4, "l_i_version", Little),
    (0x28, 60, "i_block", Bytes),
    (0x64, 4, "i_generation", Bits),
    (0x68, 4, "i_file_acl_lo", Little),
    (0x6C, 4, "i_size_high", Little),
    (0x70, 4, "i_obso_faddr", Bits),
    (0x74, 2, "l_i_blocks_high", Little),
    (0x76, 2, "l_i_file_acl_high", Little),
    (0x78, 2, "l_i_uid_high", Little),
    (0x7A, 2, "l_i_gid_high", Little),
    (0x7C, 2, "l_i_checksum_lo", Bits),
    (0x7E, 2, "l_i_reserved", Bits),
    (0x80, 2, "i_extra_isize", Little),
    (0x82, 2, "i_checksum_hi", Bits),
    (0x84, 4, "i_ctime_extra", Bits),
    (0x88, 4, "i_mtime_extra", Bits),
    (0x8C, 4, "i_atime_extra", Bits),
    (0x90, 4, "i_crtime", Time),
    (0x94, 4, "i_crtime_extra", Bits),
    (0x98, 4, "i_version_hi", Little),
    (0x9C, 4, "i_projid", Little),
];

/// `struct ext4_group_desc`.
pub(super) const GROUP_DESCRIPTOR: &[Row] = &[
    (0x00, 4, "bg_block_bitmap_lo", Little),
    (0x04, 4, "bg_inode_bitmap_lo", Little),
    (0x08, 4, "bg_inode_table_lo", Little),
    (0x0C, 2, "bg_free_blocks_count_lo", Little),
    (0x0E, 2, "bg_free_inodes_count_lo", Little),
    (0x10, 2, "bg_used_dirs_count_lo", Little),
    (0x12, 2, "bg_flags", Bits),
    (0x14, 4, "bg_exclude_bitmap_lo", Little),
    (0x18, 2, "bg_block_bitmap_csum_lo", Bits),
    (0x1A, 2, "bg_inode_bitmap_csum_lo", Bits),
    (0x1C, 2, "bg_itable_unused_lo", Little),
    (0x1E, 2, "bg_checksum", Bits),
    (0x20, 4, "bg_block_bitmap_hi", Little),
    (0x24, 4, "bg_inode_bitmap_hi", Little),
    (0x28, 4, "bg_inode_table_hi", Little),
    (0x2C, 2, "bg_free_blocks_count_hi", Little),
    (0x2E, 2, "bg_free_inodes_count_hi", Little),
    (0x30, 2, "bg_used_dirs_count_hi", Little),
    (0x32, 2, "bg_itable_unused_hi", Little),
    (0x34, 4, "bg_exclude_bitmap_hi", Little),
    (0x38, 2, "bg_block_bitmap_csum_hi", Bits),
    (0x3A, 2, "bg_inode_bitmap_csum_hi", Bits),
    (0x3C, 4, "bg_reserved", Bits),
];

/// `struct ext4_super_block`, what of it changes while it is mounted and what may look so.
pub(super) const SUPERBLOCK: &[Row] = &[
    (0x00, 4, "s_inodes_count", Little),
    (0x04, 4, "s_blocks_count_lo", Little),
    (0x08, 4, "s_r_blocks_count_lo", Little),
    (0x0C, 4, "s_free_blocks_count_lo", Little),
    (0x10, 4, "s_free_inodes_count", Little),
    (0x14, 4, "s_first_data_block", Little),
    (0x18, 4, "s_log_block_size", Little),
    (0x1C, 4, "s_log_cluster_size", Little),
    (0x20, 4, "s_blocks_per_group", Little),
    (0x24, 4, "s_clusters_per_group", Little),
    (0x28, 4, "s_inodes_per_group", Little),
    (0x2C, 4, "s_mtime", Time),
    (0x30, 4, "s_wtime", Time),
    (0x34, 2, "s_mnt_count", Little),
    (0x36, 2, "s_max_mnt_count", Little),
    (0x38, 2, "s_magic", Bits),
    (0x3A, 2, "s_state", Bits),
    (0x3C, 2, "s_errors", Little),
    (0x3E, 2, "s_minor_rev_level", Little),
    (0x40, 4, "s_lastcheck", Time),
    (0x5C, 4, "s_feature_compat", Bits),
    (0x60, 4, "s_feature_incompat", Bits),
    (0x64, 4, "s_feature_ro_compat", Bits),
    (0x68, 16, "s_uuid", Bytes),
    (0x78, 16, "s_volume_name", Bytes),
    (0x88, 64, "s_last_mounted", Bytes),
    (0xE8, 4, "s_last_orphan", Little),
    (0x150, 4, "s_blocks_count_hi", Little),
    (0x154, 4, "s_r_blocks_count_hi", Little),
    (0x158, 4, "s_free_blocks_count_hi", Little),
    (0x178, 8, "s_kbytes_written", Little),
    (0x194, 4, "s_error_count", Little),
    (0x3FC, 4, "s_checksum", Bits),
];

/// A block of a directory. Entries lie one behind the other, each as long as it says itself: where one begins
/// is not on record, but for the first two of a directory, and for the tail (`struct ext4_dir_entry_tail`),
/// which a file system with `metadata_csum` has.
pub(super) fn directory(here: Holds) -> Fields {
    let mut rows: Vec<Row> = Vec::new();
    let tail = here.each.saturating_sub(4);
    let from = if here.first == 0 {
        rows.extend([
            (0, 4, "'.': inode", Little),
            (4, 2, "'.': rec_len", Little),
            (6, 6, "'.': name", Bytes),
            (12, 4, "'..': inode", Little),
            (16, 2, "'..': rec_len", Little),
            (18, 6, "'..': name", Bytes),
        ]);
        24
    } else {
        0
    };
    if tail > from {
        rows.push((from, tail - from, "directory entries", Bytes));
        rows.push((tail, 4, "det_checksum (or an entry)", Bits));
    }
    Fields::of(&rows)
}
