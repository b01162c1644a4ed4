//! FAT and exFAT (Linux, `include/uapi/linux/msdos_fs.h`).

use super::table::{Kind::*, Row};

/// `struct msdos_dir_entry`. Of a long name's part the bytes mean something else, as `attr` says.
pub(super) const DIRECTORY_ENTRY: &[Row] = &[
    (0, 11, "name", Bytes),
    (11, 1, "attr", Bits),
    (12, 1, "lcase", Bits),
    (13, 1, "ctime_cs", Little),
    (14, 2, "ctime", Bits),
    (16, 2, "cdate", Bits),
    (18, 2, "adate", Bits),
    (20, 2, "starthi", Little),
    (22, 2, "time", Bits),
    (24, 2, "date", Bits),
    (26, 2, "start", Little),
    (28, 4, "size", Little),
];

/// A cluster's successor in a table of FAT16.
pub(super) const ENTRY_16: &[Row] = &[(0, 2, "next", Bits)];
/// The same of FAT32 and exFAT.
pub(super) const ENTRY_32: &[Row] = &[(0, 4, "next", Bits)];
